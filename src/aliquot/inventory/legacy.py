"""Accelerators that a device plugin advertises as a number in a node's allocatable resources.

A device plugin publishes how many there are, not which one a pod got. So the devices are numbered here, and
pods are given numbers in the order of their names: how many are held is a fact, which ones is not known. Pods
that have parts of one device (`aliquot.fractions.groups`) have one number together. What the devices are is
told by the labels of GPU Feature Discovery.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.fractions.devices import HAMI, HAMI_REGISTER, NONE, node_devices
from aliquot.fractions.groups import places, reserves
from aliquot.fractions.parts import share_of
from aliquot.fractions.requests import GpuRequest, gpu_request
from aliquot.fractions.resources import MIG_PROFILE, WHOLE_DEVICES, mig_slices, slots
from aliquot.inventory.layout import Board, Part
from aliquot.model.core import Node, Pod
from aliquot.scheduling.requests import pod_requests

KIND = "device-plugin"
MOST_DEVICES = 1024
"""A node that claims to have more of one resource is shown with so many."""

_PRODUCT = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
_MEMORY = "nvidia.com/gpu.memory"


def boards(node: Node) -> tuple[Board, ...]:
    """The boards of a node's device plugins."""
    found: list[Board] = []
    for resource, quantity in node.status.allocatable.items():
        if not _is_accelerator(resource):
            continue
        replicas = slots(node, resource)
        units = min(_advertised(node, resource, quantity.value()), MOST_DEVICES)
        found += [
            _board(node, resource, number, min(replicas, units - number * replicas))
            for number in range(-(-units // replicas))
        ]
    return tuple(found)


def _advertised(node: Node, resource: str, units: int) -> int:
    """How many there are. HAMi's plugin advertises slots, several for each device that it registered."""
    if HAMI_REGISTER not in node.metadata.annotations:
        return units
    devices = node_devices(node)
    return devices.count if devices.enforcer == HAMI and devices.resource == resource else units


def _is_accelerator(resource: str) -> bool:
    return bool(WHOLE_DEVICES.match(resource) or MIG_PROFILE.match(resource))


def _board(node: Node, resource: str, number: int, units: int) -> Board:
    labels = node.metadata.labels
    product = next((labels[name] for name in _PRODUCT if labels.get(name)), "")
    memory = labels.get(_MEMORY, "")
    profile = MIG_PROFILE.match(resource)
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


def holders(
    pods: Iterable[Pod], layout: Mapping[str, tuple[Board, ...]], nodes: Mapping[str, Node]
) -> dict[tuple[str, str], list[tuple[Pod, Fraction]]]:
    """Which pods hold which boards, by (node, board's name), and how much of each.

    A device that pods share is the board of its id where the node tells ids, else one of those that nobody
    holds whole.
    """
    there: dict[str, list[Pod]] = {}
    for pod in pods:
        if pod.spec.node_name and not pod.finished and pod.spec.node_name in layout:
            there.setdefault(pod.spec.node_name, []).append(pod)
    found: dict[tuple[str, str], list[tuple[Pod, Fraction]]] = {}
    for name, own in there.items():
        for board, holding in _on_node(own, layout[name], nodes.get(name)):
            found.setdefault((name, board.name), []).append(holding)
    return found


def _on_node(
    pods: Sequence[Pod], boards: Sequence[Board], node: Node | None
) -> Iterator[tuple[Board, tuple[Pod, Fraction]]]:
    devices = NONE if node is None else node_devices(node)
    groups: dict[str, list[tuple[Pod, Fraction]]] = {}
    whole: list[tuple[Pod, Mapping[str, int]]] = []
    for pod in pods:
        if reserves(pod) is not None:
            # It keeps a device for those who share it, and they are counted.
            continue
        request = gpu_request(pod)
        parts = places(pod, request, devices) if isinstance(request, GpuRequest) else ()
        for index, (name, part) in enumerate(parts):
            group = groups.setdefault(name or f"{pod.namespace}/{pod.name}#{index}", [])
            group.append((pod, share_of(part, devices)))
        if not parts:
            whole.append((pod, pod_requests(pod.spec)))
    own = [board for board in boards if _resource(board) == devices.resource]
    known = dict(zip(devices.ids, own, strict=False))
    shared = {name: known[name] for name in groups if name in known}
    taken = {board.name for board in shared.values()}
    open_to_all = [board for board in boards if board.name not in taken]
    next_unit: dict[str, int] = {}
    for pod, requests in whole:
        for resource, count in requests.items():
            if not _is_accelerator(resource):
                continue
            ours = [board for board in open_to_all if _resource(board) == resource]
            units = [board for board in ours for _ in range(_units(board))]
            first = next_unit.get(resource, 0)
            next_unit[resource] = first + count
            held = Counter(board.name for board in units[first : first + count])
            for board in ours:
                if board.name in held:
                    taken.add(board.name)
                    yield board, (pod, min(Fraction(held[board.name], _units(board)), Fraction(1)))
    free = iter([board for board in own if board.name not in taken])
    for name in sorted(groups):
        chosen = shared.get(name) or next(free, None)
        if chosen is not None:
            yield from ((chosen, holding) for holding in groups[name])


def _resource(board: Board) -> str:
    return board.name.rpartition("-")[0]


def _units(board: Board) -> int:
    return next(iter(board.parts[0].capacities.values()), 1)
