"""Accelerators that a device plugin advertises as a number in a node's allocatable resources.

A device plugin publishes how many there are, not which one a pod got. So the devices are numbered here, and
pods are given numbers in the order of their names: how many are held is a fact, which ones is not known. What
the devices are comes from the labels of GPU Feature Discovery.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.inventory.layout import Board, Part
from aliquot.model.core import Node, Pod
from aliquot.scheduling.holdings import MIG_PARTS, WHOLE_DEVICES, mig_slices
from aliquot.scheduling.requests import pod_requests

SHARED = "nvidia.com/gpu.shared"
KIND = "device-plugin"
MOST_DEVICES = 1024
"""A node that claims to have more of one resource is shown with so many."""

_PRODUCT = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
_MEMORY = "nvidia.com/gpu.memory"
_REPLICAS = "nvidia.com/gpu.replicas"


def boards(node: Node) -> tuple[Board, ...]:
    """The boards of a node's device plugins."""
    found: list[Board] = []
    for resource, quantity in node.status.allocatable.items():
        if not _is_accelerator(resource):
            continue
        replicas = _replicas(node, resource)
        units = min(quantity.value(), MOST_DEVICES)
        found += [
            _board(node, resource, number, min(replicas, units - number * replicas))
            for number in range(-(-units // replicas))
        ]
    return tuple(found)


def _is_accelerator(resource: str) -> bool:
    return bool(resource == SHARED or WHOLE_DEVICES.match(resource) or MIG_PARTS.match(resource))


def _replicas(node: Node, resource: str) -> int:
    """How many units of a resource are one device (time-slicing or MPS of NVIDIA's device plugin)."""
    text = node.metadata.labels.get(_REPLICAS, "1")
    if resource.startswith("nvidia.com/gpu") and text.isascii() and text.isdigit() and 0 < int(text) < 1000:
        return int(text)
    return 1


def _board(node: Node, resource: str, number: int, units: int) -> Board:
    labels = node.metadata.labels
    product = next((labels[name] for name in _PRODUCT if labels.get(name)), "")
    memory = labels.get(_MEMORY, "")
    profile = MIG_PARTS.match(resource)
    part = Part(
        name=f"{resource}-{number}",
        number=number,
        kind=KIND,
        profile=resource.removeprefix("nvidia.com/mig-") if profile else "",
        memory=Quantity.parse(f"{memory}Mi") if memory.isascii() and memory.isdigit() else None,
        share=Fraction(int(profile[1]), mig_slices(node)) if profile else Fraction(1),
        shareable=units > 1,
        capacities={resource: units} if units > 1 else {},
    )
    return Board(
        driver=KIND,
        pool=node.name,
        node=node.name,
        name=part.name,
        product=product or resource,
        memory=part.memory,
        accelerator=True,
        parts=(part,),
    )


def holders(pods: Iterable[Pod], layout: Mapping[str, tuple[Board, ...]]) -> dict[tuple[str, str], list[Pod]]:
    """Which pods hold which boards, by (node, board's name); a pod stands there once for each unit it has."""
    found: dict[tuple[str, str], list[Pod]] = {}
    next_unit: dict[tuple[str, str], int] = {}
    for pod in pods:
        if not pod.spec.node_name or pod.finished or pod.spec.node_name not in layout:
            continue
        for resource, count in pod_requests(pod.spec).items():
            if not _is_accelerator(resource):
                continue
            own = [board for board in layout[pod.spec.node_name] if _resource(board) == resource]
            units = [board for board in own for _ in range(_units(board))]
            first = next_unit.get((pod.spec.node_name, resource), 0)
            next_unit[pod.spec.node_name, resource] = first + count
            for board in units[first : first + count]:
                found.setdefault((board.node, board.name), []).append(pod)
    return found


def _resource(board: Board) -> str:
    return board.name.rpartition("-")[0]


def _units(board: Board) -> int:
    return next(iter(board.parts[0].capacities.values()), 1)
