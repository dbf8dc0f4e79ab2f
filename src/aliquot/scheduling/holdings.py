"""What a pod or an allocated claim counts for in its queue."""

import re
from collections.abc import Mapping
from fractions import Fraction

from aliquot.model.core import Node
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.tree import GPU, UNIT, Amount, Charge, exact
from aliquot.scheduling.requests import CPU, MEMORY

WHOLE_DEVICES = re.compile(
    r"^(?:nvidia\.com/gpu|amd\.com/gpu|gpu\.intel\.com/(?:i915|xe)|intel\.com/gpu"
    r"|(?:habana\.ai|intel\.com)/gaudi|google\.com/tpu|aws\.amazon\.com/neuron(?:device)?)$"
)
"""Extended resources of device plugins that stand for whole accelerators."""

MIG_PARTS = re.compile(r"^nvidia\.com/mig-(?:\d+c\.)?(\d+)g\.\d+gb(?:\.me(?:\.all)?|\.gfx|-me)?$")
"""MIG instances of NVIDIA's device plugin (strategy mixed); the group is the number of compute slices."""

_SEVEN_SLICES = 7
_FOUR_SLICES = 4


def mig_slices(node: Node | None) -> int:
    """Compute slices of a whole GPU of the node: 4 on an A30, otherwise 7 (NVIDIA MIG user guide)."""
    product = node.metadata.labels.get("nvidia.com/gpu.product", "") if node is not None else ""
    return _FOUR_SLICES if "A30" in product else _SEVEN_SLICES


def legacy_devices(
    requests: Mapping[str, int], node: Node | None, *, slices_as_devices: bool = False
) -> Amount:
    """Accelerators in extended resources of device plugins, parts of one as exact fractions.

    slices_as_devices: each compute slice of a MIG instance counts as one, as it does in
    `aliquot.fractions.charges`.
    """
    found: Amount = 0
    for resource, number in requests.items():
        if "/" not in resource:
            continue
        if WHOLE_DEVICES.match(resource):
            found += number
        elif part := MIG_PARTS.match(resource):
            slices = int(part.group(1)) * number
            found += slices if slices_as_devices else Fraction(slices, mig_slices(node))
    return found


def pod_charge(requests: Mapping[str, int], gpus: Amount) -> Charge:
    """CPU, memory and accelerators of device plugins of a pod, in billionths. gpus: the last of these."""
    charge: dict[str, Amount] = {}
    if cpu := requests.get(CPU, 0):
        charge[CPU] = cpu * (UNIT // 1000)
    if memory := requests.get(MEMORY, 0):
        charge[MEMORY] = memory * UNIT
    if gpus:
        charge[GPU] = exact(gpus)
    return charge


def request_classes(claim: ResourceClaim) -> dict[str, str]:
    """The DeviceClass of each request of a claim, by "name" or "name/subrequest"."""
    found: dict[str, str] = {}
    for request in claim.spec.devices.requests:
        if request.exactly is not None:
            found[request.name] = request.exactly.device_class_name
        for alternative in request.first_available:
            found[f"{request.name}/{alternative.name}"] = alternative.device_class_name
    return found


def class_counts(claim: ResourceClaim, allocation: AllocationResult) -> dict[str, int]:
    """Devices that an allocation gives, by DeviceClass, those with adminAccess left out."""
    classes = request_classes(claim)
    found: dict[str, int] = {}
    for result in allocation.devices.results:
        name = classes.get(result.request, "")
        if name and not result.admin_access:
            found[name] = found.get(name, 0) + 1
    return found
