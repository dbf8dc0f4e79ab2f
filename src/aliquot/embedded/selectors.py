"""Label and field selectors of list and watch requests.

Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aliquot.embedded.status import bad_request

Operator = Literal["=", "!=", "in", "notin", "exists", "!", ">", "<"]

_SET_TERM = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\(\s*(?P<values>[^()]*)\)$")
_EQUAL_TERM = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)$")
_ORDER_TERM = re.compile(r"^(?P<key>[^\s!=,()<>]+)\s*(?P<op>[<>])\s*(?P<value>-?\d{1,18})$")
_EXISTS_TERM = re.compile(r"^(?P<not>!\s*)?(?P<key>[^\s!=,()<>]+)$")


@dataclass(frozen=True, slots=True)
class LabelTerm:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        if self.operator in ("=", "in"):
            return value in self.values
        if self.operator in (">", "<"):
            return value is not None and _compares(value, self.operator, int(next(iter(self.values))))
        return value is None or value not in self.values


def _compares(value: str, operator: str, bound: int) -> bool:
    """A label's value as a whole number against a bound; a value that is none never does."""
    if not re.fullmatch(r"[+-]?\d{1,18}", value):
        return False
    return int(value) > bound if operator == ">" else int(value) < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    terms: tuple[LabelTerm, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(term.matches(labels) for term in self.terms)


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses: ``a in (x,y),b`` has two terms."""
    terms, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            terms.append(text[start:index].strip())
            start = index + 1
    terms.append(text[start:].strip())
    return terms


def parse_label_selector(text: str | None) -> LabelSelector | None:
    """``app=web,tier in (a,b),!old``; None where nothing is selected away. Raises StatusError 400."""
    if text is None or not text.strip():
        return None
    terms = []
    for part in _split(text):
        if match := _SET_TERM.match(part):
            values = frozenset(value.strip() for value in match["values"].split(","))
            terms.append(LabelTerm(match["key"], "in" if match["op"] == "in" else "notin", values))
        elif match := _EQUAL_TERM.match(part):
            operator: Operator = "!=" if match["op"] == "!=" else "="
            terms.append(LabelTerm(match["key"], operator, frozenset((match["value"],))))
        elif match := _ORDER_TERM.match(part):
            order: Operator = ">" if match["op"] == ">" else "<"
            terms.append(LabelTerm(match["key"], order, frozenset((match["value"],))))
        elif match := _EXISTS_TERM.match(part):
            terms.append(LabelTerm(match["key"], "!" if match["not"] else "exists"))
        else:
            raise bad_request(f'unable to parse requirement: found "{part}" in selector "{text}"')
    return LabelSelector(tuple(terms))


def label_selector_of(selector: Mapping[str, Any]) -> LabelSelector:
    """A ``metav1.LabelSelector`` (matchLabels, matchExpressions) as terms.

    An empty one matches everything.
    """
    terms = [
        LabelTerm(key, "=", frozenset((value,))) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    operators: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise bad_request(f'"{expression.get("operator")}" is not a valid label selector operator')
        terms.append(
            LabelTerm(expression.get("key", ""), operator, frozenset(expression.get("values") or ()))
        )
    return LabelSelector(tuple(terms))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    path: str
    equal: bool
    value: str

    def matches(self, fields: Mapping[str, str]) -> bool:
        return (fields.get(self.path, "") == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[FieldTerm, ...]

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(term.matches(fields) for term in self.terms)


def parse_field_selector(text: str | None, supported: frozenset[str], what: str) -> FieldSelector | None:
    """``status.phase!=Running,spec.nodeName=n1``; ``supported`` are the paths this kind knows.

    Raises StatusError 400 for other paths, with the wording of the API server. ``what`` names the
    resource in it.
    """
    if text is None or not text.strip():
        return None
    terms = []
    for part in re.split(r"(?<!\\),", text):
        match = re.match(r"^([^=!\s]+)\s*(==|=|!=)\s*(.*)$", part.strip())
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = match.groups()
        if path not in supported:
            raise bad_request(
                f'Unable to find "{what}" that match label selector "", field selector "{text}": '
                f"field label not supported: {path}"
            )
        terms.append(FieldTerm(path, operator != "!=", re.sub(r"\\([,=\\])", r"\1", value)))
    return FieldSelector(tuple(terms))


#: Field paths that a selector may name, besides metadata.name and metadata.namespace.
FIELD_PATHS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "jobs.batch": ("status.successful",),
    "replicasets.apps": ("status.replicas",),
    "resourceslices.resource.k8s.io": ("spec.nodeName", "spec.driver"),
}

_COMMON = ("metadata.name", "metadata.namespace")


def field_paths(key: str, extra: tuple[str, ...] = ()) -> frozenset[str]:
    return frozenset(_COMMON + FIELD_PATHS.get(key, ()) + extra)


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """The value at a path as selectors compare it: text, ``""`` where absent, ``true``/``false``."""
    if path == "status.successful":
        path = "status.succeeded"
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else _zero(path)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _zero(path: str) -> str:
    return "0" if path in ("status.succeeded", "status.replicas") else ""
