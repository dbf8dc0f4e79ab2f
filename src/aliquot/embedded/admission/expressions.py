"""Expressions of one policy: compiled once, evaluated against a request.

Source: Kubernetes documentation, "Validating Admission Policy" (variables, match conditions); limits from
k8s.io/apiserver/pkg/apis/cel.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aliquot.cel.environment import Environment, base_libraries
from aliquot.cel.errors import CompileError, EvaluationError
from aliquot.cel.metering import Meter
from aliquot.cel.program import Program
from aliquot.cel.typesystem import parse_type
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object

#: What all expressions of one policy together may cost for one request.
COST_BUDGET = 10_000_000


class PolicyError(Exception):
    """An expression of a policy does not compile, fails, or has the wrong type."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The environment of policies: every variable may have any shape, as policies match any kind."""
    anything = parse_type("dyn")
    names = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
    return Environment(
        base_libraries((1, 36)),
        variables={name: anything for name in names},
        fields={},
        size_of=lambda path: None,
        constructible=lambda name: name in ("Object", "JSONPatch") or name.startswith("Object."),
    )


class Expression:
    """An expression, compiled at its first use; a fault is found then and every time after."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._program: Program | None = None
        self._fault: str | None = None

    def program(self) -> Program:
        if self._program is None and self._fault is None:
            try:
                self._program = environment().compile(self.text)
            except CompileError as error:
                self._fault = f"compilation error: {error}"
        if self._program is None:
            raise PolicyError(self._fault or "")
        return self._program

    def evaluate(self, inputs: Inputs) -> Any:
        """The value. Raises PolicyError."""
        try:
            return self.program().evaluate_metered(inputs.values, inputs.meter)
        except EvaluationError as error:
            shown = " ".join(self.text.split())
            raise PolicyError(f"expression '{shown}' resulted in error: {error}") from error


class _Variables(dict[str, Any]):
    """The variable ``variables``: each is computed when it is first asked for."""

    def __init__(self, expressions: Mapping[str, Expression], inputs: Inputs) -> None:
        super().__init__()
        self._expressions = expressions
        self._inputs = inputs
        self._open: set[str] = set()

    def __missing__(self, name: str) -> Any:
        expression = self._expressions.get(name)
        if expression is None or name in self._open:
            raise KeyError(name)
        self._open.add(name)
        try:
            value = expression.evaluate(self._inputs)
        except PolicyError as fault:
            raise EvaluationError(
                f'composited variable "{name}" fails to evaluate: {fault.message}'
            ) from fault
        finally:
            self._open.discard(name)
        self[name] = value
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._expressions else default


class Inputs:
    """What the expressions of one policy see of one request, and what they may still cost."""

    def __init__(
        self, request: AdmissionRequest, params: Object | None, variables: Mapping[str, Expression]
    ) -> None:
        self.meter = Meter(COST_BUDGET)
        self.values: dict[str, Any] = {
            "object": request.obj,
            "oldObject": request.old,
            "request": request.variable(),
            "params": params,
            "namespaceObject": request.namespace_object if request.namespace else None,
            "variables": _Variables(variables, self),
        }


class MatchConditions:
    """``matchConditions``: all must hold; a fault counts only if no condition says no."""

    def __init__(self, conditions: list[Object]) -> None:
        self._conditions = [
            (one.get("name", ""), Expression(one.get("expression", ""))) for one in conditions
        ]

    def hold(self, inputs: Inputs) -> bool:
        """Raises PolicyError."""
        first: PolicyError | None = None
        for name, expression in self._conditions:
            try:
                if expression.evaluate(inputs) is not True:
                    return False
            except PolicyError as fault:
                first = first or PolicyError(f"matchCondition {name}: {fault.message}")
        if first is not None:
            raise first
        return True


def named_expressions(variables: list[Object]) -> dict[str, Expression]:
    return {one.get("name", ""): Expression(one.get("expression", "")) for one in variables}
