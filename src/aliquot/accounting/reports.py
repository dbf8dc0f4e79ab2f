"""What reports show: sums of the ledger by who and what, shown as they are or charged in full."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from aliquot.accounting.amounts import HOUR_MS, apportion
from aliquot.accounting.entries import AMOUNTS, Category


class Tally(msgspec.Struct, frozen=True):
    """Sums of the amounts of entries, see Entry."""

    device_ms: int = 0
    used_ms: int = 0
    known_ms: int = 0
    use_measured_ms: int = 0
    energy_mj: int = 0
    metered_ms: int = 0
    measured_mj: int = 0
    cost_micros: int = 0
    carbon_ug: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, name) + getattr(other, name) for name in AMOUNTS))


NOTHING = Tally()


class Line(msgspec.Struct, frozen=True):
    """Sums by the values of some dimensions and by category."""

    keys: tuple[str, ...]
    category: Category
    amounts: Tally


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What there is under one value of each dimension.

    overhead_micros, overhead_ug: the part of what nobody held that is put on this group; 0 in showback.
    workloads: how many had something, None where that was not asked.
    """

    keys: tuple[str, ...]
    by_category: dict[Category, Tally]
    overhead_micros: int = 0
    overhead_ug: int = 0
    workloads: int | None = None

    @property
    def total(self) -> Tally:
        found = NOTHING
        for amounts in self.by_category.values():
            found = found + amounts
        return found

    @property
    def held(self) -> Tally:
        """What somebody held: exclusive and shared."""
        return self.of(Category.EXCLUSIVE) + self.of(Category.SHARED)

    def of(self, category: Category) -> Tally:
        return self.by_category.get(category, NOTHING)

    @property
    def anybody(self) -> bool:
        """Somebody held something under these keys."""
        return bool(self.held.device_ms or self.held.cost_micros)

    @property
    def charge_micros(self) -> int:
        """What the group pays, its part of the overhead included."""
        return self.held.cost_micros + self.overhead_micros

    def micros_per_held_hour(self) -> int | None:
        """What an hour of a whole device costs the group, held or not used."""
        return _per_hour(self.charge_micros, self.held.device_ms)

    def micros_per_used_hour(self) -> int | None:
        """What an hour of a device at full use costs the group; None where use is not known throughout."""
        held = self.held
        return _per_hour(self.charge_micros, held.used_ms) if held.known_ms == held.device_ms else None


def _per_hour(micros: int, device_ms: int) -> int | None:
    return round(Fraction(micros * HOUR_MS, device_ms)) if device_ms > 0 else None


def groups(lines: Iterable[Line]) -> tuple[Group, ...]:
    """Lines put together by their keys: showback, in which what nobody held stands by itself."""
    found: dict[tuple[str, ...], dict[Category, Tally]] = {}
    for line in lines:
        own = found.setdefault(line.keys, {})
        own[line.category] = own.get(line.category, NOTHING) + line.amounts
    return tuple(Group(keys=keys, by_category=own) for keys, own in found.items())


def without_price(lines: Iterable[Line]) -> dict[str, int]:
    """Device time, in ms, in places that cost nothing at all, by the model of the devices.

    lines: by node and model. A device without a price counts as 0 in the ledger, which is not the same as
    one that costs nothing; so a sum of money is shown with this.
    """
    found: dict[str, int] = {}
    for group in groups(lines):
        if not group.total.cost_micros:
            model = group.keys[1] or "an unnamed model"
            found[model] = found.get(model, 0) + group.total.device_ms
    return found


def chargeback(shown: Sequence[Group]) -> tuple[Group, ...]:
    """Charges that add up to everything: what nobody held is put on those who held something.

    Each takes of it in proportion to the cost of what it held (device time, where nothing had a price),
    without rest. If nobody held anything the groups stay as they are, and nobody pays.
    """
    payers = [group for group in shown if group.anybody]
    total = NOTHING
    for group in shown:
        total = total + group.total
    held = NOTHING
    for group in payers:
        held = held + group.held
    weights = [max(group.held.cost_micros, 0) for group in payers]
    if not any(weights):
        weights = [max(group.held.device_ms, 0) for group in payers]
    if not any(weights):
        return tuple(shown)
    money = apportion(total.cost_micros - held.cost_micros, weights)
    carbon = apportion(total.carbon_ug - held.carbon_ug, weights)
    return tuple(
        Group(
            keys=group.keys,
            by_category={
                category: amounts for category, amounts in group.by_category.items() if category.held
            },
            overhead_micros=micros,
            overhead_ug=grams,
            workloads=group.workloads,
        )
        for group, micros, grams in zip(payers, money, carbon)
    )
