"""Queues: the tree along which an organisation shares its accelerators, and how they are shared fairly."""
