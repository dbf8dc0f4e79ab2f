"""Aliquot's placement: what it prefers once it knows the mix, and how it does on the benchmark."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.packing.trace import nodes_of, pods_of

from aliquot.packing.arrivals import order_for_seed
from aliquot.packing.benchmark import MARKS, POLICIES, Outcome, run
from aliquot.packing.cluster import Demand, Node, State
from aliquot.packing.expected import ExpectedCapacity
from aliquot.packing.placer import Placer

SMALL = Demand(1000, 1000, 1, 160)
LARGE = Demand(3000, 6000, 1, 810)
HALF = Demand(12_000, 40_000, 1, 470)
ONE = Demand(11_000, 48_000, 1, 1000)
EIGHT = Demand(88_000, 320_000, 8, 1000)
ROOMY = Node("roomy", 104_000, 524_288, 2, "T4")
EMPTY = ROOMY.state()


def taught(mix: Sequence[tuple[Demand, int]], states: Sequence[State]) -> ExpectedCapacity:
    """A policy that has seen the mix, over and over."""
    policy = ExpectedCapacity()
    for _ in range(4):
        for demand, count in mix:
            for _ in range(count):
                policy.arrived(demand, states)
    return policy


def state(cpu: int, *gpus: int, model: str = "T4") -> State:
    return State(cpu, 500_000, tuple(sorted(gpus)), model)


def best(policy: ExpectedCapacity, demand: Demand, *states: State) -> int:
    scores = [policy.score(one, demand) for one in states]
    return scores.index(max(scores))


MIX = [(LARGE, 30), (HALF, 20), (SMALL, 3), (ONE, 50)]


def test_a_small_share_fills_a_hole_that_nothing_else_fits() -> None:
    policy = taught(MIX, [EMPTY] * 50)
    assert best(policy, SMALL, state(60_000, 0, 1000), state(60_000, 0, 530), state(60_000, 0, 190)) == 2


def test_a_half_joins_a_half_and_opens_no_new_gpu() -> None:
    policy = taught(MIX, [EMPTY] * 50)
    assert best(policy, HALF, state(80_000, 1000, 1000), state(80_000, 530, 1000)) == 1


def test_on_a_node_it_takes_the_device_that_loses_least() -> None:
    policy = taught(MIX, [EMPTY] * 50)
    assert policy.after(state(80_000, 190, 530, 1000), SMALL).gpus == (30, 530, 1000)
    assert policy.after(state(80_000, 190, 530, 1000), HALF).gpus == (60, 190, 1000)


def test_cpu_is_not_taken_from_gpus_that_need_it() -> None:
    policy = taught(MIX, [EMPTY] * 50)
    idle_gpus_short_of_cpu = state(24_000, 1000, 1000)
    used_up_gpus = state(24_000, 0, 0)
    assert best(policy, Demand(12_000, 4000, 0, 0), idle_gpus_short_of_cpu, used_up_gpus) == 1


def test_the_few_nodes_that_hold_a_large_pod_are_kept_for_it() -> None:
    large = State(96_000, 393_216, (1000,) * 8, "G2")
    small = [State(104_000, 524_288, (1000,) * 2, "T4") for _ in range(40)]
    policy = taught([(ONE, 60), (EIGHT, 3)], [large, *small])
    assert best(policy, ONE, large, small[0]) == 1


def test_nodes_of_a_model_that_pods_insist_on_are_kept_for_them() -> None:
    asked_for = [State(104_000, 524_288, (1000,) * 2, "V100") for _ in range(3)]
    others = [EMPTY for _ in range(40)]
    picky = Demand(11_000, 48_000, 1, 1000, ("V100",))
    policy = taught([(ONE, 50), (picky, 10)], [*asked_for, *others])
    assert best(policy, ONE, asked_for[0], others[0]) == 1


def test_it_places_before_it_has_learnt_anything_of_a_kind() -> None:
    placer = Placer([ROOMY], ExpectedCapacity())
    assert placer.place(Demand(0, 0, 0, 0)) == 0
    assert placer.place(Demand(104_000, 524_288, 2, 1000)) == 0
    assert placer.place(SMALL) is None


def test_odd_sizes_are_placed_too() -> None:
    placer = Placer([ROOMY], ExpectedCapacity())
    third = Demand(0, 0, 1, 333)
    assert [placer.place(third) for _ in range(7)] == [0] * 6 + [None]
    assert placer.states[0].gpus == (1, 1)


def outcome(shared: Path, trace: str, policy: str, seed: int, arrivals_kept: int | None = None) -> Outcome:
    pods = pods_of(shared, trace)
    arrivals, nodes = order_for_seed(pods, nodes_of(shared), seed)
    return run(POLICIES[policy](pods.values(), seed), pods, arrivals[:arrivals_kept], nodes)


def test_later_arrivals_change_no_earlier_decision(shared: Path) -> None:
    whole = outcome(shared, "default", "Aliquot", 42, 1200).placements
    cut = outcome(shared, "default", "Aliquot", 42, 700).placements
    assert whole[:700] == cut


def test_allocates_more_than_fgd_on_the_default_trace(shared: Path) -> None:
    own, fgd = (outcome(shared, "default", policy, 42).curve for policy in ("Aliquot", "FGD"))
    assert own[130] >= 96.2
    assert all(own[mark] > fgd[mark] for mark in MARKS)


TRACES = ["default", "cpu050", "cpu100", "gpushare40", "gpushare60"]
TRACES += ["gpuspec10", "gpuspec20", "multigpu20", "multigpu30"]


@pytest.mark.prove
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("seed", [47, 90_210])
def test_allocates_half_a_point_more_than_fgd_on_every_trace(shared: Path, trace: str, seed: int) -> None:
    own, fgd = (outcome(shared, trace, policy, seed).curve for policy in ("Aliquot", "FGD"))
    assert own[130] >= fgd[130] + 0.5
    assert own[100] >= fgd[100] + 0.5


def test_the_first_pod_for_a_whole_node_finds_one_that_was_kept() -> None:
    few = [Node(f"few-{number}", 128_000, 786_432, 8, "G3") for number in range(3)]
    many = [Node(f"many-{number}", 96_000, 393_216, 8, "G2") for number in range(12)]
    placer = Placer([*few, *many], ExpectedCapacity())
    for _ in range(60):
        assert placer.place(ONE) is not None
    assert placer.place(Demand(112_000, 640_000, 8, 1000)) in (0, 1, 2)
