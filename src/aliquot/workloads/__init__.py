"""Workloads: which pods belong together, and how many of them must start at once."""
