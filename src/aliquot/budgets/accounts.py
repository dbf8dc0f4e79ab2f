"""All counters and open holds of one process, in memory; the meaning of the operations in `holding`.

A store keeps what `apply` reports as changed on disk, and makes the accounts again from it.
"""

from collections.abc import Iterable, Mapping

import msgspec

from aliquot.budgets.counting import Counter
from aliquot.budgets.holding import (
    Charge,
    Done,
    Gauge,
    Gone,
    Granted,
    Hold,
    OpenHold,
    Operation,
    Renew,
    Result,
    Settle,
    Short,
)
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.windows import Window

_DONE = Done()
_GONE = Gone()


class Changes:
    """What operations changed since the last `clear`, for a store to write down.

    buckets: (counter, bucket) with the amount added. windows: counters seen for the first time. opened: holds
    as they are now; closed: holds that are no more. uses: in the order of settlement.
    """

    __slots__ = ("buckets", "closed", "opened", "uses", "windows")

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, int], int] = {}
        self.windows: dict[str, Window] = {}
        self.opened: dict[str, OpenHold] = {}
        self.closed: set[str] = set()
        self.uses: list[TokenUse] = []

    def clear(self) -> None:
        self.buckets.clear()
        self.windows.clear()
        self.opened.clear()
        self.closed.clear()
        self.uses.clear()

    def __bool__(self) -> bool:
        return bool(self.buckets or self.opened or self.closed or self.uses or self.windows)


class Accounts:
    """Executes operations one after the other. Not safe for use from several threads."""

    def __init__(self, counters: Mapping[str, Counter] = {}, holds: Iterable[OpenHold] = ()) -> None:
        self.counters: dict[str, Counter] = dict(counters)
        self.holds: dict[str, OpenHold] = {}
        self.changes = Changes()
        self._now = 0
        for hold in holds:
            self.holds[hold.request] = hold
            for key, window, amount in hold.amounts:
                self._counter(key, window).held += amount

    def apply(self, operation: Operation, now: int) -> Result:
        """Execute one operation at `now` (microseconds; earlier than before is taken as before)."""
        self._now = now = max(now, self._now)
        if isinstance(operation, Hold):
            return self._hold(operation, now)
        if isinstance(operation, Settle):
            return self._settle(operation, now)
        return self._renew(operation)

    def gauge(self, key: str, now: int) -> Gauge:
        """What the counter says; nothing spent and held if it was never used."""
        counter = self.counters.get(key)
        if counter is None:
            return Gauge(0, 0)
        counter.advance(max(now, self._now))
        return Gauge(counter.spent, counter.held)

    def lapsed(self, now: int) -> list[OpenHold]:
        """The holds that have expired at `now`."""
        return [hold for hold in self.holds.values() if hold.expires_us <= now]

    def forget_idle(self, now: int) -> None:
        """Drop counters in which nothing stands, so that callers who left take no memory."""
        for key, counter in list(self.counters.items()):
            counter.advance(now)
            if not counter.held and not counter.booked:
                del self.counters[key]

    def _counter(self, key: str, window: Window) -> Counter:
        counter = self.counters.get(key)
        if counter is None:
            counter = self.counters[key] = Counter(window)
            self.changes.windows[key] = window
        return counter

    def _hold(self, operation: Hold, now: int) -> Result:
        existing = self.holds.get(operation.request)
        if operation.more and existing is None:
            return _GONE
        if existing is not None and not operation.more:
            raise ValueError(f"request {operation.request} has a hold already")
        counters: list[Counter] = []
        units = operation.most
        for place, charge in enumerate(operation.charges):
            counter = self._counter(charge.counter, charge.window)
            counter.advance(now)
            counters.append(counter)
            room = charge.limit - counter.spent - counter.held - charge.fixed
            if room < charge.per_unit * operation.least:
                return _short(place, charge, counter, operation.least)
            if charge.per_unit and room < charge.per_unit * units:
                units = room // charge.per_unit
        held: list[tuple[str, Window, int]] = []
        gauges: list[Gauge] = []
        for charge, counter in zip(operation.charges, counters, strict=True):
            amount = charge.fixed + charge.per_unit * units
            if charge.at_once:
                self._book(charge.counter, counter, amount, now)
            else:
                counter.held += amount
                held.append((charge.counter, charge.window, amount))
            gauges.append(Gauge(counter.spent, counter.held))
        if existing is not None:
            held = _added(existing.amounts, held)
            units_held = existing.units + units
            lost, lost_unit = existing.lost, existing.lost_unit
        else:
            units_held, lost, lost_unit = units, operation.lost, operation.lost_unit
        kept = OpenHold(
            request=operation.request,
            expires_us=operation.expires_us,
            units=units_held,
            amounts=tuple(held),
            lost=lost,
            lost_unit=lost_unit,
        )
        self.holds[operation.request] = kept
        self.changes.opened[operation.request] = kept
        return Granted(units, tuple(gauges))

    def _renew(self, operation: Renew) -> Result:
        hold = self.holds.get(operation.request)
        if hold is None:
            return _GONE
        kept = msgspec.structs.replace(hold, expires_us=operation.expires_us)
        self.holds[operation.request] = kept
        self.changes.opened[operation.request] = kept
        return _DONE

    def _settle(self, operation: Settle, now: int) -> Result:
        hold = self.holds.get(operation.request)
        if hold is None or (operation.lapsed and hold.expires_us > now):
            return _GONE
        del self.holds[operation.request]
        for key, window, amount in hold.amounts:
            self._counter(key, window).held -= amount
        for key, window, amount in operation.amounts:
            if amount:
                counter = self._counter(key, window)
                counter.advance(now)
                self._book(key, counter, amount, now)
        self.changes.opened.pop(operation.request, None)
        self.changes.closed.add(operation.request)
        self.changes.uses.append(operation.use)
        return _DONE

    def _book(self, key: str, counter: Counter, amount: int, now: int) -> None:
        bucket = counter.book(amount, now)
        place = (key, bucket)
        self.changes.buckets[place] = self.changes.buckets.get(place, 0) + amount


def _short(place: int, charge: Charge, counter: Counter, least: int) -> Short:
    wanted = charge.fixed + charge.per_unit * least
    excess = counter.spent + counter.held + wanted - charge.limit
    return Short(place, Gauge(counter.spent, counter.held), free_at(counter, charge.limit, wanted, excess))


def free_at(counter: Counter, limit: int, wanted: int, excess: int) -> int | None:
    """When `wanted` fits if nothing else happens; None if it never can, or not before a hold is settled."""
    return None if wanted > limit else counter.free_at(excess)


def _added(
    before: tuple[tuple[str, Window, int], ...], more: list[tuple[str, Window, int]]
) -> list[tuple[str, Window, int]]:
    amounts = {key: (window, amount) for key, window, amount in before}
    for key, window, amount in more:
        known = amounts.get(key)
        amounts[key] = (window, amount + (known[1] if known else 0))
    return [(key, window, amount) for key, (window, amount) in amounts.items()]
