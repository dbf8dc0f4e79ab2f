"""The clusters that decisions are measured on."""

from itertools import islice
from pathlib import Path

import msgspec
from benchmarks.clusters import LEVELS, Load, cycle_inputs, large
from tests.kai import objects
from tests.kai.rounds import Run
from tests.kai.scenario import load

from aliquot.queues.tree import QueueTree


def test_the_inputs_made_here_are_the_published_ones(shared: Path) -> None:
    published = load(shared / "vectors" / "kai-bench" / "big.jsonl.gz")
    for made, found in zip(cycle_inputs(), published, strict=True):
        assert made.id == found.id
        for field in msgspec.structs.fields(made):
            assert getattr(made, field.name) == getattr(found, field.name), (made.id, field.name)


def test_a_large_cluster_is_half_full_and_its_queues_share_all_of_it() -> None:
    nodes = 60
    made = large(nodes, Load(nodes))
    pods = Run(made).snapshot().pods
    running = [pod for pod in pods if pod.spec.node_name]
    assert 0.4 < len(running) / (nodes * 8) < 0.6
    waiting = len(pods) - len(running)
    assert nodes * 4 <= waiting < nodes * 4 + 13
    queues = objects.queues(made)
    tree = QueueTree.of(queues)
    assert len(queues) == sum(LEVELS) == 200
    assert not tree.problems
    assert {len(tree.path(job.queue)) for job in made.jobs} == {4}
    top = [queue for queue in queues if not queue.spec.parent]
    quota = sum(queue.spec.resources[0].quota.value() for queue in top if queue.spec.resources[0].quota)
    assert quota == nodes * 8


def test_gangs_have_as_many_pods_in_the_mean_as_they_should() -> None:
    gangs = list(islice(Load(5000).waiting(), 3000))
    assert 6.3 < sum(len(gang.tasks) for gang in gangs) / len(gangs) < 7


def test_equal_seeds_give_equal_loads() -> None:
    assert large(10, Load(10)) == large(10, Load(10))
    assert large(10, Load(10)) != large(10, Load(10, seed=8))
