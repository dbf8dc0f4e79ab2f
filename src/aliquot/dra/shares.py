"""How much of a physical device a device is, exactly, and which physical device it belongs to.

A physical device is a counter set of a pool, or a device that draws on none. Shares of one physical device
that are in use at the same time add up to 1 at most for each of its counters; a partition's share is that of
the counter it takes most of.
"""

from collections.abc import Mapping
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Pool
from aliquot.model.resource import DeviceRequestAllocationResult

WHOLE = Fraction(1)


def share_of_result(fleet: Fleet, result: DeviceRequestAllocationResult) -> Fraction:
    """The physical devices that an allocated device or share amounts to: 1 for a whole GPU.

    0 with adminAccess, which takes nothing. A device that is published no longer counts as a whole one.
    """
    if result.admin_access:
        return Fraction(0)
    found = fleet.find(result.driver, result.pool, result.device)
    if found is None:
        return WHOLE
    pool, index = found
    consumed = result.consumed_capacity if result.share_id is not None else None
    return share_of_device(pool, index, consumed)


def share_of_device(pool: Pool, index: int, consumed: Mapping[str, Quantity] | None = None) -> Fraction:
    """The physical devices that one device amounts to, or the part of it that takes `consumed`.

    A partition with 10 of 40 GiB memory and 1 of 7 compute slices is 1/4; one that is half of each of two
    counter sets is 1. A share of 20 of 80 GiB of such a whole device is 1/4 as well.
    """
    return _drawn(pool, index) * _consumed(pool, index, consumed)


def _drawn(pool: Pool, index: int) -> Fraction:
    if not pool.drawing >> index & 1:
        return WHOLE
    largest: dict[int, Fraction] = {}
    for number, amount in pool.draws[index]:
        if pool.counters[number] > 0:
            part = Fraction(amount, pool.counters[number])
            counter_set = pool.counter_sets[number]
            largest[counter_set] = max(part, largest.get(counter_set, part))
    return sum(largest.values(), Fraction(0)) if largest else WHOLE


def _consumed(pool: Pool, index: int, consumed: Mapping[str, Quantity] | None) -> Fraction:
    capacity = pool.devices[index].capacity
    parts = [
        Fraction(amount.nano, capacity[name].value.nano)
        for name, amount in (consumed or {}).items()
        if name in capacity and capacity[name].value.nano > 0
    ]
    return max(parts, default=WHOLE)


def physical_devices(pool: Pool, index: int) -> tuple[str, ...]:
    """Names of the counter sets that a device draws on; the device's own name if it draws on none."""
    if not pool.drawing >> index & 1:
        return (pool.devices[index].name,)
    return tuple(dict.fromkeys(pool.counter_names[number][0] for number, _ in pool.draws[index]))
