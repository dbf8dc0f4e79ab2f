"""How much of a physical device a device is, exactly, and which physical device it belongs to.

A physical device is a counter set of a pool, or a device that draws on none. A partition that takes numbered
memory slices is so many of the board's: slices cannot overlap, so partitions in use side by side add up to 1
at most. Any other partition is the largest part that it takes of any one counter.

NVIDIA's driver numbers the slices, as counters `memory-slice-0` ... with dynamic MIG and as capacities
`memorySlice0` ... with static MIG (dra-driver-nvidia-gpu, partitions.go and mig.go).
"""

import re
from collections.abc import Mapping
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Pool
from aliquot.model.resource import DeviceRequestAllocationResult

WHOLE = Fraction(1)

MIG_MEMORY_SLICES = 8
"""Memory slices of a board whose static MIG devices say which they hold, but not how many there are: 8 on
every board with 7 compute slices (NVIDIA MIG User Guide)."""

_SLOT = re.compile(r"memory-?slice-?([0-9]+)", re.IGNORECASE)


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
    counter sets is 1. A share of 20 of 80 GiB of such a whole device is 1/4 as well. A MIG device on memory
    slices 4 to 7 of 8 is 1/2, whatever engines it takes.
    """
    return _drawn(pool, index) * _consumed(pool, index, consumed)


def slots_of_device(pool: Pool, index: int) -> tuple[tuple[int, ...], int]:
    """The numbered memory slices that a device takes, ascending, and its board's number of them; () and 0."""
    if not pool.drawing >> index & 1:
        names = (name.rpartition("/")[2] for name in pool.devices[index].capacity)
        taken = sorted(slot for name in names if (slot := _slot(name)) is not None)
        return tuple(taken), MIG_MEMORY_SLICES if taken else 0
    draws = [pool.counter_names[number] for number, amount in pool.draws[index] if amount]
    taken = sorted(slot for _, name in draws if (slot := _slot(name)) is not None)
    if not taken:
        return (), 0
    own = {counter_set for counter_set, _ in draws}
    return tuple(taken), sum(
        1 for counter_set, name in pool.counter_names if counter_set in own and _slot(name) is not None
    )


def _slot(name: str) -> int | None:
    found = _SLOT.fullmatch(name)
    return int(found[1]) if found else None


def _drawn(pool: Pool, index: int) -> Fraction:
    taken, board = slots_of_device(pool, index)
    if taken and board >= len(taken):
        return Fraction(len(taken), board)
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
