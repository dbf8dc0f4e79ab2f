"""Integers that add up: divisions without rest, running totals without drift."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.accounting.amounts import HOUR_MS, accrued, accrued_share, apportion

weights = st.lists(
    st.one_of(st.integers(0, 10**12), st.fractions(0, 100, max_denominator=997)), min_size=1, max_size=12
)
times = st.lists(st.integers(0, 4 * 10**12), min_size=2, max_size=10).map(sorted)


@given(st.integers(-(10**18), 10**18), weights)
def test_parts_add_up_and_none_is_more_than_one_unit_from_its_quota(
    total: int, given_weights: list[Fraction]
) -> None:
    parts = apportion(total, given_weights)

    assert sum(parts) == total
    whole = sum(Fraction(weight) for weight in given_weights)
    if whole:
        for part, weight in zip(parts, given_weights, strict=True):
            assert abs(part - total * Fraction(weight) / whole) < 1
            assert weight or not part


def test_the_largest_remainders_are_rounded_up_the_earlier_of_equals_first() -> None:
    assert apportion(100, (1, 1, 1)) == (34, 33, 33)
    assert apportion(10, (Fraction(1, 7), Fraction(4, 7), Fraction(2, 7))) == (1, 6, 3)
    assert apportion(-100, (1, 1, 1)) == (-34, -33, -33)
    assert apportion(5, (0, 0)) == (5, 0)
    assert apportion(0, ()) == ()


def test_nothing_is_divided_among_nobody_or_by_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="nobody"):
        apportion(1, ())
    with pytest.raises(ValueError, match="negative"):
        apportion(1, (2, -1))


@given(st.integers(0, 10**9), times)
def test_a_price_comes_to_the_same_however_time_is_cut(rate: int, cuts: list[int]) -> None:
    pieces = sum(accrued(rate, first, last) for first, last in itertools.pairwise(cuts))

    assert pieces == accrued(rate, cuts[0], cuts[-1])


@given(st.integers(0, 10**9), st.integers(1, 16), times)
def test_the_devices_of_a_node_pay_for_the_node(rate: int, devices: int, cuts: list[int]) -> None:
    paid = sum(
        accrued_share(rate, index, devices, first, last)
        for index in range(devices)
        for first, last in itertools.pairwise(cuts)
    )

    assert paid == accrued(rate, cuts[0], cuts[-1])


@given(st.integers(0, 10**9), st.lists(st.integers(1, 7), min_size=1, max_size=9), times)
def test_devices_of_different_size_pay_by_size(rate: int, widths: list[int], cuts: list[int]) -> None:
    paid = [
        accrued_share(rate, sum(widths[:place]), sum(widths), cuts[0], cuts[-1], width=width)
        for place, width in enumerate(widths)
    ]

    assert sum(paid) == accrued(rate, cuts[0], cuts[-1])
    for part, width in zip(paid, widths, strict=True):
        assert abs(part - Fraction(accrued(rate, cuts[0], cuts[-1]) * width, sum(widths))) <= 2


def test_a_full_hour_costs_the_price_of_an_hour() -> None:
    hour = 497_222 * HOUR_MS

    assert accrued(98_321_001, hour, hour + HOUR_MS) == 98_321_001
