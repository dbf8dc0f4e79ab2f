"""Admission: what the API server does to, and whether it accepts, each write."""

from aliquot.embedded.admission.chain import Admission

__all__ = ["Admission"]
