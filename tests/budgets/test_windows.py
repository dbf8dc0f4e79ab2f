"""Sliding windows against an oracle that remembers every booking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.budgets.counting import Counter
from aliquot.budgets.windows import WINDOWS, Window, free_at

TIMED = [window for window in Window if window is not Window.NOW]

steps = st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(1, 100)), max_size=40)


@pytest.mark.parametrize("window", TIMED)
def test_a_window_is_as_long_as_its_name(window: Window) -> None:
    lengths = {Window.MINUTE: 60, Window.HOUR: 3600, Window.DAY: 86_400, Window.MONTH: 30 * 86_400}

    assert WINDOWS[window].length == lengths[window] * 1_000_000


@given(steps)
def test_everything_booked_within_the_window_counts_and_nothing_older_than_a_bucket_more(
    bookings: list[tuple[int, int]],
) -> None:
    counter = Counter(Window.MINUTE)
    buckets = WINDOWS[Window.MINUTE]
    now = 1_700_000_000_000_000
    booked: list[tuple[int, int]] = []
    for pause, amount in bookings:
        now += pause
        counter.advance(now)
        counter.book(amount, now)
        booked.append((now, amount))

        least = sum(amount for at, amount in booked if at > now - buckets.length)
        most = sum(amount for at, amount in booked if at > now - buckets.length - buckets.width)
        assert least <= counter.spent <= most
        assert counter.spent == sum(amount for _, amount in counter.booked)


def test_an_amount_counts_until_the_end_of_the_bucket_in_which_its_window_ends() -> None:
    counter = Counter(Window.MINUTE)
    counter.book(5, 10_700_000)

    counter.advance(70_999_999)
    assert counter.spent == 5
    counter.advance(71_000_000)
    assert counter.spent == 0


@given(steps, st.integers(1, 4000))
def test_room_comes_exactly_when_it_is_told(bookings: list[tuple[int, int]], excess: int) -> None:
    counter = Counter(Window.HOUR)
    now = 0
    for pause, amount in bookings:
        now += pause * 10
        counter.advance(now)
        counter.book(amount, now)
    before = counter.spent

    at = counter.free_at(excess)

    if at is None:
        assert before < excess
    else:
        early = Counter(Window.HOUR, counter.booked)
        early.advance(at - 1)
        assert before - early.spent < excess
        counter.advance(at)
        assert before - counter.spent >= excess


def test_a_clock_set_back_books_in_the_newest_bucket() -> None:
    counter = Counter(Window.MINUTE)
    counter.book(1, 90_000_000)
    counter.book(2, 30_000_000)

    assert list(counter.booked) == [(90, 3)]


def test_nothing_becomes_free_by_time_where_nothing_is_booked() -> None:
    assert free_at([], WINDOWS[Window.DAY], 1) is None
