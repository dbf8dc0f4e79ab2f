"""The Common Expression Language as Kubernetes configures it.

`Environment.for_devices` compiles device selectors, `Environment.for_admission` the expressions of
admission policies; a compiled `Program` is evaluated any number of times. Depends on nothing of Aliquot.
"""

from aliquot.cel.device import DeviceView, VersionText
from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError, EvaluationError, Issue, Position
from aliquot.cel.libraries.authorization import AuthorizationQuery, Authorizer, Decision, ResourceCheck
from aliquot.cel.program import DEFAULT_COST_LIMIT, Program
from aliquot.cel.quantity import Quantity, QuantityError, QuantityFormat
from aliquot.cel.semver import Semver, SemverError

__all__ = [
    "DEFAULT_COST_LIMIT",
    "AuthorizationQuery",
    "Authorizer",
    "CompileError",
    "Decision",
    "DeviceView",
    "Environment",
    "EvaluationError",
    "Issue",
    "Position",
    "Program",
    "Quantity",
    "QuantityError",
    "QuantityFormat",
    "ResourceCheck",
    "Semver",
    "SemverError",
    "VersionText",
]
