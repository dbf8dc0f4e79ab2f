"""Remembered scores against scores worked out anew for every node and pod."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.packing.benchmark import POLICIES, run
from aliquot.packing.cluster import Demand, Node, State, tightest
from aliquot.packing.curve import allocation_curve
from aliquot.packing.expected import ExpectedCapacity
from aliquot.packing.fragmentation import Fragmentation, typical_pods
from aliquot.packing.placer import UNFIT, Placer, Policy, Stateless
from aliquot.packing.published import BestFit, DotProd, Fgd, GpuClustering, GpuPacking

KINDS = [
    Demand(8000, 16_000, 0, 0),
    Demand(3000, 8000, 1, 810),
    Demand(12_000, 30_000, 1, 470, ("G2",)),
    Demand(4000, 16_000, 1, 190),
    Demand(11_000, 48_000, 1, 1000),
    Demand(16_000, 64_000, 2, 1000),
]
NODES = [
    Node("a", 32_000, 128_000, 4, "G2"),
    Node("b", 52_000, 256_000, 2, "T4"),
    Node("c", 32_000, 128_000, 4, "G2"),
    Node("d", 8000, 64_000, 1, "P100"),
]
MAKERS: dict[str, Callable[[], Policy]] = {
    "DotProd": DotProd,
    "BestFit": BestFit,
    "GpuPacking": GpuPacking,
    "GpuClustering": GpuClustering,
    "FGD": lambda: Fgd(Fragmentation(typical_pods(KINDS))),
    "Aliquot": ExpectedCapacity,
}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(KINDS), max_size=40))
def test_remembering_changes_no_decision(name: str, demands: list[Demand]) -> None:
    placer = Placer(NODES, MAKERS[name]())
    policy = MAKERS[name]()
    states = [node.state() for node in NODES]
    for demand in demands:
        policy.arrived(demand, states)
        scores = [policy.score(state, demand) if state.fits(demand) else UNFIT for state in states]
        expected = scores.index(max(scores)) if max(scores) > UNFIT else None
        assert placer.place(demand) == expected
        if expected is not None:
            states[expected] = policy.after(states[expected], demand)
        assert placer.states == states


@pytest.mark.parametrize("name", [*MAKERS, "Random"])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(KINDS), max_size=60))
def test_no_policy_gives_out_more_than_there_is_or_drops_what_fits(name: str, demands: list[Demand]) -> None:
    placer = Placer(NODES, POLICIES[name](KINDS, 7))
    for demand in demands:
        before = list(placer.states)
        index = placer.place(demand)
        assert (index is None) == (not any(state.fits(demand) for state in before))
        for number, (old, new) in enumerate(zip(before, placer.states, strict=True)):
            taken = demand if number == index else Demand(0, 0, 0, 0)
            assert new.cpu == old.cpu - taken.cpu >= 0
            assert new.memory == old.memory - taken.memory >= 0
            assert min(new.gpus) >= 0
            assert sum(new.gpus) == sum(old.gpus) - taken.total_milli()
            changed = sum(a != b for a, b in zip(sorted(old.gpus), sorted(new.gpus), strict=True))
            assert changed >= (1 if taken.gpus else 0)


class _Indifferent(Stateless):
    def score(self, state: State, demand: Demand) -> float:
        return 1.0

    def after(self, state: State, demand: Demand) -> State:
        return state.without(demand, tightest(state, demand))


def test_the_first_of_equal_nodes_wins() -> None:
    placer = Placer(NODES, _Indifferent())
    assert [placer.place(Demand(1000, 1000, 4, 1000)) for _ in range(3)] == [0, 2, None]


def test_a_pod_takes_the_tightest_devices() -> None:
    state = State(1000, 1000, (1000, 530, 470, 0), "G2")
    assert tightest(state, Demand(0, 0, 1, 470)) == (2,)
    assert tightest(state, Demand(0, 0, 1, 500)) == (1,)
    assert tightest(state, Demand(0, 0, 2, 500)) == (1, 0)


def test_a_run_tells_what_arrived_and_what_was_used() -> None:
    pods = {"big": Demand(1000, 1000, 1, 1000), "impossible": Demand(1000, 1000, 1, 1000, ("H100",))}
    outcome = run(BestFit(), pods, ["big", "impossible", "big"], [Node("n", 9000, 9000, 2, "T4")])
    assert [(placed.node, placed.arrived, placed.used) for placed in outcome.placements] == [
        ("n", 1000, 1000),
        ("", 2000, 1000),
        ("n", 3000, 2000),
    ]
    assert outcome.curve[50] == 50.0
    assert outcome.curve[100] == 50.0


def test_a_curve_takes_the_mean_of_a_column_and_of_the_next_ones_where_it_is_empty() -> None:
    curve = allocation_curve([(10, 10), (12, 11), (30, 20)], 1000)
    assert curve[1] == 1.05
    assert curve[2] == pytest.approx(1.37, abs=0.005)
    assert curve[3] == 2.0
    assert 50 not in curve
