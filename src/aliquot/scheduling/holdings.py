"""What a pod or an allocated claim counts for in its queue."""

from collections.abc import Mapping

from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.tree import GPU, UNIT, Amount, Charge, exact
from aliquot.scheduling.requests import CPU, MEMORY


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
