"""The Kubernetes API over HTTP: paths, bodies, representations, streams.

Everything it does, the registry does.
"""
