"""Every millisecond of every device is settled once, whatever clocks and processes do."""

import itertools
from collections.abc import Iterable
from fractions import Fraction

from hypothesis import given, settings
from tests.accounting.histories import (
    BEGIN_MS,
    DEVICES,
    History,
    histories,
    holding,
    occupancy,
)

from aliquot.accounting.amounts import HOUR_MS
from aliquot.accounting.closing import entries_of, settle
from aliquot.accounting.energy import Use
from aliquot.accounting.entries import AMOUNTS, Category, Entry, Span, totals
from aliquot.accounting.identity import balance
from aliquot.accounting.prices import PriceBook
from aliquot.accounting.progress import UNOBSERVED, Key, Progress, advance, unsettled
from aliquot.usage.provenance import Provenance

GPU = DEVICES[0]


def followed(history: History) -> tuple[list[Span], Progress, dict[Key, list[tuple[int, int]]]]:
    """All spans, where it ends, and when each device was there by the latest clock seen."""
    progress, spans = Progress(), []
    there: dict[Key, list[tuple[int, int]]] = {}
    begins: dict[Key, int] = {}
    for look in history.looks:
        at, before = max(look.now_ms, progress.seen_ms), progress.seen_ms
        gap = bool(progress.open) and at - before > 300_000
        step = advance(progress, look.now_ms, look.seen)
        spans += step.spans
        progress = step.progress
        seen = {item.device.key for item in look.seen}
        for key in [key for key in begins if key not in seen]:
            there.setdefault(key, []).append((begins.pop(key), before if gap else at))
        for key in seen:
            begins.setdefault(key, at)
    spans += unsettled(progress)
    for key, begin in begins.items():
        there.setdefault(key, []).append((begin, progress.seen_ms))
    return spans, progress, there


@given(histories())
@settings(max_examples=60, deadline=None)
def test_spans_cover_the_time_of_each_device_without_gap_or_overlap(history: History) -> None:
    spans, _, there = followed(history)

    covered: dict[Key, list[tuple[int, int]]] = {}
    for span in spans:
        covered.setdefault(span.occupancy.device.key, []).append((span.start_ms, span.end_ms))
    for pieces in covered.values():
        pieces.sort()
        assert all(start < end for start, end in pieces)
        assert all(start // HOUR_MS == (end - 1) // HOUR_MS for start, end in pieces), "cut at full hours"
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(pieces))
    for key, stays in there.items():
        assert sum(end - start for start, end in covered.get(key, [])) == sum(
            end - start for start, end in stays
        )


@given(histories())
@settings(max_examples=40, deadline=None)
def test_what_everybody_had_adds_up_to_what_there_was_by_device_node_and_fleet(history: History) -> None:
    spans, _, there = followed(history)
    book = PriceBook()
    found = entries_of(spans, book)

    def holds(chosen: Iterable[Entry], keys: set[Key]) -> None:
        capacity = sum(end - start for key in keys for start, end in there.get(key, []))
        assert balance(chosen, capacity).holds

    keys = set(there)
    holds(found, keys)
    for key in keys:
        holds([entry for entry in found if entry.device.key == key], {key})
    for node in ("n1", "n2"):
        holds(
            [entry for entry in found if entry.device.place.node == node],
            {key for key in keys if key[1] == node},
        )
    for span in spans:
        cost = sum(entry.cost_micros for entry in settle(span, book))
        assert cost == book.capacity_cost(span.occupancy, span.start_ms, span.end_ms)[0]


def test_a_holder_who_was_there_before_and_after_a_gap_was_there_all_the_time() -> None:
    first = advance(Progress(), BEGIN_MS, [occupancy(GPU, holding("a"))])
    second = advance(first.progress, BEGIN_MS + 20_000, [occupancy(GPU, holding("a"))])
    third = advance(second.progress, BEGIN_MS + 2_000_000, [occupancy(GPU, holding("a"))])

    assert {item.occupancy.holdings[0].key for item in third.spans} == {"a"}
    assert sum(item.length_ms for item in third.spans) == 2_000_000


def test_nobody_pays_for_what_nobody_saw() -> None:
    """a was there until the last look; b is there now and was given its device in the meantime."""
    first = advance(Progress(), BEGIN_MS, [occupancy(GPU, holding("a"))])
    second = advance(first.progress, BEGIN_MS + 20_000, [occupancy(GPU, holding("a"))])
    given = BEGIN_MS + 700_000
    third = advance(second.progress, BEGIN_MS + 1_000_000, [occupancy(GPU, holding("b", since_ms=given))])

    who = [
        (item.start_ms - BEGIN_MS, item.end_ms - BEGIN_MS, [held.key for held in item.occupancy.holdings])
        for item in third.spans
    ]
    assert who == [(0, 20_000, ["a"]), (20_000, 700_000, []), (700_000, 1_000_000, ["b"])]
    assert third.spans[1].occupancy.spare[0].reason == UNOBSERVED
    assert third.spans[1].occupancy.spare[0].category is Category.SYSTEM


def test_a_clock_that_is_set_back_settles_nothing_until_it_has_caught_up() -> None:
    first = advance(Progress(), BEGIN_MS, [occupancy(GPU, holding("a"))])
    second = advance(first.progress, BEGIN_MS + 60_000, [occupancy(GPU, holding("b"))])
    third = advance(second.progress, BEGIN_MS + 10_000, [occupancy(GPU, holding("c"))])
    fourth = advance(third.progress, BEGIN_MS + 70_000, [occupancy(GPU)])

    assert [item.length_ms for item in second.spans] == [60_000]
    assert third.spans == ()
    assert [(item.occupancy.holdings[0].key, item.length_ms) for item in fourth.spans] == [("c", 10_000)]


def test_use_is_measured_inside_what_is_held_and_says_how_well_it_is_known() -> None:
    shares = (holding("a", Fraction(1, 8)), holding("b", Fraction(4, 8)), holding("c", Fraction(2, 8)))
    span = Span(occupancy(GPU, *shares), BEGIN_MS, BEGIN_MS + 80_000)
    use = Use(
        activity={"a": 500_000, "b": 1_000_000},
        provenance={"a": Provenance.MEASURED, "b": Provenance.ESTIMATED},
    )

    found = settle(span, PriceBook(), use)

    assert [(entry.device_ms, entry.used_ms) for entry in found] == [
        (10_000, 5_000),
        (40_000, 40_000),
        (20_000, 0),
        (10_000, 0),
    ]
    known = [entry.use_provenance for entry in found]
    assert known == [Provenance.MEASURED, Provenance.ESTIMATED, Provenance.UNKNOWN, Provenance.MEASURED]
    assert totals(found)["device_ms"] == 80_000


def test_a_taken_back_entry_adds_up_to_nothing_with_it() -> None:
    span = Span(occupancy(GPU, holding("a")), BEGIN_MS, BEGIN_MS + 12_345)
    (entry,) = settle(span, PriceBook())

    assert totals([entry, entry.negated()]) == dict.fromkeys(AMOUNTS, 0)
    assert entry.category is Category.EXCLUSIVE
