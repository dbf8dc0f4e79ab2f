"""The division of one resource among siblings: its properties, and two independent ways to find it."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.queues.amounts import UNIT, Amount
from aliquot.queues.division import Claimant, divide
from aliquot.queues.tree import NO_BOUND

amounts = st.one_of(
    st.integers(0, 40).map(lambda number: number * UNIT // 4),
    st.fractions(0, 8, max_denominator=7).map(lambda number: number * UNIT),
)
bounds = st.one_of(st.just(NO_BOUND), st.integers(0, 10).map(lambda number: number * UNIT))


@st.composite
def siblings(draw: st.DrawFn, *, usage: bool = True) -> list[Claimant]:
    return [
        Claimant(
            quota=draw(bounds),
            limit=draw(bounds),
            weight=draw(st.integers(0, 4)),
            priority=draw(st.sampled_from([50, 100])),
            requested=draw(amounts),
            usage=draw(st.integers(0, UNIT // 4)) if usage else 0,
            age=age,
        )
        for age in draw(st.permutations(range(draw(st.integers(1, 6)))))
    ]


totals = st.integers(0, 60).map(lambda number: number * UNIT // 2)
weights_of_use = st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3)])
steps = st.sampled_from([1, UNIT // 1000, UNIT])


@given(totals, siblings(), steps, weights_of_use, st.booleans())
def test_what_is_given_and_what_is_left_are_what_there_was(total, claimants, step, k, whole):
    found = divide(total, claimants, step, k, whole)

    promised = sum(found.guaranteed)
    assert sum(found.shares) + found.left == max(total, promised)
    assert all(share >= within for share, within in zip(found.shares, found.guaranteed))
    for share, within, parts in zip(found.shares, found.guaranteed, found.parts):
        assert within + sum(part.given for part in parts) == share


@given(totals, siblings(), steps, weights_of_use)
def test_nobody_gets_more_than_it_asks_for_within_its_limit(total, claimants, step, k):
    found = divide(total, claimants, step, k)

    assert all(0 <= share <= claimant.requestable for share, claimant in zip(found.shares, claimants))


@given(totals, siblings(), steps, weights_of_use, st.booleans())
def test_the_quota_is_within_reach(total, claimants, step, k, whole):
    found = divide(total, claimants, step, k, whole)

    for share, claimant in zip(found.shares, claimants):
        quota = total if claimant.quota == NO_BOUND else claimant.quota
        assert share >= min(quota, claimant.requestable)


@given(totals, siblings(usage=False), steps)
def test_nothing_is_left_while_someone_with_a_weight_wants_more(total, claimants, step):
    found = divide(total, claimants, step)

    wanting = [
        claimant
        for share, claimant in zip(found.shares, claimants)
        if claimant.weight and share < claimant.requestable
    ]
    assert not (wanting and found.left > len(claimants) * step)


@given(totals, siblings(), weights_of_use, st.data())
def test_a_larger_weight_never_gives_less(total, claimants, k, data):
    place = data.draw(st.integers(0, len(claimants) - 1))
    heavier = list(claimants)
    heavier[place] = claimants[place]._replace(weight=claimants[place].weight + 1)

    before, after = divide(total, claimants, 1, k), divide(total, heavier, 1, k)

    # Rounding to billionths may move one of them per round.
    assert after.shares[place] >= before.shares[place] - 10


@given(totals, siblings(usage=False))
def test_of_equal_queues_the_one_that_used_less_gets_no_less(total, claimants):
    used = [claimants[0]._replace(usage=UNIT // 4, age=0), claimants[0]._replace(usage=0, age=1)]

    found = divide(total, used, 1, Fraction(1))

    assert found.shares[1] >= found.shares[0] - 1


@given(totals, siblings(usage=False))
def test_a_higher_priority_is_served_first(total, claimants):
    found = divide(total, claimants)

    lower = sum(
        share - within
        for share, within, claimant in zip(found.shares, found.guaranteed, claimants)
        if claimant.priority == 50
    )
    waiting = [
        claimant
        for share, claimant in zip(found.shares, claimants)
        if claimant.priority == 100 and claimant.weight and claimant.requestable - share > len(claimants)
    ]
    assert not (waiting and lower > len(claimants))


def _fluid(total: Amount, claimants: list[Claimant]) -> list[Fraction]:
    """What is over, poured: everyone of a priority rises with its weight until it has what it wants."""
    shares = [
        Fraction(min(claimant.requestable, total if claimant.quota == NO_BOUND else claimant.quota))
        for claimant in claimants
    ]
    over = total - sum(shares)
    for priority in sorted({claimant.priority for claimant in claimants}, reverse=True):
        rising = {
            place
            for place, claimant in enumerate(claimants)
            if claimant.priority == priority and claimant.weight and shares[place] < claimant.requestable
        }
        while rising and over > 0:
            weight = sum(claimants[place].weight for place in rising)
            level = min(
                over / weight,
                *(
                    (claimants[place].requestable - shares[place]) / claimants[place].weight
                    for place in rising
                ),
            )
            for place in rising:
                shares[place] += level * claimants[place].weight
            over -= level * weight
            rising = {place for place in rising if shares[place] < claimants[place].requestable}
    return shares


@given(totals, siblings(usage=False))
def test_exact_shares_are_those_of_water_rising_with_the_weights(total, claimants):
    found = divide(total, claimants)

    for share, poured in zip(found.shares, _fluid(total, claimants)):
        assert abs(share - poured) <= 8 * len(claimants)


def _literal(total, claimants, step, k):
    """The rules as they are written down, in Fractions throughout."""
    shares = [
        Fraction(min(claimant.requestable, total if claimant.quota == NO_BOUND else claimant.quota))
        for claimant in claimants
    ]
    rest = max(Fraction(0), total - sum(shares))
    fractions: dict[int, dict[int, Fraction]] = {}
    priorities = sorted({claimant.priority for claimant in claimants}, reverse=True)
    for priority in priorities:
        fractions[priority] = {}
        satisfied_below = True
        while satisfied_below and rest > 0:
            satisfied_below = False
            open_ = [
                place
                for place, claimant in enumerate(claimants)
                if claimant.priority == priority and shares[place] < claimant.requestable
            ]
            weights = sum(Fraction(claimants[place].weight) for place in open_)
            if not weights:
                break
            adjusted = {}
            for place in open_:
                n = claimants[place].weight / weights
                adjusted[place] = max(Fraction(0), n + k * (n - Fraction(claimants[place].usage, UNIT)))
            whole = sum(adjusted.values())
            if not whole:
                break
            start = rest
            for place in open_:
                if not claimants[place].weight:
                    continue
                part = start * adjusted[place] / whole
                missing = claimants[place].requestable - shares[place]
                if missing <= part:
                    give = missing
                    fractions[priority].pop(place, None)
                    satisfied_below = satisfied_below or missing < part
                else:
                    give = part // step * step
                    if part > give:
                        fractions[priority][place] = part - give
                shares[place] += give
                rest -= give
    for priority in priorities:
        left = fractions[priority]
        for place in sorted(left, key=lambda place: (-left[place], claimants[place].age)):
            give = min(Fraction(step), rest)
            shares[place] += give
            rest -= give
    return shares, rest


@settings(max_examples=300)
@given(totals, siblings(), steps, weights_of_use)
def test_shares_are_those_of_the_rules_taken_literally(total, claimants, step, k):
    found = divide(total, claimants, step, k, whole_rests=True)

    assert (list(found.shares), found.left) == _literal(total, claimants, step, k)


@pytest.mark.parametrize(
    ("total", "wanted", "weights", "expected"),
    [
        (5, (4, 4), (1, 1), (Fraction(5, 2), Fraction(5, 2))),
        (5, (1, 9), (1, 1), (1, 4)),
        (6, (9, 9), (2, 1), (4, 2)),
        (6, (9, 9), (0, 1), (0, 6)),
        (8, (9, 9), (3, 1), (6, 2)),
    ],
)
def test_what_is_over_is_dealt_out_by_weight(total, wanted, weights, expected):
    claimants = [
        Claimant(0, NO_BOUND, weight, 100, want * UNIT, age=age)
        for age, (want, weight) in enumerate(zip(wanted, weights))
    ]

    assert divide(total * UNIT, claimants).shares == tuple(share * UNIT for share in expected)


def test_whole_units_are_dealt_out_to_the_largest_remainder_then_the_oldest():
    claimants = [
        Claimant(0, NO_BOUND, weight, 100, 9 * UNIT, age=age) for weight, age in ((1, 2), (1, 1), (1, 0))
    ]

    assert divide(5 * UNIT, claimants, UNIT).shares == (UNIT, 2 * UNIT, 2 * UNIT)


def test_yesterdays_heavy_user_gets_less_of_what_is_over():
    claimants = [
        Claimant(0, NO_BOUND, 1, 100, 9 * UNIT, usage=UNIT // 2, age=0),
        Claimant(0, NO_BOUND, 1, 100, 9 * UNIT, usage=0, age=1),
    ]

    # n = 1/2 each; w = 1/2 + (1/2 - 1/2) = 1/2 and 1/2 + 1/2 = 1: a third and two thirds.
    assert divide(6 * UNIT, claimants, 1, Fraction(1)).shares == (2 * UNIT, 4 * UNIT)
