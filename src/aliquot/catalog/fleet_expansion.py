"""A fleet as the Kubernetes objects that its machines and their drivers would put into a cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from aliquot.catalog.drivers import amd, dranet, intel, nvidia, nvidia_labels, tpu
from aliquot.catalog.drivers.publication import Json, Version
from aliquot.catalog.node_groups import Fleet, NodeGroup
from aliquot.catalog.nodes import node_object

_Slices = Callable[[NodeGroup, str, Version], list[Json]]
_Classes = Callable[[Sequence[NodeGroup]], list[Json]]

_DRIVERS: Mapping[str, tuple[_Slices, _Classes]] = MappingProxyType(
    {
        nvidia.DRIVER: (nvidia.slices, nvidia.device_classes),
        amd.DRIVER: (amd.slices, amd.device_classes),
        intel.GPU_DRIVER: (intel.gpu_slices, intel.gpu_classes),
        intel.GAUDI_DRIVER: (intel.gaudi_slices, intel.gaudi_classes),
        tpu.DRIVER: (tpu.slices, tpu.device_classes),
        dranet.DRIVER: (dranet.slices, dranet.device_classes),
    }
)


def drivers_of(group: NodeGroup) -> tuple[str, ...]:
    """The DRA drivers that run on a group's machines, the accelerators' first."""
    found = []
    if group.legacy is None and group.node_type.gpus:
        gpu = intel.GAUDI_DRIVER if intel.is_gaudi(group) else intel.GPU_DRIVER
        of_vendor = {"nvidia": nvidia.DRIVER, "amd": amd.DRIVER, "intel": gpu, "google": tpu.DRIVER}
        found.append(of_vendor[group.accelerator.vendor])
    if group.nics:
        found.append(dranet.DRIVER)
    return tuple(found)


def _labels(group: NodeGroup, number: int) -> dict[str, str]:
    vendor = group.accelerator.vendor
    if vendor == "nvidia":
        return nvidia_labels.labels(group, number)
    if vendor == "amd":
        return amd.labels(group)
    if vendor == "intel":
        return intel.labels(group)
    return tpu.labels(group, number) if vendor == "google" else {}


def expand(fleet: Fleet, kubernetes: Version = (1, 36)) -> Iterator[Json]:
    """The objects of a fleet, in API form, the same every time: DeviceClasses, then each Node and its slices.

    kubernetes: version of the API server. Before 1.35 a slice holds shared counters and devices together;
    before 1.36 AMD GPUs cannot be partitioned on demand and are published whole.
    """
    for driver, (_, device_classes) in _DRIVERS.items():
        groups = [group for group in fleet.groups if driver in drivers_of(group)]
        if groups:
            yield from device_classes(groups)
    position = 0
    for group in fleet.groups:
        publishers = [_DRIVERS[driver][0] for driver in drivers_of(group)]
        for number, name in enumerate(group.names()):
            yield node_object(group, number, position, _labels(group, number), kubernetes)
            position += 1
            for publish in publishers:
                yield from publish(group, name, kubernetes)
