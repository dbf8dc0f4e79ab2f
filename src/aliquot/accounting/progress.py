"""From one look at the cluster to the next: which stretches of time are settled, and who had what in them.

Every millisecond of a device is settled once, in the order of time, whatever clocks do and however often the
process starts anew: what is settled ends at a mark, and the next stretch begins there.
"""

import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from aliquot.accounting.amounts import HOUR_MS
from aliquot.accounting.entries import Category, Holding, Occupancy, Span, Spare

Key = tuple[str, str, str]
"""Driver, pool and name of a device."""

UNOBSERVED = "Unobserved"
"""The reason of time in which nobody looked and of which nothing can be concluded."""

GAP_MS = 300_000
"""Between looks further apart than this, holdings are not taken to have simply gone on."""


class Open(msgspec.Struct, frozen=True, gc=False):
    """A device as it was last seen, and up to when its time is settled."""

    occupancy: Occupancy
    since_ms: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known between two looks. seen_ms: the latest time at which somebody looked.

    Every device of `open` is settled up to its since_ms, which is not after seen_ms.
    """

    open: Mapping[Key, Open] = {}
    seen_ms: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one look settles. spans: in no order, none longer than an hour. changed: the devices whose Open is
    another than before, or that are gone."""

    progress: Progress
    spans: tuple[Span, ...]
    changed: tuple[Key, ...]


def advance(before: Progress, now_ms: int, occupancies: Iterable[Occupancy], *, gap_ms: int = GAP_MS) -> Step:
    """Look at the cluster: settle what is over.

    A device's time is settled when its occupancy changes, and at every full hour. What was found at a look
    held up to the next one, unless that is more than gap_ms later. Then nobody was there to see, and only
    what both looks agree on is taken for granted: a holding that was there before and after went on all the
    time, one that is there after began when it was given (where that is known). The rest is SYSTEM time,
    `Unobserved`: nobody pays for what nobody saw.

    A clock that is set back settles nothing until it has caught up; what changes meanwhile counts from the
    latest time seen. One that is set forward makes a gap.
    """
    at = max(now_ms, before.seen_ms)
    gap = bool(before.open) and at - before.seen_ms > gap_ms
    spans: list[Span] = []
    changed: list[Key] = []
    opened: dict[Key, Open] = {}
    hour = at - at % HOUR_MS
    for occupancy in occupancies:
        key = occupancy.device.key
        known = before.open.get(key)
        if known is None:
            opened[key] = Open(occupancy, at)
            changed.append(key)
            continue
        if gap:
            spans += _hourly(known.occupancy, known.since_ms, before.seen_ms)
            spans += _across(known.occupancy, occupancy, before.seen_ms, at)
            opened[key] = Open(occupancy, at)
            changed.append(key)
        elif known.occupancy is not occupancy and known.occupancy != occupancy:
            spans += _hourly(known.occupancy, known.since_ms, at)
            opened[key] = Open(occupancy, at)
            changed.append(key)
        elif known.since_ms < hour:
            spans += _hourly(known.occupancy, known.since_ms, hour)
            opened[key] = Open(known.occupancy, hour)
            changed.append(key)
        else:
            opened[key] = known
    for key, known in before.open.items():
        if key not in opened:
            spans += _hourly(known.occupancy, known.since_ms, before.seen_ms if gap else at)
            changed.append(key)
    return Step(progress=Progress(open=opened, seen_ms=at), spans=tuple(spans), changed=tuple(changed))


def unsettled(progress: Progress) -> tuple[Span, ...]:
    """What a step at the time last seen would settle if every device changed: for reports up to that time."""
    return tuple(
        span
        for item in progress.open.values()
        for span in _hourly(item.occupancy, item.since_ms, progress.seen_ms)
    )


def _hourly(occupancy: Occupancy, start_ms: int, end_ms: int) -> list[Span]:
    """The stretch cut at full hours."""
    found = []
    while start_ms < end_ms:
        stop = min(end_ms, start_ms - start_ms % HOUR_MS + HOUR_MS)
        found.append(Span(occupancy, start_ms, stop))
        start_ms = stop
    return found


def _across(old: Occupancy, new: Occupancy, start_ms: int, end_ms: int) -> list[Span]:
    """The stretch that nobody saw, cut where holdings that are there now were given."""
    held_before = {item.key: item for item in old.holdings}
    begins = {
        item.key: start_ms if item.key in held_before else _begin(item, start_ms, end_ms)
        for item in new.holdings
    }
    bounds = sorted({start_ms, end_ms, *begins.values()})
    found: list[Span] = []
    for first, last in itertools.pairwise(bounds):
        there = tuple(item for item in new.holdings if begins[item.key] <= first)
        rest = new.capacity - sum((item.share for item in there), Fraction(0))
        spare = (Spare(category=Category.SYSTEM, share=rest, reason=UNOBSERVED),) if rest else ()
        sure = msgspec.structs.replace(new, holdings=there, spare=spare)
        if not there and not old.holdings and not new.holdings and old.spare == new.spare:
            # Free or out of order at both looks: nobody could pay for it in any case.
            sure = new
        found += _hourly(sure, first, last)
    return found


def _begin(holding: Holding, start_ms: int, end_ms: int) -> int:
    if holding.since_ms is None:
        return end_ms
    return min(max(holding.since_ms, start_ms), end_ms)
