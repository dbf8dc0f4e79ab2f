"""Topology: levels of closeness between devices and nodes, and the domains in which a gang fits."""
