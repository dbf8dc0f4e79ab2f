"""The objects every cluster has from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliquot.embedded.hooks import SYSTEM, Object

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

#: Value of the two priority classes that Kubernetes itself brings.
_PRIORITIES = {
    "system-cluster-critical": (
        2_000_000_000,
        "Pods without which the cluster does not work, on whichever node.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Pods without which their node does not work.",
    ),
}


def install(registry: Registry) -> None:
    """Create what is missing of the default namespaces and priority classes."""
    namespaces = registry.resources.named("namespaces")
    for name in NAMESPACES:
        if registry.find(namespaces, None, name) is None:
            registry.create(namespaces, None, {"metadata": {"name": name}}, SYSTEM)
    classes = registry.resources.named("priorityclasses", "scheduling.k8s.io")
    for name, (value, description) in _PRIORITIES.items():
        if registry.find(classes, None, name) is None:
            obj: Object = {
                "metadata": {"name": name},
                "value": value,
                "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            }
            registry.create(classes, None, obj, SYSTEM)
