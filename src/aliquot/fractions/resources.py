"""Extended resources by which device plugins advertise accelerators, and what a pod asks of them.

Names: NVIDIA k8s-device-plugin README (nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-<profile>), AMD
k8s-device-plugin README (amd.com/gpu), HAMi's default configuration (nvidia.com/gpumem, nvidia.com/gpucores,
nvidia.com/gpumem-percentage, which no node lists as allocatable).
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache

from aliquot.cel.quantity import Quantity
from aliquot.model.core import Container, Node, PodSpec

NVIDIA_GPU = "nvidia.com/gpu"
AMD_GPU = "amd.com/gpu"
SHARED_GPU = "nvidia.com/gpu.shared"
"""One replica of a device that the plugin shares by time-slicing or MPS, under the name of its own."""

HAMI_MEMORY = "nvidia.com/gpumem"
HAMI_CORES = "nvidia.com/gpucores"
HAMI_PERCENTAGE = "nvidia.com/gpumem-percentage"
HAMI_PARTS = (HAMI_MEMORY, HAMI_CORES, HAMI_PERCENTAGE)

WHOLE_DEVICES = re.compile(
    r"^(?:nvidia\.com/gpu(?:\.shared)?|amd\.com/gpu|gpu\.intel\.com/(?:i915|xe)|intel\.com/gpu"
    r"|(?:habana\.ai|intel\.com)/gaudi|google\.com/tpu|aws\.amazon\.com/neuron(?:device)?)$"
)
"""Resources that stand for whole accelerators, or for slots of them (`slots`)."""

MIG_PREFIX = "nvidia.com/mig-"
MIG_PROFILE = re.compile(r"^nvidia\.com/mig-(?:\d+c\.)?(\d+)g\.\d+gb(?:\.me(?:\.all)?|\.gfx|-me)?$")
"""MIG instances of NVIDIA's device plugin (strategy mixed); the group is the number of compute slices."""

REPLICAS = "nvidia.com/gpu.replicas"
PRODUCT = "nvidia.com/gpu.product"
SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
MPS_SHARING = "mps"
TIME_SLICING = "time-slicing"
NOT_SHARED = "none"

_SLOTTED = (NVIDIA_GPU, SHARED_GPU)
_SEVEN_SLICES = 7
_FOUR_SLICES = 4
_MOST_REPLICAS = 1000


def mig_slices(node: Node | None) -> int:
    """Compute slices of a whole GPU of the node: 4 on an A30, otherwise 7 (NVIDIA MIG user guide)."""
    product = node.metadata.labels.get(PRODUCT, "") if node is not None else ""
    return _FOUR_SLICES if "A30" in product else _SEVEN_SLICES


def compute_slices(resource: str) -> int:
    """The g-number of a MIG resource: 3 for nvidia.com/mig-3g.20gb; 0 if it is none."""
    found = MIG_PROFILE.match(resource)
    return int(found[1]) if found else 0


def replicas(node: Node | None) -> int:
    """How many units of a shared resource are one device of the node; 1 if the node does not say."""
    text = node.metadata.labels.get(REPLICAS, "1") if node is not None else "1"
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) < _MOST_REPLICAS:
        return int(text[:9])
    return 1


def slots(node: Node | None, resource: str) -> int:
    """How many units of a resource are one device of the node, where NVIDIA's plugin shares devices by
    time-slicing or MPS: by the label nvidia.com/gpu.replicas of GPU Feature Discovery; else 1."""
    if node is None or resource not in _SLOTTED or node.metadata.labels.get(SHARING_LABEL) == NOT_SHARED:
        return 1
    return replicas(node)


def extended_devices(
    requests: Mapping[str, int],
    node: Node | None,
    *,
    slices_as_devices: bool = False,
    shared: int | None = None,
) -> int | Fraction:
    """Accelerators in amounts of extended resources, parts of one exact: a MIG instance by its part of the
    compute slices, a slot of a shared device by its part of the device's slots.

    slices_as_devices: each compute slice of a MIG instance, and each slot, counts as one, as it does in
    `aliquot.fractions.charges`. shared: how many slots a device of the node has, if the caller knows.

    >>> # nvidia.com/mig-3g.20gb: 2 on an A100 is 6/7 of a GPU
    """
    found: int | Fraction = 0
    for resource, number in requests.items():
        if "/" not in resource:
            continue
        sort = _sort(resource)
        if sort == _WHOLE:
            found += number
        elif sort == _SLOT:
            units = 1 if slices_as_devices else slots(node, resource) if shared is None else shared
            found += number if units == 1 else Fraction(number, units)
        elif sort:
            found += sort * number if slices_as_devices else Fraction(sort * number, mig_slices(node))
    if type(found) is int:
        return found
    return found.numerator if found.denominator == 1 else found


_WHOLE = -1
_SLOT = -2


@lru_cache(maxsize=4096)
def _sort(resource: str) -> int:
    """What a unit of a resource is: a whole device, a device or a slot of one, so many compute slices; 0:
    nothing of these."""
    if resource in _SLOTTED:
        return _SLOT
    return _WHOLE if WHOLE_DEVICES.match(resource) else compute_slices(resource)


@lru_cache(maxsize=4096)
def accelerator(resource: str) -> bool:
    """Whether a pod that asks for the resource asks for accelerators or a part of one."""
    return (
        resource in HAMI_PARTS or resource.startswith(MIG_PREFIX) or WHOLE_DEVICES.match(resource) is not None
    )


def asked(container: Container) -> dict[str, int]:
    """A container's accelerators by resource, in whole units. Limits count where there is no request."""
    resources = container.resources
    if not resources.limits and not resources.requests:
        return {}
    merged: Mapping[str, Quantity] = {**resources.limits, **resources.requests}
    return {
        name: quantity.value()
        for name, quantity in merged.items()
        if "/" in name and quantity.nano > 0 and accelerator(name)
    }


def asked_by_pod(spec: PodSpec) -> dict[str, int]:
    """A pod's accelerators by resource: containers and sidecars together, or one init container if that
    asks for more (KEP-753)."""
    if len(spec.containers) == 1 and not spec.init_containers:
        return asked(spec.containers[0])
    sidecars = [item for item in spec.init_containers if item.restart_policy == "Always"]
    total = summed(asked(container) for container in (*spec.containers, *sidecars))
    for container in spec.init_containers:
        if container.restart_policy != "Always":
            for resource, number in asked(container).items():
                total[resource] = max(total.get(resource, 0), number)
    return total


def summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for resource, number in part.items():
            total[resource] = total.get(resource, 0) + number
    return total
