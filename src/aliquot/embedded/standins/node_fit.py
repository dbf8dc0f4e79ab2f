"""Whether a node's labels and taints admit a pod.

Source: Kubernetes documentation, "Assigning Pods to Nodes" and "Taints and Tolerations".
"""

from __future__ import annotations

from typing import Any

from aliquot.embedded.hooks import Object

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _integer(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


def _requirement(requirement: Object, value: str | None) -> bool:
    operator = requirement.get("operator")
    values = requirement.get("values") or ()
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator in ("Gt", "Lt") and value is not None and len(values) == 1:
        have, bound = _integer(value), _integer(next(iter(values)))
        if have is None or bound is None:
            return False
        return have > bound if operator == "Gt" else have < bound
    return False


def _term(term: Object, labels: dict[str, str], name: str) -> bool:
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_requirement(one, labels.get(one.get("key", ""))) for one in expressions) and all(
        one.get("key") == "metadata.name" and _requirement(one, name) for one in fields
    )


def selector_matches(selector: Object | None, node: Object) -> bool:
    """A core/v1 NodeSelector: terms ORed, an empty term matches nothing; None matches every node."""
    if selector is None:
        return True
    meta = node["metadata"]
    labels = meta.get("labels") or {}
    return any(_term(term, labels, meta["name"]) for term in selector.get("nodeSelectorTerms") or ())


def pinned_nodes(selector: Object | None) -> set[str] | None:
    """The node names that a selector allows where every term names them; None where labels decide."""
    if selector is None:
        return None
    names: set[str] = set()
    for term in selector.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("operator") == "In":
                names.update(field.get("values") or ())
                break
        else:
            return None
    return names


def required_affinity(pod: Object) -> Object | None:
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    required: Object | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required


def wants_node(pod: Object, node: Object) -> bool:
    """The pod's node selector and its required node affinity."""
    labels = node["metadata"].get("labels") or {}
    selector = (pod.get("spec") or {}).get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    return selector_matches(required_affinity(pod), node)


def tolerates(tolerations: list[Any], taint: Object) -> bool:
    for one in tolerations:
        if one.get("effect") and one["effect"] != taint.get("effect"):
            continue
        if one.get("key") and one["key"] != taint.get("key"):
            continue
        if one.get("operator") == "Exists":
            return True
        if one.get("key") and (one.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def untolerated_taint(
    pod: Object, node: Object, effects: tuple[str, ...] = ("NoSchedule", "NoExecute")
) -> Object | None:
    """The first taint with one of these effects that the pod does not tolerate."""
    spec = node.get("spec") or {}
    taints = spec.get("taints") or []
    if spec.get("unschedulable") and not any(one.get("key") == UNSCHEDULABLE_TAINT["key"] for one in taints):
        taints = [*taints, UNSCHEDULABLE_TAINT]
    if not taints:
        return None
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    for taint in taints:
        if taint.get("effect") in effects and not tolerates(tolerations, taint):
            return dict(taint)
    return None
