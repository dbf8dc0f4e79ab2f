"""Benchmarks of what is decided; run with `make bench`. They measure, they do not assert."""
