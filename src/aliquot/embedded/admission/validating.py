"""ValidatingAdmissionPolicy: refuse requests by expression.

Source: Kubernetes documentation, "Validating Admission Policy". The wording of refusals is the API server's.
``validationActions`` Warn and Audit refuse nothing; this server has no audit log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aliquot.embedded.admission.expressions import (
    Expression,
    MatchConditions,
    PolicyError,
    Workshop,
    inputs_for,
    sees_namespace,
)
from aliquot.embedded.admission.policies import Binding, Invocation, Misconfigured, Policies, Policy
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
#: A longer result of a messageExpression is dropped (k8s.io/apiserver/pkg/apis/cel).
_LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Validation:
    """``reason`` is the Status reason of a refusal."""

    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str

    def explain(self, inputs: Mapping[str, Any]) -> str:
        if self.message_expression is not None:
            try:
                value = self.message_expression.evaluate(inputs)
            except PolicyError:
                value = None
            if isinstance(value, str):
                text = value.strip()
                if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
                    return text
        return self.message.strip() or f"failed expression: {self.expression.text.strip()}"


@dataclass(frozen=True, slots=True)
class Validations:
    """What a ValidatingAdmissionPolicy's spec says about requests that it matches."""

    conditions: MatchConditions
    validations: tuple[Validation, ...]
    sees_namespace: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a policy is against a request."""

    policy: Policy[Validations]
    binding: Binding
    message: str
    reason: str = "Invalid"

    def text(self) -> str:
        return (
            f"ValidatingAdmissionPolicy '{self.policy.name}' with binding '{self.binding.name}' "
            f"denied request: {self.message}"
        )


def compile_validations(spec: Object) -> Validations:
    workshop = Workshop(spec, mutation=False)
    return Validations(
        MatchConditions(workshop, spec.get("matchConditions") or []),
        tuple(
            Validation(
                workshop.expression(one.get("expression", ""), "bool"),
                one.get("message") or "",
                workshop.expression(text, "string") if (text := one.get("messageExpression")) else None,
                one.get("reason") or "Invalid",
            )
            for one in spec.get("validations") or ()
        ),
        sees_namespace(spec),
    )


class ValidatingPolicies:
    def __init__(self, registry: Registry) -> None:
        self._policies = Policies(registry, "validatingadmissionpolicies", compile_validations)

    def check(self, request: AdmissionRequest) -> None:
        """Raises StatusError for the first refusal whose binding has the action Deny."""
        for invocation in self._policies.matching(request):
            for refusal in _refusals(invocation, request):
                message = refusal.text()
                error = request.forbidden(message)
                raise request.refused(
                    error.message, refusal.reason, _CODES.get(refusal.reason, 422), [Cause("", "", message)]
                )


def _refusals(
    invocation: Invocation[Validations] | Misconfigured[Validations], request: AdmissionRequest
) -> Iterator[Refusal]:
    policy, binding = invocation.policy, invocation.binding
    if isinstance(invocation, Misconfigured):
        if not policy.ignore_failures:
            yield Refusal(policy, binding, f"failed to configure binding: {invocation.problem}")
        return
    if "Deny" not in binding.actions:
        return
    inputs = inputs_for(request, invocation.params, namespace=policy.compiled.sees_namespace)
    try:
        if not policy.compiled.conditions.hold(inputs):
            return
    except PolicyError as fault:
        if not policy.ignore_failures:
            yield Refusal(policy, binding, fault.message)
        return
    for validation in policy.compiled.validations:
        try:
            accepted = validation.expression.evaluate(inputs) is True
        except PolicyError as fault:
            if not policy.ignore_failures:
                yield Refusal(policy, binding, fault.message)
            continue
        if not accepted:
            yield Refusal(policy, binding, validation.explain(inputs), validation.reason)
