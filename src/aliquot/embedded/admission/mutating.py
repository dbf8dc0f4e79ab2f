"""MutatingAdmissionPolicy: change objects by expression.

Source: Kubernetes documentation, "Mutating Admission Policy"; KEP-3962.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from aliquot.embedded import jsonpatch
from aliquot.embedded.admission.apply import ApplyError, apply_configuration
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
from aliquot.embedded.status import Cause, StatusError

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry


@dataclass(frozen=True, slots=True)
class Mutation:
    """``patch`` is true for a JSON patch, false for an apply configuration."""

    patch: bool
    expression: Expression


@dataclass(frozen=True, slots=True)
class Mutations:
    """What a MutatingAdmissionPolicy's spec does to objects that it matches."""

    conditions: MatchConditions
    mutations: tuple[Mutation, ...]
    reinvoke: bool
    sees_namespace: bool


def compile_mutations(spec: Object) -> Mutations:
    workshop = Workshop(spec, mutation=True)
    mutations = []
    for one in spec.get("mutations") or ():
        patch = one.get("patchType") == "JSONPatch"
        part = (one.get("jsonPatch") if patch else one.get("applyConfiguration")) or {}
        kind = "list<JSONPatch>" if patch else "Object"
        mutations.append(Mutation(patch, workshop.expression(part.get("expression", ""), kind)))
    return Mutations(
        MatchConditions(workshop, spec.get("matchConditions") or []),
        tuple(mutations),
        spec.get("reinvocationPolicy") == "IfNeeded",
        sees_namespace(spec),
    )


@dataclass(frozen=True, slots=True)
class _Fault:
    policy: Policy[Mutations]
    binding: Binding
    message: str
    reason: str

    def text(self) -> str:
        return (
            f"policy '{self.policy.name}' with binding '{self.binding.name}' denied request: {self.message}"
        )


class MutatingPolicies:
    def __init__(self, registry: Registry) -> None:
        self._policies = Policies(registry, "mutatingadmissionpolicies", compile_mutations)

    def change(self, request: AdmissionRequest, *, again: bool = False) -> Object | None:
        """The object after all policies that match the request, which itself stays as it is.

        ``again``: only those with ``reinvocationPolicy: IfNeeded``. Raises StatusError where a policy fails.
        """
        if request.obj is None:
            return None
        faults: list[_Fault] = []
        for invocation in self._policies.matching(request):
            policy = invocation.policy
            if again and not policy.compiled.reinvoke:
                continue
            if isinstance(invocation, Misconfigured):
                message = f"failed to configure binding: {invocation.problem}"
                faults.append(_Fault(policy, invocation.binding, message, "Forbidden"))
                continue
            try:
                request = request.with_object(_changed(invocation, request))
            except PolicyError as error:
                faults.append(_Fault(policy, invocation.binding, error.message, "Invalid"))
        faults = [fault for fault in faults if not fault.policy.ignore_failures]
        if faults:
            texts = [fault.text() for fault in faults]
            raise request.refused(texts[0], faults[0].reason, 403, [Cause("", "", text) for text in texts])
        return request.obj


def _changed(invocation: Invocation[Mutations], request: AdmissionRequest) -> Object | None:
    compiled = invocation.policy.compiled
    inputs = inputs_for(request, invocation.params, namespace=compiled.sees_namespace)
    if not compiled.conditions.hold(inputs):
        return request.obj
    obj = request.obj
    for mutation in compiled.mutations:
        inputs = inputs_for(request.with_object(obj), invocation.params, namespace=compiled.sees_namespace)
        value = mutation.expression.evaluate(inputs)
        obj = _patched(request, obj or {}, value) if mutation.patch else _applied(request, obj or {}, value)
    return obj


def _applied(request: AdmissionRequest, obj: Object, value: Any) -> Object:
    try:
        return apply_configuration(request.resource, obj, value)
    except ApplyError as error:
        raise PolicyError(f"error applying patch: {error}") from error


def _patched(request: AdmissionRequest, obj: Object, value: Any) -> Object:
    operations = [{key: part for key, part in one.items() if part is not None} for one in value]
    copied = msgspec.json.decode(msgspec.json.encode(obj))
    try:
        patched: Object = jsonpatch.apply(copied, operations)
    except StatusError as error:
        raise PolicyError(f"error applying patch: {error.message}") from error
    return patched
