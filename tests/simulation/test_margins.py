"""How wide ranges have to be, by what became of those before."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.simulation import draws
from aliquot.simulation.margins import (
    LEAST_SPREAD,
    PRIOR,
    SLACK,
    Foretold,
    MarginRules,
    Margins,
    Middle,
    middle_of,
    quantile,
)

HOUR = 3600


def middle(seconds: float, spread: float = 0.5) -> Middle:
    return Middle(level=math.log(seconds + SLACK), spread=spread)


def before(ages: range, waited: Callable[[int], int], started: bool = True) -> list[Foretold]:
    """Ranges about two hours, ten at each age, and how long it took then."""
    return [
        Foretold(age=age, middle=middle(2 * HOUR), waited=waited(number), started=started)
        for age in ages
        for number in range(10)
    ]


def end(margins: Margins, seconds: float = 2 * HOUR, spread: float = 0.5) -> float:
    latest = margins.range(middle(seconds, spread))[1]
    return math.inf if latest is None else latest


def test_the_middle_is_that_of_the_futures_and_never_too_sure() -> None:
    assert middle_of([HOUR] * 12, 24 * HOUR).seconds == HOUR
    assert middle_of([HOUR] * 12, 24 * HOUR).spread == LEAST_SPREAD
    # Half an hour to two hours, each a fifth from an end: twice the standard deviation is 1.68 of it.
    apart = middle_of([HOUR // 2, HOUR // 2, HOUR, 2 * HOUR, 2 * HOUR], 24 * HOUR)
    assert apart.seconds == HOUR
    assert apart.spread == pytest.approx(math.hypot(math.log(7500 / 2100) / 1.683, LEAST_SPREAD), rel=0.01)
    # What starts in none of them is taken to start after twice as long.
    assert middle_of([None] * 3, 24 * HOUR).seconds == 48 * HOUR
    assert middle_of([None] * 3, 24 * HOUR).spread > 1


def test_a_range_is_as_wide_as_the_futures_are_apart() -> None:
    found = Margins()
    (early, late), (earlier, later) = (found.range(middle(2 * HOUR, spread)) for spread in (0.25, 1.0))
    assert late is not None
    assert later is not None
    assert earlier < early < 2 * HOUR < late < later
    assert later - earlier > 2.5 * (late - early)


def test_a_range_is_the_shortest_that_is_likely_enough() -> None:
    """And not that which leaves out as much on either side."""
    early, late = Margins().range(middle(10 * HOUR, 1.0))
    left_out = (1 - MarginRules().part) / 2
    ends = [math.exp(quantile(PRIOR, part)) for part in (left_out, 1 - left_out)]
    assert late is not None
    assert late - early < 0.75 * 10 * HOUR * (ends[1] - ends[0])
    assert early < 0.15 * 10 * HOUR


def test_ranges_that_held_easily_become_narrower() -> None:
    found = Margins(before(range(0, 36 * HOUR, 600), lambda number: 2 * HOUR + 60 * number))
    early, late = found.range(middle(2 * HOUR))
    assert early > 1.5 * HOUR
    assert late is not None
    assert late < 3 * HOUR


@pytest.mark.parametrize("times", [2, 4])
def test_ranges_that_were_too_short_become_as_long_as_it_took(times: int) -> None:
    found = Margins(before(range(0, 12 * HOUR, 600), lambda number: 2 * HOUR * times))
    assert end(found) >= 2 * HOUR * times
    rules = MarginRules(prior=0.01)
    assert end(Margins(before(range(0, 12 * HOUR, 600), lambda number: 2 * HOUR * times), rules)) == (
        pytest.approx(2 * HOUR * times, rel=0.01)
    )


def test_what_still_waits_says_that_it_takes_longer() -> None:
    """Of each moment three were short, of which the end is known; seven are still waiting after ten hours."""
    short = before(range(10 * HOUR, 20 * HOUR, 600), lambda number: HOUR)[::3]
    waiting = [
        Foretold(age=age, middle=middle(2 * HOUR), waited=age, started=False)
        for age in range(10 * HOUR, 20 * HOUR, 600)
        for _ in range(7)
    ]
    rules = MarginRules(prior=1)
    assert end(Margins(short, rules)) < 3 * HOUR
    assert end(Margins([*short, *waiting], rules)) > 9 * HOUR


def test_where_nearly_all_is_overdue_a_range_has_no_end() -> None:
    waiting = [
        Foretold(age=50 * HOUR, middle=middle(HOUR), waited=50 * HOUR, started=False) for _ in range(50)
    ]
    assert Margins(waiting, MarginRules(prior=0.001)).range(middle(HOUR))[1] is None


def test_what_was_foretold_lately_counts_more() -> None:
    old = before(range(48 * HOUR, 60 * HOUR, HOUR), lambda number: 8 * HOUR)
    late = before(range(0, 12 * HOUR, 600), lambda number: 90 * 60)
    rules = MarginRules(prior=0.01)
    assert end(Margins([*old, *late], rules)) < 2 * HOUR
    assert end(Margins(old, rules)) > 7 * HOUR


def test_what_was_foretold_for_waits_as_long_counts_more() -> None:
    """Short waits are foretold exactly here, and long ones take four times as long."""
    found = Margins(
        Foretold(age=age, middle=middle(hours * HOUR), waited=hours * HOUR * times, started=True)
        for age in range(0, 12 * HOUR, 600)
        for hours, times in ((1, 1), (12, 4))
    )
    assert end(found, 12 * HOUR) / end(found, HOUR) > 24


def test_the_order_of_what_was_foretold_does_not_matter() -> None:
    seen = before(range(0, 6 * HOUR, 600), lambda number: HOUR + 600 * number)
    assert Margins(seen).range(middle(HOUR)) == Margins(reversed(seen)).range(middle(HOUR))


@given(st.integers(0, 10**6), st.floats(0.2, 5), st.floats(0.1, 0.6))
@settings(max_examples=15, deadline=None)
def test_whatever_is_wrong_with_ranges_they_come_to_hold_four_times_in_five(
    seed: int, wrong: float, spread: float
) -> None:
    """Waits are off by a constant factor and by chance; ranges are given every ten minutes."""
    held = 0
    seen: list[tuple[int, int]] = []
    for number in range(240):
        centre = HOUR + draws.below(seed, "centre", number, 4 * HOUR)
        noise = sum(draws.unit(seed, f"noise {part}", number) - 0.5 for part in range(12))
        waited = round(centre * wrong * 2.718 ** (spread * noise))
        if number >= 140:
            found = Margins(
                Foretold(age=(number - at) * 600, middle=middle(foretold), waited=took, started=True)
                for at, (foretold, took) in enumerate(seen)
            )
            early, late = found.range(middle(centre))
            held += early <= waited and (late is None or waited <= late)
        seen.append((centre, waited))
    assert held / 100 >= 0.7
