"""What a request for devices or parts of devices counts for in its queue, in billionths of a device."""

from collections.abc import Iterable
from fractions import Fraction

from aliquot.fractions.devices import NodeDevices
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind
from aliquot.fractions.resources import compute_slices

_HUNDREDTH = WHOLE // 100
_DEFAULT_SLICES = 7


def device_charge(
    request: GpuRequest, devices: NodeDevices | None = None, *, slices_as_devices: bool = False
) -> int | Fraction:
    """What a request counts for, on a node if one is given.

    Whole devices count one each, slots of a device that its plugin shares (time-slicing, MPS) their part of
    it; a part counts itself on each device, and compute where that is the larger
    part. Memory counts nothing before a node is known, then its part of the node's devices, rounded up to
    hundredths: ceil(100 * memory / device memory) / 100 each. A MIG instance counts its compute slices: as
    parts of a GPU (3g of 7: 3/7), or, with slices_as_devices, as KAI-Scheduler has it, one each (3g: 3), and
    then each slot counts one as well.

    >>> # 5000 MiB of each of two 40000 MiB devices: ceil(12.5) / 100 * 2 = 0.26
    """
    charge: int | Fraction = 0
    if request.kind is Kind.PART:
        charge = max(request.part, request.cores * _HUNDREDTH) * request.devices
    elif request.kind is Kind.MEMORY:
        charge = max(_memory_part(request, devices), request.cores * _HUNDREDTH) * request.devices
    elif devices is None or devices.units == 1 or slices_as_devices or not _slotted(request, devices):
        charge = request.devices * WHOLE
    else:
        charge = Fraction(request.devices * WHOLE, devices.units)
    for resource, number in request.profiles:
        own = compute_slices(resource) * number * WHOLE
        slices = devices.slices if devices is not None else _DEFAULT_SLICES
        charge += own if slices_as_devices else Fraction(own, slices)
    return charge.numerator if isinstance(charge, Fraction) and charge.denominator == 1 else charge


def pending_charge(
    request: GpuRequest, smallest_mib: int, *, slices_as_devices: bool = False, slots: int = 1
) -> int | Fraction:
    """What a request that waits counts for as demand: memory as its part of the smallest device of the
    cluster, exactly; 0 MiB if the cluster tells of none, and then memory counts nothing. slots: how many
    there are of each device that a request for whole ones may get."""
    if request.kind is not Kind.MEMORY:
        found = device_charge(request, slices_as_devices=slices_as_devices)
        if slots == 1 or request.kind is not Kind.WHOLE:
            return found
        part = Fraction(found, slots)
        return part.numerator if part.denominator == 1 else part
    if smallest_mib <= 0:
        return request.cores * _HUNDREDTH * request.devices
    part = max(Fraction(request.memory_mib * WHOLE, smallest_mib), Fraction(request.cores * _HUNDREDTH))
    charge = part * request.devices
    return charge.numerator if charge.denominator == 1 else charge


def smallest_memory(devices: Iterable[NodeDevices]) -> int:
    """MiB of the smallest device of a cluster; 0 if no node tells."""
    return min((item.memory_mib for item in devices if item.memory_mib and item.count), default=0)


def _slotted(request: GpuRequest, devices: NodeDevices) -> bool:
    """Whether what a request for whole devices gets on a node are slots."""
    return not request.resource or request.resource == devices.resource


def _memory_part(request: GpuRequest, devices: NodeDevices | None) -> int:
    if devices is None or not devices.memory_mib:
        return 0
    return -(-100 * request.memory_mib // devices.memory_mib) * _HUNDREDTH
