"""One module per driver: what it publishes on a machine, and the DeviceClasses that its chart installs."""
