"""A development server that speaks the Kubernetes API in one process, and stand-ins for a control plane.

The registry (:mod:`aliquot.embedded.registry`) holds every object as a JSON document and gives it the
semantics of the Kubernetes API server; the HTTP layer and the stand-ins both call it. It listens on
loopback only and is meant for development and tests, not for production.
"""
