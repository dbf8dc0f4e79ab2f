"""Expressions of policies, compiled once per version of a policy.

Source: Kubernetes documentation, "Validating Admission Policy" (variables, match conditions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError, EvaluationError
from aliquot.cel.libraries.authorization import AuthorizationQuery, Authorizer, Decision, ResourceCheck
from aliquot.cel.program import Program
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object


class PolicyError(Exception):
    """An expression of a policy does not compile, fails, or has a result of the wrong type."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Expression:
    """One compiled expression; ``fault`` says why it did not compile, and is raised at every evaluation."""

    def __init__(self, text: str, program: Program | None, fault: str = "") -> None:
        self.text = text
        self.fault = fault
        self._program = program

    def evaluate(self, inputs: Mapping[str, Any]) -> Any:
        """The value as plain JSON. Raises PolicyError."""
        if self._program is None:
            raise PolicyError(f"compilation error: {self.fault}")
        try:
            return self._program.evaluate(inputs)
        except EvaluationError as error:
            shown = " ".join(self.text.split())
            raise PolicyError(f"expression '{shown}' resulted in error: {error}") from error


class Workshop:
    """Compiles the expressions of one policy; its variables and parameters decide what they see.

    ``mutation``: they may build ``Object{...}`` and ``JSONPatch{...}``.
    """

    def __init__(self, spec: Object, *, mutation: bool) -> None:
        params = spec.get("paramKind") is not None
        variables = {one.get("name", ""): one.get("expression", "") for one in spec.get("variables") or ()}
        self.fault = ""
        #: Match conditions are looked at before the rest of the policy and see no variables.
        self._plain = Environment.for_admission(params=params)
        self._full: Environment | None = None
        try:
            self._full = Environment.for_admission(params=params, mutation=mutation, variables=variables)
        except CompileError as error:
            self.fault = str(error)

    def condition(self, text: str) -> Expression:
        return _compiled(self._plain, text, ("bool",))

    def expression(self, text: str, *kinds: str) -> Expression:
        """An expression whose result is of one of these types."""
        if self._full is None:
            return Expression(text, None, self.fault)
        return _compiled(self._full, text, kinds)


def _compiled(environment: Environment, text: str, kinds: tuple[str, ...]) -> Expression:
    try:
        return Expression(text, environment.compile(text, expect=kinds))
    except CompileError as error:
        return Expression(text, None, str(error))


def _everything(query: AuthorizationQuery) -> Decision:
    """The embedded server knows its users and lets each of them do everything."""
    return Decision(True, "every user of the embedded server may do everything")


def sees_namespace(spec: Object) -> bool:
    """Whether any expression of a policy may look at the namespace, which costs time to prepare for each."""
    return b"namespaceObject" in msgspec.json.encode(spec)


def inputs_for(request: AdmissionRequest, params: Object | None, *, namespace: bool = True) -> dict[str, Any]:
    """What expressions see of one request, with or without its namespace."""
    asked = AuthorizationQuery(
        group=request.resource.group,
        resource=request.resource.plural,
        subresource=request.subresource,
        namespace=request.namespace,
        name=request.name,
    )
    return {
        "authorizer": Authorizer(_everything),
        "authorizer.requestResource": ResourceCheck(_everything, asked),
        "object": request.obj,
        "oldObject": request.old,
        "request": request.variable(),
        "params": params,
        "namespaceObject": request.namespace_object if namespace and request.namespace else None,
    }


class MatchConditions:
    """``matchConditions``: all must hold; a fault counts only if no condition says no."""

    def __init__(self, workshop: Workshop, conditions: list[Object]) -> None:
        self.conditions = [
            (one.get("name", ""), workshop.condition(one.get("expression", ""))) for one in conditions
        ]

    def hold(self, inputs: Mapping[str, Any]) -> bool:
        """Raises PolicyError."""
        first: PolicyError | None = None
        for _, expression in self.conditions:
            try:
                if expression.evaluate(inputs) is not True:
                    return False
            except PolicyError as error:
                first = first or error
        if first is not None:
            raise first
        return True
