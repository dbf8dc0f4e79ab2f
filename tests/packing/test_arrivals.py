"""The rules of the workload that the default trace does not reach."""

from aliquot.packing.arrivals import arrival_order
from aliquot.packing.cluster import Demand
from aliquot.packing.go_random import GoRandom

WHOLE = Demand(1000, 1000, 1, 1000)


def test_pods_are_taken_away_where_the_trace_asks_for_too_much() -> None:
    pods = {f"pod-{number:02}": WHOLE for number in range(40)}
    arrivals = arrival_order(pods, 10_000, GoRandom(1))
    assert len(arrivals) == 13
    assert len(set(arrivals)) == 13


def test_copies_fill_up_to_the_target_and_not_beyond_it() -> None:
    pods = {f"pod-{number:02}": Demand(1000, 1000, 1, 300) for number in range(10)}
    arrivals = arrival_order(pods, 10_000, GoRandom(1))
    assert sorted(arrivals[:10]) == sorted(pods)
    assert len(arrivals) == 13_000 // 300


def test_a_copy_of_several_gpus_may_pass_the_target_by_all_but_one() -> None:
    pods = {"pod": Demand(1000, 1000, 8, 1000)}
    arrivals = arrival_order(pods, 10_000, GoRandom(1))
    assert arrivals == ["pod", "pod"]
