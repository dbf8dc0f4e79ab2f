"""A fleet as the Kubernetes objects that its machines and their drivers would put into a cluster."""

from collections.abc import Callable, Iterator, Sequence

from aliquot.catalog.drivers import amd, nvidia, nvidia_labels
from aliquot.catalog.drivers.publication import Json, Version
from aliquot.catalog.node_groups import Fleet, NodeGroup
from aliquot.catalog.nodes import node_object

_Slices = Callable[[NodeGroup, str, Version], list[Json]]
_Classes = Callable[[Sequence[NodeGroup]], list[Json]]

_DRIVERS: dict[str, tuple[_Slices, _Classes]] = {
    nvidia.DRIVER: (nvidia.slices, nvidia.device_classes),
    amd.DRIVER: (amd.slices, amd.device_classes),
}


def drivers_of(group: NodeGroup) -> tuple[str, ...]:
    """The DRA drivers that run on a group's machines."""
    if group.legacy is not None:
        return ()
    return ({"nvidia": nvidia.DRIVER, "amd": amd.DRIVER}[group.accelerator.vendor],)


def _labels(group: NodeGroup, number: int) -> dict[str, str]:
    if group.accelerator.vendor == "nvidia":
        return nvidia_labels.labels(group, number)
    return amd.labels(group)


def expand(fleet: Fleet, kubernetes: Version = (1, 36)) -> Iterator[Json]:
    """The objects of a fleet, in API form, the same every time: DeviceClasses, then each Node and its slices.

    kubernetes: minor version of the API server; before 1.35 a slice holds shared counters and devices together.
    """
    for driver, (_, device_classes) in _DRIVERS.items():
        groups = [group for group in fleet.groups if driver in drivers_of(group)]
        if groups:
            yield from device_classes(groups)
    position = 0
    for group in fleet.groups:
        for number, name in enumerate(group.names()):
            yield node_object(group, number, position, _labels(group, number), kubernetes)
            position += 1
            for driver in drivers_of(group):
                yield from _DRIVERS[driver][0](group, name, kubernetes)
