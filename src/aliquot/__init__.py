"""Aliquot: a GPU resource manager for AI workloads on Kubernetes."""

__version__ = "0.1.0"
