"""Fractions: parts of devices that a device plugin hands out whole, shared by pods on one node."""
