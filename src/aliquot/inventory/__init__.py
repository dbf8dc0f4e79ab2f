"""Tables of devices, workloads and queues, computed from a snapshot and a plan. Pure; rendered elsewhere."""
