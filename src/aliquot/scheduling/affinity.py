"""Which nodes a pod may stand on by labels and taints, and which label selectors match.

Source: the Kubernetes API reference (core/v1 NodeSelector, Toleration; meta/v1 LabelSelector) and
k8s.io/component-helpers/scheduling/corev1.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from aliquot.dra.nodeselection import NODE_NAME_FIELD, NodeSelectorError, selects
from aliquot.model.core import (
    Affinity,
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    Pod,
    PodSpec,
    Taint,
    Toleration,
)
from aliquot.model.meta import LabelSelector

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def matches_labels(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            return False
    return all(
        _matches(requirement.operator, requirement.values, labels.get(requirement.key))
        for requirement in selector.match_expressions
    )


def _matches(operator: str, values: tuple[str, ...], value: str | None) -> bool:
    match operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(values) != 1:
                return False
            number, bound = _integer(value), _integer(values[0])
            if number is None or bound is None:
                return False
            return number > bound if operator == "Gt" else number < bound
        case _:
            return False


def _integer(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def matches_node(selector: NodeSelector | None, node: Node) -> bool:
    """Whether a node selector selects the node; None means every node, one that is not valid none."""
    if selector is None:
        return True
    try:
        return selects(selector, node)
    except NodeSelectorError:
        return False


def named_node(selector: NodeSelector | None) -> str | None:
    """The one node that a node selector names by field, or None if it does not name exactly one."""
    if selector is None or not selector.node_selector_terms:
        return None
    names = {_named(term.match_fields) for term in selector.node_selector_terms}
    return names.pop() if len(names) == 1 else None


def _named(fields: Iterable[NodeSelectorRequirement]) -> str | None:
    for requirement in fields:
        if (
            requirement.key == NODE_NAME_FIELD
            and requirement.operator == "In"
            and len(requirement.values) == 1
        ):
            return requirement.values[0]
    return None


def required_nodes(affinity: Affinity | None) -> NodeSelector | None:
    """The required node affinity of a pod, None if it has none."""
    if affinity is None or affinity.node_affinity is None:
        return None
    return affinity.node_affinity.required


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether one of the tolerations covers the taint. An empty key with Exists covers every taint."""
    for toleration in tolerations:
        if toleration.effect and toleration.effect != taint.effect:
            continue
        if toleration.key and toleration.key != taint.key:
            continue
        if toleration.operator == "Exists":
            return True
        if toleration.operator in ("", "Equal") and toleration.key and toleration.value == taint.value:
            return True
    return False


def is_ready(node: Node) -> bool:
    """Whether the node is in working order, as far as it says."""
    return all(item.status == "True" for item in node.status.conditions if item.type == "Ready")


def as_new(pod: Pod) -> Pod:
    """The pod as its owner would make it again: on no node, and not tied to one by whoever placed it."""
    spec = pod.spec
    if not spec.node_name:
        return pod
    if named_node(required_nodes(spec.affinity)) == spec.node_name:
        return replace(pod, spec=replace(spec, node_name="", affinity=None))
    return replace(pod, spec=replace(spec, node_name=""))


def node_fall(spec: PodSpec, node: Node) -> tuple[str, str] | None:
    """The first test of labels and taints at which the node refuses the pod, with its subject; None if none.

    Tests, in the scheduler's order: nodeUnschedulable, nodeName, nodeTaint (subject: the taint), nodeReady,
    nodeSelector (subject: the label or "affinity"). A node's Ready condition counts beside its taints because
    the taint follows the condition a moment later.
    """
    meta = node.metadata
    if meta.deletion_timestamp is not None:
        return ("nodeDeleting", "")
    if node.spec.unschedulable and not tolerates(
        spec.tolerations, Taint(key=UNSCHEDULABLE, effect="NoSchedule")
    ):
        return ("nodeUnschedulable", "")
    if spec.node_name and spec.node_name != meta.name:
        return ("nodeName", spec.node_name)
    for taint in node.spec.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(spec.tolerations, taint):
            return ("nodeTaint", f"{taint.key}={taint.value}" if taint.value else taint.key)
    for condition in node.status.conditions:
        if condition.type == "Ready" and condition.status != "True":
            not_ready = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")
            if not tolerates(spec.tolerations, not_ready):
                return ("nodeReady", "")
    for key, value in spec.node_selector.items():
        if meta.labels.get(key) != value:
            return ("nodeSelector", f"{key}={value}")
    if not matches_node(required_nodes(spec.affinity), node):
        return ("nodeSelector", "affinity")
    return None
