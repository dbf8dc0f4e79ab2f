"""The identity that the ledger keeps: what everybody had adds up to what there was."""

from collections.abc import Iterable, Mapping

import msgspec

from aliquot.accounting.entries import Category, Entry


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of a device, node, pool or fleet. capacity_ms: what there was; the rest: what it went to."""

    capacity_ms: int
    device_ms: Mapping[Category, int]
    cost_micros: Mapping[Category, int]
    used_ms: int
    held_ms: int

    @property
    def holds(self) -> bool:
        """exclusive + shared + idle + stranded + system = capacity x time, and use is within what is held."""
        return sum(self.device_ms.values()) == self.capacity_ms and 0 <= self.used_ms <= self.held_ms


def balance(entries: Iterable[Entry], capacity_ms: int) -> Balance:
    """The sums of entries, to be compared with a capacity that is known otherwise."""
    times = dict.fromkeys(Category, 0)
    costs = dict.fromkeys(Category, 0)
    used = 0
    for entry in entries:
        times[entry.category] += entry.device_ms
        costs[entry.category] += entry.cost_micros
        used += entry.used_ms
    return Balance(
        capacity_ms=capacity_ms,
        device_ms=times,
        cost_micros=costs,
        used_ms=used,
        held_ms=times[Category.EXCLUSIVE] + times[Category.SHARED],
    )
