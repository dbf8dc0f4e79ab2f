"""Prices of parts, against all patterns."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.packing.patterns import CELLS, cells, part_prices, worth_of_rooms

MIXES = st.dictionaries(st.integers(8, CELLS), st.integers(1, 50).map(float), min_size=1, max_size=7)


def patterns(sizes: list[int], room: int = CELLS) -> Iterator[list[int]]:
    """All ways to fill a room with parts, also partly."""
    if not sizes:
        yield []
        return
    for times in range(room // sizes[0] + 1):
        for rest in patterns(sizes[1:], room - times * sizes[0]):
            yield [sizes[0]] * times + rest


@settings(max_examples=60, deadline=None)
@given(MIXES)
def test_no_pattern_is_worth_more_than_a_gpu_and_some_are_worth_one(mix: dict[int, float]) -> None:
    prices = part_prices(mix)
    worths = [sum(prices[size] for size in pattern) for pattern in patterns(sorted(mix, reverse=True))]
    assert max(worths) == pytest.approx(1, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(MIXES)
def test_prices_add_up_to_no_more_than_any_packing_and_no_less_than_the_parts_themselves(
    mix: dict[int, float],
) -> None:
    prices = part_prices(mix)
    total = sum(prices[size] * count for size, count in mix.items())
    free: list[int] = []
    for size in sorted(mix, reverse=True):
        for _ in range(int(mix[size])):
            place = next((number for number, room in enumerate(free) if room >= size), None)
            if place is None:
                free.append(CELLS)
                place = len(free) - 1
            free[place] -= size
    assert sum(size * count for size, count in mix.items()) / CELLS - 1e-6 <= total <= len(free) + 1e-6


def test_small_shares_cost_nothing_where_large_ones_leave_more_holes_than_they_fill() -> None:
    prices = part_prices({81: 100.0, 16: 10.0})
    assert prices == pytest.approx({81: 1.0, 16: 0.0})


def test_small_shares_cost_their_part_where_there_are_more_of_them() -> None:
    assert part_prices({81: 1.0, 10: 1000.0}) == pytest.approx({81: 0.9, 10: 0.1})


def test_nothing_has_no_prices() -> None:
    assert part_prices({}) == {}


@pytest.mark.parametrize(
    ("milli", "taken"),
    [(1, 1), (10, 1), (11, 1), (26, 2), (333, 33), (334, 34), (125, 12), (500, 50), (810, 81), (1000, 100)],
)
def test_parts_take_cells_without_losing_how_often_they_fit(milli: int, taken: int) -> None:
    assert cells(milli) == taken


def test_a_room_is_worth_the_dearest_parts_that_fit() -> None:
    worth = worth_of_rooms({47: 0.5, 32: 0.25, 16: 0.0})
    assert [worth[room] for room in (0, 19, 32, 46, 53, 64, 94, 99, 100)] == [
        0,
        0,
        0.25,
        0.25,
        0.5,
        0.5,
        1,
        1,
        1,
    ]
