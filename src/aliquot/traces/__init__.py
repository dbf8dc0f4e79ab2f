"""Traces of workloads and results of simulations, as files."""
