"""The Common Expression Language as Kubernetes configures it."""

from aliquot.cel.quantity import Quantity, QuantityError, QuantityFormat
from aliquot.cel.semver import Semver, SemverError

__all__ = ["Quantity", "QuantityError", "QuantityFormat", "Semver", "SemverError"]
