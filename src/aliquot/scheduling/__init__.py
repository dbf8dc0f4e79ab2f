"""What is decided: who gets which devices, on which nodes, in which order, and why the others wait. Pure."""
