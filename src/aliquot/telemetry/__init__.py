"""Reads how devices are used, from Prometheus and from exporters."""
