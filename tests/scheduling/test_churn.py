"""A cluster that changes a little before each decision: what is remembered must not be seen in any plan."""

import random

import pytest
from benchmarks.large import Cluster
from msgspec.structs import replace
from tests.kai.objects import NOW

from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy


def lose_some(cluster: Cluster, draw: random.Random) -> None:
    """Single pods go, some of gangs that run and one of whatever gang, so that gangs have too few left."""
    pods = cluster.snapshot.pods
    bound = [pod.name for pod in pods if pod.spec.node_name]
    lost = {*draw.sample(bound, min(4, len(bound))), draw.choice(pods).name}
    left = tuple(pod for pod in pods if pod.name not in lost)
    cluster.snapshot = replace(cluster.snapshot, pods=left)


def plans_differ(nodes: int, steps: int, seed: int) -> list[int]:
    """The decisions of a changing cluster that come out otherwise with a memory than without."""
    cluster, memory, draw = Cluster.of(nodes), Memory(), random.Random(seed)
    policy = Policy(staleness_seconds=0)
    found = []
    for step in range(steps):
        plan = decide(cluster.snapshot, policy, NOW, memory=memory)
        if plan != decide(cluster.snapshot, policy, NOW):
            found.append(step)
        cluster.enact(plan)
        if step % 2:
            cluster.change()
        lose_some(cluster, draw)
    return found


def test_a_plan_with_memory_is_that_without_while_gangs_come_go_and_break():
    assert plans_differ(nodes=8, steps=20, seed=1) == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(4))
def test_a_plan_with_memory_is_that_without_through_many_changes(seed):
    assert plans_differ(nodes=25, steps=60, seed=seed) == []
