"""Pods that wait, run and leave again, in virtual time."""

import random

import pytest

from aliquot.packing.benchmark import POLICIES
from aliquot.packing.cluster import Demand, Node
from aliquot.packing.departures import Arrival, run, stream, with_gangs
from aliquot.packing.expected import ExpectedCapacity
from aliquot.packing.go_random import GoRandom

WHOLE = Demand(4000, 1024, 1, 1000)
SHARE = Demand(1000, 1024, 1, 400)
EIGHT = Demand(8000, 1024, 8, 1000)
CPU = Demand(2000, 1024, 0, 0)
NODES = [Node("a", 32_000, 65_536, 8, "G2"), Node("b", 16_000, 65_536, 2, "T4")]


def policies():
    kinds = [WHOLE, SHARE, EIGHT, CPU]
    found = [pytest.param(lambda make=make: make(kinds, 1), id=name) for name, make in POLICIES.items()]
    return [*found, pytest.param(lambda: ExpectedCapacity(leaving=True), id="Aliquot-leaving")]


every_policy = pytest.mark.parametrize("policy", policies())


@every_policy
def test_who_finds_no_room_waits_until_somebody_leaves(policy):
    one = [Node("a", 32_000, 65_536, 1, "G2")]
    found = run(policy(), [Arrival(WHOLE, 0, 100), Arrival(WHOLE, 10, 50), Arrival(CPU, 200, 1)], one)

    assert found.waits == (0, 90, 0)
    # 100 and then 50 of 200 seconds.
    assert found.allocated == 75.0
    assert (found.mean, round(found.waited), found.percentile(99), found.percentile(50)) == (30, 33, 90, 0)


@every_policy
def test_what_fits_passes_what_does_not(policy):
    arrivals = [Arrival(EIGHT, 0, 100), Arrival(EIGHT, 1, 10), Arrival(SHARE, 2, 10), Arrival(CPU, 300, 1)]

    assert sorted(run(policy(), arrivals, NODES).waits) == [0, 0, 0, 99]


@every_policy
def test_a_gang_starts_whole_or_waits(policy):
    arrivals = [Arrival(WHOLE, 0, 100), Arrival(WHOLE, 1, 10, pods=10), Arrival(CPU, 300, 1)]

    assert sorted(run(policy(), arrivals, NODES).waits) == [0, 0, *[99] * 10]


@every_policy
@pytest.mark.parametrize("seed", range(3))
def test_whatever_came_and_left_in_the_end_the_cluster_is_as_empty_as_before(policy, seed):
    draw = random.Random(seed)
    arrivals = [
        Arrival(
            draw.choice([WHOLE, SHARE, SHARE, EIGHT, CPU]), at, draw.randint(1, 60), draw.choice([1, 1, 2])
        )
        for at in range(0, 400, 2)
    ]
    # After all are gone, whole devices for everything there is, and half of the CPU beside them.
    last = [Arrival(EIGHT, 10_000, 1), *[Arrival(WHOLE, 10_000, 1)] * 2]
    found = run(policy(), [*arrivals, *last], NODES, since=10_000)

    assert found.waits == (0, 0, 0)


def test_what_waits_at_the_end_counts_with_the_time_that_it_waited():
    arrivals = [Arrival(EIGHT, 0, 1000), Arrival(EIGHT, 10, 1), Arrival(CPU, 100, 1)]

    assert sorted(run(POLICIES["BestFit"]([], 1), arrivals, NODES).waits) == [0, 0, 90]


def test_a_stream_asks_for_the_load_that_was_named():
    pods = {"w": WHOLE, "s": SHARE, "c": CPU}
    runs = {"w": 60, "s": 300, "c": 10}
    found = stream(pods, runs, NODES, 50, 5000, GoRandom(1))
    work = sum(item.demand.total_milli() * item.run for item in found)

    assert len(found) == 5000
    assert [item.at for item in found] == sorted(item.at for item in found)
    assert work / (10_000 * found[-1].at) == pytest.approx(0.5, rel=0.05)
    assert found == stream(pods, runs, NODES, 50, 5000, GoRandom(1))


def test_gangs_ask_for_no_more_work_over_the_same_time():
    plain = [Arrival(WHOLE if number % 2 else SHARE, number, 50) for number in range(1000)]
    found = with_gangs(plain, 30, GoRandom(1))
    work = sum(item.pods * item.demand.total_milli() for item in found)
    whole = [item for item in found if item.demand is WHOLE]

    assert work == pytest.approx(sum(item.demand.total_milli() for item in plain), rel=0.02)
    assert found[-1].at == 999
    assert 0.2 < sum(item.pods > 1 for item in whole) / len(whole) < 0.4
    assert all(item.pods == 1 for item in found if item.demand is SHARE)
