"""Placement objectives on a cluster of nodes whose GPUs are given whole or shared in thousandths."""
