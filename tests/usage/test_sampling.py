"""Readings become samples: gaps, resets, repeats, disorder and several exporters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.usage.test_series import AMOUNT, LEVEL, by_millisecond, series

from aliquot.usage.metrics import Metric
from aliquot.usage.sampling import overlaid, sampled
from aliquot.usage.series import Series, Subject, column

PLACE = Subject("n", "d", "p", "gpu-0")


def rows(metric: Metric, pairs: list[tuple[int, int]], step: int = 0) -> list[tuple[int, int, int]]:
    return list(
        sampled(
            metric, PLACE, column(time for time, _ in pairs), column(value for _, value in pairs), step=step
        )
    )


@pytest.mark.parametrize(
    ("name", "pairs", "expected"),
    [
        ("regular", [(60, 1), (120, 2), (180, 3)], [(60, 60, 1), (120, 60, 2), (180, 60, 3)]),
        ("jitter", [(60, 1), (119, 2), (181, 3)], [(60, 59, 1), (119, 59, 2), (181, 62, 3)]),
        ("one missing", [(60, 1), (120, 2), (240, 3)], [(60, 60, 1), (120, 60, 2), (240, 60, 3)]),
        ("disorder", [(120, 2), (60, 1)], [(60, 60, 1), (120, 60, 2)]),
        ("a repeat", [(60, 1), (60, 7), (120, 2)], [(60, 60, 1), (120, 60, 2)]),
        ("none", [], []),
    ],
)
def test_a_level_holds_since_the_reading_before(
    name: str, pairs: list[tuple[int, int]], expected: list[tuple[int, int, int]]
) -> None:
    assert rows(LEVEL, pairs) == expected


@pytest.mark.parametrize(
    ("name", "pairs", "expected"),
    [
        ("grows", [(60, 100), (120, 150), (180, 150)], [(120, 60, 50), (180, 60, 0)]),
        ("a gap still counts", [(60, 100), (120, 150), (600, 900)], [(120, 60, 50), (600, 480, 750)]),
        ("reset", [(60, 100), (120, 30), (180, 50)], [(120, 60, 30), (180, 60, 20)]),
        ("one reading says nothing", [(60, 100)], []),
        ("disorder is not a reset", [(60, 100), (180, 300), (120, 200)], [(120, 60, 100), (180, 60, 100)]),
    ],
)
def test_a_counter_gives_what_came_about_since_the_reading_before(
    name: str, pairs: list[tuple[int, int]], expected: list[tuple[int, int, int]]
) -> None:
    assert rows(AMOUNT, pairs) == expected


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.sets(st.integers(1, 28)), st.data())
def test_a_counter_with_resets_misses_readings_without_losing_more_than_a_reset_hides(
    increments: list[int], missing: set[int], data: st.DataObject
) -> None:
    resets = data.draw(st.sets(st.integers(1, len(increments) - 1), max_size=2))
    shown, truth = [], 0
    count = 0
    for place, grown in enumerate(increments):
        count = 0 if place in resets else count
        count += grown
        shown.append(((place + 1) * 60, count))
    kept = [pair for place, pair in enumerate(shown) if place not in missing]
    truth = sum(grown for _, grown in zip(shown[1:], increments[1:], strict=True))
    found = sum(value for _, _, value in rows(AMOUNT, kept))
    assert found <= truth
    if not resets and kept[0] == shown[0] and kept[-1] == shown[-1]:
        assert found == truth
    if not missing:
        hidden = 0
        for before, after in pairwise(shown):
            place = after[0] // 60 - 1
            if place in resets and after[1] >= before[1]:
                hidden += before[1]
        assert found == truth - hidden


@given(st.lists(series(LEVEL), min_size=1, max_size=4))
def test_exporters_of_one_device_are_counted_once(several: list[Series]) -> None:
    found = overlaid(several)
    moments = by_millisecond(found)
    assert set(moments) == set().union(*(by_millisecond(item) for item in several))
    best = max(several, key=lambda item: item.covered)
    assert by_millisecond(best).items() <= moments.items()
    for moment, value in moments.items():
        assert value in [by_millisecond(item).get(moment) for item in several]


@given(series(AMOUNT), st.integers(0, 3))
def test_the_same_exporter_scraped_twice_changes_no_sum(item: Series, copies: int) -> None:
    assert overlaid([item] * (copies + 1)).total() == item.total()


def test_a_counter_that_another_exporter_saw_grow_is_not_counted_for_both_sides() -> None:
    """It grew by 2 between minutes 2 and 3; one exporter was away at 2, the other until then."""
    early = sampled(AMOUNT, PLACE, column([60, 180]), column([0, 2]))
    late = sampled(AMOUNT, PLACE, column([120, 180, 240, 300]), column([0, 2, 2, 2]))
    found = overlaid([early, late])
    assert found.total() == 2
    assert (found.start, found.end) == (120, 300)
