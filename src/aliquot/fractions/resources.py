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
    r"^(?:nvidia\.com/gpu|amd\.com/gpu|gpu\.intel\.com/(?:i915|xe)|intel\.com/gpu"
    r"|(?:habana\.ai|intel\.com)/gaudi|google\.com/tpu|aws\.amazon\.com/neuron(?:device)?)$"
)
"""Resources that stand for whole accelerators."""

MIG_PREFIX = "nvidia.com/mig-"
MIG_PROFILE = re.compile(r"^nvidia\.com/mig-(?:\d+c\.)?(\d+)g\.\d+gb(?:\.me(?:\.all)?|\.gfx|-me)?$")
"""MIG instances of NVIDIA's device plugin (strategy mixed); the group is the number of compute slices."""

REPLICAS = "nvidia.com/gpu.replicas"
PRODUCT = "nvidia.com/gpu.product"

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


def extended_devices(requests: Mapping[str, int], node: Node | None) -> int | Fraction:
    """Accelerators in amounts of extended resources, parts of one exact: a MIG instance by its part of the
    compute slices, a shared replica by its part of the device's replicas.

    >>> # nvidia.com/mig-3g.20gb: 2 on an A100 is 6/7 of a GPU
    """
    found: int | Fraction = 0
    for resource, number in requests.items():
        if "/" not in resource:
            continue
        if WHOLE_DEVICES.match(resource):
            found += number
        elif resource == SHARED_GPU:
            found += Fraction(number, replicas(node))
        elif slices := compute_slices(resource):
            found += Fraction(slices * number, mig_slices(node))
    return found.numerator if isinstance(found, Fraction) and found.denominator == 1 else found


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
