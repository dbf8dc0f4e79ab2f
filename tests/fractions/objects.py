"""Pods and nodes in as few words as a case needs."""

from aliquot.cel.quantity import Quantity
from aliquot.model.core import (
    Container,
    Node,
    NodeStatus,
    Pod,
    PodSpec,
    ResourceRequirements,
)
from aliquot.model.meta import ObjectMeta


def pod(
    *containers: Container,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    init: tuple[Container, ...] = (),
    namespace: str = "team",
) -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name="job", namespace=namespace, annotations=annotations or {}, labels=labels or {}
        ),
        spec=PodSpec(containers=containers, init_containers=init),
    )


def asking(amounts: dict[str, int], name: str = "main", restart_policy: str = "") -> Container:
    """A container with limits by resource name."""
    return Container(
        name=name,
        restart_policy=restart_policy,
        resources=ResourceRequirements(limits={key: Quantity.of(number) for key, number in amounts.items()}),
    )


def node(
    allocatable: dict[str, int],
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Node:
    return Node(
        metadata=ObjectMeta(name="n1", labels=labels or {}, annotations=annotations or {}),
        status=NodeStatus(allocatable={key: Quantity.of(number) for key, number in allocatable.items()}),
    )
