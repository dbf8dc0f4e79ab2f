"""Which requests a policy or its binding is about (admissionregistration.k8s.io/v1 MatchResources)."""

from __future__ import annotations

from typing import Any

from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object
from aliquot.embedded.selectors import LabelSelector, label_selector_of

#: Policies do not rule over policies: a wrong one could not be put right otherwise.
EXEMPT_GROUP = "admissionregistration.k8s.io"


def exempt(request: AdmissionRequest) -> bool:
    return request.resource.group == EXEMPT_GROUP and request.resource.plural.endswith(
        ("admissionpolicies", "admissionpolicybindings")
    )


class ResourceRule:
    """One of ``resourceRules`` or ``excludeResourceRules``.

    Under ``matchPolicy: Equivalent`` a rule for one version of a resource means every version of it.
    """

    def __init__(self, rule: Object, *, equivalent: bool) -> None:
        self._groups = frozenset(rule.get("apiGroups") or ())
        self._versions = frozenset(rule.get("apiVersions") or ())
        self._operations = frozenset(rule.get("operations") or ())
        self._resources = frozenset(rule.get("resources") or ())
        self._names = frozenset(rule.get("resourceNames") or ())
        self._scope = rule.get("scope") or "*"
        self._equivalent = equivalent

    def matches(self, request: AdmissionRequest) -> bool:
        resource = request.resource
        if "*" not in self._operations and request.operation not in self._operations:
            return False
        if "*" not in self._groups and resource.group not in self._groups:
            return False
        if not self._names_resource(resource.plural, request.subresource):
            return False
        if not self._equivalent and "*" not in self._versions and resource.version not in self._versions:
            return False
        if self._scope == "Namespaced" and not resource.namespaced:
            return False
        if self._scope == "Cluster" and resource.namespaced:
            return False
        return not self._names or request.name in self._names

    def _names_resource(self, plural: str, subresource: str) -> bool:
        if not subresource:
            return not self._resources.isdisjoint((plural, "*", f"{plural}/*", "*/*"))
        return not self._resources.isdisjoint(
            (f"{plural}/{subresource}", f"{plural}/*", f"*/{subresource}", "*/*")
        )


class MatchResources:
    """``matchConstraints`` of a policy, or ``matchResources`` of a binding.

    A policy without rules matches nothing; a binding without rules narrows nothing (``rules_optional``).
    """

    def __init__(self, constraints: Object | None, *, rules_optional: bool) -> None:
        constraints = constraints or {}
        equivalent = constraints.get("matchPolicy") != "Exact"
        self._rules = [
            ResourceRule(one, equivalent=equivalent) for one in constraints.get("resourceRules") or ()
        ]
        self._excluded = [
            ResourceRule(one, equivalent=equivalent) for one in constraints.get("excludeResourceRules") or ()
        ]
        self._rules_optional = rules_optional
        self._namespaces = _selector(constraints.get("namespaceSelector"))
        self._objects = _selector(constraints.get("objectSelector"))

    def matches(self, request: AdmissionRequest) -> bool:
        if self._rules and not any(rule.matches(request) for rule in self._rules):
            return False
        if not self._rules and not self._rules_optional:
            return False
        if any(rule.matches(request) for rule in self._excluded):
            return False
        return self._matches_namespace(request) and self._matches_object(request)

    def _matches_namespace(self, request: AdmissionRequest) -> bool:
        if self._namespaces is None:
            return True
        if request.resource.key == "namespaces":
            home = request.obj if request.obj is not None else request.old
        elif not request.resource.namespaced:
            return True
        else:
            home = request.namespace_object
        return self._namespaces.matches(_labels(home))

    def _matches_object(self, request: AdmissionRequest) -> bool:
        if self._objects is None:
            return True
        return any(
            one is not None and self._objects.matches(_labels(one)) for one in (request.obj, request.old)
        )


def _selector(selector: Any) -> LabelSelector | None:
    """None where everything is selected."""
    if not selector:
        return None
    parsed = label_selector_of(selector)
    return parsed if parsed.terms else None


def _labels(obj: Object | None) -> dict[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}
