"""The policies and bindings stored in the cluster, compiled once per version, and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from aliquot.embedded.admission.matching import MatchResources, exempt
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.changes import ChangeType
from aliquot.embedded.hooks import Object
from aliquot.embedded.selectors import label_selector_of

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_GROUP = "admissionregistration.k8s.io"
CompiledT = TypeVar("CompiledT")


class ParameterError(Exception):
    """The parameters of a binding cannot be had."""


@dataclass(frozen=True, slots=True)
class Binding:
    """``param_ref`` is None where the binding names no parameters."""

    name: str
    policy: str
    match: MatchResources
    param_ref: Object | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy(Generic[CompiledT]):
    """One policy; ``compiled`` is what its kind makes of the spec."""

    name: str
    match: MatchResources
    param_kind: Object | None
    ignore_failures: bool
    compiled: CompiledT


@dataclass(frozen=True, slots=True)
class Invocation(Generic[CompiledT]):
    """A policy to run for a request, with one of the binding's parameter objects (None where it has none)."""

    policy: Policy[CompiledT]
    binding: Binding
    params: Object | None


@dataclass(frozen=True, slots=True)
class Misconfigured(Generic[CompiledT]):
    """A policy that cannot be run for a request; ``problem`` says why."""

    policy: Policy[CompiledT]
    binding: Binding
    problem: str


class Policies(Generic[CompiledT]):
    """All policies of one kind (``validatingadmissionpolicies`` or ``mutatingadmissionpolicies``) by name."""

    def __init__(self, registry: Registry, plural: str, compile: Callable[[Object], CompiledT]) -> None:
        self._registry = registry
        self._compile = compile
        self._policies: dict[str, Policy[CompiledT]] = {}
        self._bindings: dict[str, Binding] = {}
        self._ordered: list[tuple[Policy[CompiledT], list[Binding]]] | None = None
        policies = registry.resources.named(plural, _GROUP)
        bindings = registry.resources.named(plural.replace("policies", "policybindings"), _GROUP)
        registry.observe(policies, self._policy_changed)
        registry.observe(bindings, self._binding_changed)
        for obj in registry.list(policies)[0]:
            self._policy_changed("ADDED", obj)
        for obj in registry.list(bindings)[0]:
            self._binding_changed("ADDED", obj)

    def _policy_changed(self, change: ChangeType, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._ordered = None
        if change == "DELETED":
            self._policies.pop(name, None)
            return
        spec = obj.get("spec") or {}
        self._policies[name] = Policy(
            name,
            MatchResources(spec.get("matchConstraints"), rules_optional=False),
            spec.get("paramKind"),
            spec.get("failurePolicy") == "Ignore",
            self._compile(spec),
        )

    def _binding_changed(self, change: ChangeType, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._ordered = None
        if change == "DELETED":
            self._bindings.pop(name, None)
            return
        spec = obj.get("spec") or {}
        self._bindings[name] = Binding(
            name,
            spec.get("policyName") or "",
            MatchResources(spec.get("matchResources"), rules_optional=True),
            spec.get("paramRef"),
            tuple(spec.get("validationActions") or ()),
        )

    def _pairs(self) -> list[tuple[Policy[CompiledT], list[Binding]]]:
        """Policies in the order of their names, each with its bindings in the order of theirs."""
        if self._ordered is None:
            bindings: dict[str, list[Binding]] = {}
            for _, binding in sorted(self._bindings.items()):
                bindings.setdefault(binding.policy, []).append(binding)
            self._ordered = [
                (policy, bindings[name])
                for name, policy in sorted(self._policies.items())
                if name in bindings
            ]
        return self._ordered

    def matching(self, request: AdmissionRequest) -> list[Invocation[CompiledT] | Misconfigured[CompiledT]]:
        """What is to be run for a request."""
        found: list[Invocation[CompiledT] | Misconfigured[CompiledT]] = []
        if exempt(request):
            return found
        for policy, bindings in self._pairs():
            if not policy.match.matches(request):
                continue
            for binding in bindings:
                if not binding.match.matches(request):
                    continue
                try:
                    params = self._parameters(policy, binding, request.namespace)
                except ParameterError as error:
                    found.append(Misconfigured(policy, binding, str(error)))
                else:
                    found += [Invocation(policy, binding, one) for one in params]
        return found

    def _parameters(self, policy: Policy[CompiledT], binding: Binding, namespace: str) -> list[Object | None]:
        kind, ref = policy.param_kind, binding.param_ref
        if kind is None or ref is None:
            return [None]
        resource = self._registry.resources.find_kind(kind.get("apiVersion", ""), kind.get("kind", ""))
        found: list[Object | None] = []
        if resource is not None:
            home: str | None = None
            if resource.namespaced:
                home = ref.get("namespace") or namespace
                if not home:
                    raise ParameterError(
                        "cannot use namespaced paramRef in policy binding that matches "
                        "cluster-scoped resources"
                    )
            elif ref.get("namespace"):
                raise ParameterError(
                    "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                )
            if name := ref.get("name"):
                obj = self._registry.find(resource, home, name)
                found = [] if obj is None else [obj]
            else:
                selector = label_selector_of(ref.get("selector") or {})
                found = [
                    one
                    for one in self._registry.list(resource, home)[0]
                    if selector.matches(one["metadata"].get("labels") or {})
                ]
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise ParameterError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found
