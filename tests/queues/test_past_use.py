"""Past use: halved once per half-life, carried on from the last value alone."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.queues.builders import START, gpus, queue

from aliquot.cel.quantity import Quantity
from aliquot.model.queue import ResourceUsage
from aliquot.queues.amounts import UNIT
from aliquot.queues.past_use import UseRules, advance, advanced, part_used, past_use

HOUR = 3600
RULES = UseRules(half_life=HOUR)
NEW = ResourceUsage(name="gpu")


def after(seconds: float):
    return START + timedelta(seconds=seconds)


def carried(record, held, capacity, seconds, rules=RULES):
    return advance(record, held * UNIT, capacity * UNIT, after(seconds), rules)


BEGUN = carried(NEW, 0, 0, 0)


def test_a_new_record_begins_now_with_nothing():
    assert ResourceUsage(name="gpu", as_of=START) == BEGUN
    assert part_used(BEGUN) == 0


def test_all_that_there_was_is_one_and_idleness_halves_it_once_per_half_life():
    busy = carried(BEGUN, 8, 8, 100 * HOUR)
    assert part_used(busy) == UNIT

    for halvings in (1, 2, 3):
        idle = carried(busy, 0, 8, (100 + halvings) * HOUR)
        assert abs(part_used(idle) - UNIT // 2**halvings) <= 2


def test_one_half_life_of_use_weighs_half_a_half_lifes_worth_over_ln_2():
    # The integral of 2^(-t/h) from 0 to h is h / (2 ln 2).
    record = carried(BEGUN, 1, 1, HOUR)

    assert abs(record.value.nano - UNIT * HOUR / 2 / 0.6931471805599453) < UNIT // 1000


@given(st.integers(0, 16), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(60, 10**6))
def test_many_small_steps_are_one_large_step(held, first, second, half_life):
    rules = UseRules(half_life=half_life)
    at_once = carried(BEGUN, held, 16, first + second, rules)
    in_steps = carried(carried(BEGUN, held, 16, first, rules), held, 16, first + second, rules)

    for one, other in ((at_once.value, in_steps.value), (at_once.capacity, in_steps.capacity)):
        assert abs(one.nano - other.nano) <= 10_000 + one.nano // 10**12


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 10**5)), min_size=1, max_size=8))
def test_past_use_is_never_more_than_all_there_was(history):
    record, moment = BEGUN, 0
    for held, seconds in history:
        moment += seconds
        record = carried(record, held, 8, moment)

    assert 0 <= part_used(record) <= UNIT


def test_without_a_half_life_nothing_fades_and_fractions_are_exact():
    rules = UseRules(half_life=None)
    record = advance(BEGUN, Fraction(UNIT, 7), UNIT, after(700), rules)

    assert (record.value, record.capacity) == (Quantity.of(100), Quantity.of(700))


def test_a_window_begins_from_nothing():
    rules = UseRules(half_life=None, window=HOUR, start=START)
    first = carried(BEGUN, 4, 8, HOUR - 1, rules)
    second = carried(first, 8, 8, HOUR + 10, rules)

    assert first.value == Quantity.of(4 * (HOUR - 1))
    assert (second.value, second.capacity) == (Quantity.of(80), Quantity.of(80))


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_clock_that_went_back_changes_nothing(seconds):
    assert carried(BEGUN, 8, 8, seconds) is BEGUN


def test_tiny_steps_are_not_lost():
    record = BEGUN
    for step in range(1, 101):
        record = carried(record, 1, 1, step / 1000, UseRules(half_life=7 * 24 * HOUR))

    assert abs(record.value.nano - UNIT // 10) < UNIT // 10**4


def test_the_records_of_a_queue_follow_what_the_cluster_has():
    first = advanced(queue("red"), gpus(2), gpus(8), START, RULES)
    assert [record.name for record in first] == ["gpu"]

    then = advanced(queue("red"), {}, {"cpu": UNIT, "gpu": UNIT}, START, RULES)
    assert [record.name for record in then] == ["cpu", "gpu"]


def test_statuses_tell_past_use_to_the_division():
    record = ResourceUsage(name="gpu", value=Quantity.of(1), capacity=Quantity.of(4), as_of=START)
    red = queue("red")
    status = type(red.status)(usage=(record,))
    red = type(red)(metadata=red.metadata, spec=red.spec, status=status)

    assert past_use([red, queue("blue")]) == {"red": {"gpu": UNIT // 4}}
