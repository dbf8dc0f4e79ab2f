"""How wide ranges have to be, by what became of those before."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.simulation import draws
from aliquot.simulation.margins import Foretold, MarginRules, Margins, margins_of

HOUR = 3600


def before(ages: range, waited: Callable[[int], int], started: bool = True) -> list[Foretold]:
    """Ranges of one to two hours, ten at each age, and how long it took then."""
    return [
        Foretold(age=age, first=HOUR, last=2 * HOUR, waited=waited(number), started=started)
        for age in ages
        for number in range(10)
    ]


def test_without_a_past_ranges_are_wide() -> None:
    found = margins_of([])
    assert found.first(HOUR) < 0.7 * HOUR
    assert found.last(2 * HOUR) > 3 * HOUR
    told = margins_of([], untold=0)
    assert 1.7 * HOUR < told.last(2 * HOUR) - HOUR // 2 < 2 * HOUR
    assert found.first(HOUR) < told.first(HOUR) < HOUR


def test_ranges_that_held_easily_become_narrower() -> None:
    found = margins_of(before(range(0, 36 * HOUR, 600), lambda number: 5400 + 60 * number))
    assert found.early > 1
    assert found.late < 1


@pytest.mark.parametrize("times", [2, 4])
def test_ranges_that_were_too_short_become_as_long_as_it_took(times: int) -> None:
    found = margins_of(before(range(0, 12 * HOUR, HOUR), lambda number: 2 * HOUR * times))
    assert found.last(2 * HOUR) == pytest.approx(2 * HOUR * times, rel=0.01)


def test_what_still_waits_says_that_it_takes_longer() -> None:
    """Of each moment three were short, of which the end is known; seven are still waiting after ten hours."""
    short = before(range(10 * HOUR, 20 * HOUR, 600), lambda number: HOUR)[::3]
    waiting = [
        Foretold(age=age, first=HOUR, last=2 * HOUR, waited=age, started=False)
        for age in range(10 * HOUR, 20 * HOUR, 600)
        for _ in range(7)
    ]
    assert margins_of(short).last(2 * HOUR) < 3 * HOUR
    assert margins_of([*short, *waiting]).last(2 * HOUR) > 9 * HOUR


def test_what_was_foretold_lately_counts_more() -> None:
    old = before(range(48 * HOUR, 60 * HOUR, HOUR), lambda number: 8 * HOUR)
    late = before(range(0, 12 * HOUR, 600), lambda number: 90 * 60)
    rules = MarginRules(prior=0.01)
    assert margins_of([*old, *late], rules).last(2 * HOUR) < 2 * HOUR
    assert margins_of(old, rules).last(2 * HOUR) > 7 * HOUR


@given(st.integers(0, 10**6), st.floats(0.2, 5), st.floats(0.1, 0.6))
@settings(max_examples=20, deadline=None)
def test_whatever_is_wrong_with_ranges_they_come_to_hold_four_times_in_five(
    seed: int, wrong: float, spread: float
) -> None:
    """Waits are off by a constant factor and by chance; ranges are given every hour, and known at once."""
    held = 0
    seen: list[tuple[int, int]] = []
    for number in range(300):
        centre = HOUR + draws.below(seed, "centre", number, 4 * HOUR)
        noise = sum(draws.unit(seed, f"noise {part}", number) - 0.5 for part in range(12))
        waited = round(centre * wrong * 2.718 ** (spread * noise))
        past = [
            Foretold(age=(number - at) * 600, first=foretold, last=foretold, waited=took, started=True)
            for at, (foretold, took) in enumerate(seen)
        ]
        found: Margins = margins_of(past, MarginRules())
        if number >= 100:
            held += found.first(centre) <= waited <= found.last(centre)
        seen.append((centre, waited))
    assert held / 200 >= 0.72
