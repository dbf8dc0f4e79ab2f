"""Proof that no device of a node is given out beyond what it has."""

from collections.abc import Iterable, Iterator

from aliquot.fractions.devices import node_devices
from aliquot.fractions.groups import places, reserves
from aliquot.fractions.parts import ALL_CORES, Part
from aliquot.fractions.requests import GpuRequest, Kind, gpu_request
from aliquot.model.core import Node, Pod


def overuse(node: Node, pods: Iterable[Pod]) -> Iterator[str]:
    """What is given out of the node's devices more than once, a sentence each; nothing if all is well.

    pods: those on the node, and those let go for it. Counted from the pods alone, as they say what they have:
    parts of each shared device against its memory, its compute and the number of pods that may share it, and
    shared and whole devices together against how many there are.
    """
    devices = node_devices(node)
    groups: dict[str, list[Part]] = {}
    units = 0
    for pod in pods:
        request = gpu_request(pod)
        if not isinstance(request, GpuRequest) or pod.finished or reserves(pod) is not None:
            continue
        found = places(pod, request, devices)
        for index, (name, part) in enumerate(found):
            groups.setdefault(name or f"{pod.namespace}/{pod.name}#{index}", []).append(part)
        if request.kind is Kind.WHOLE and not found and request.resource == devices.resource:
            units += request.devices
    for name, parts in sorted(groups.items()):
        memory, cores = sum(part.memory for part in parts), sum(part.cores for part in parts)
        if memory > devices.capacity:
            yield f"device {name}: {memory * 100 // devices.capacity}% of its memory"
        if cores > ALL_CORES:
            yield f"device {name}: {cores}% of its compute"
        if devices.sharers is not None and len(parts) > devices.sharers:
            yield f"device {name}: {len(parts)} pods of {devices.sharers} at most"
    taken = len(groups) + -(-units // devices.units)
    if taken > devices.count:
        yield f"{taken} devices of {devices.count}"
