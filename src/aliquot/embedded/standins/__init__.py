"""Stand-ins for what the rest of a Kubernetes control plane, and its nodes, would do; one module each."""

from aliquot.embedded.standins.run import StandIns

__all__ = ["StandIns"]
