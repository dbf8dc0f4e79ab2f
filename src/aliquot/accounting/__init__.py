"""Who held and used which part of a device for how long, and what that cost. Pure."""
