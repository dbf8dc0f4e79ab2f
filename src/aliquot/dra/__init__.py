"""Dynamic Resource Allocation: pools and devices, what is in use, the allocator and the checker. Pure."""
