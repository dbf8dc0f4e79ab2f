"""Clusters to decide about: those that KAI-Scheduler was measured on, and a large one with deep queues.

All are scenarios of the schema that tests/kai runs, made here from their rules; devices are extended
resources of a device plugin.
"""

import random
from collections.abc import Iterator, Mapping
from itertools import count

from tests.kai.scenario import (
    SCHEMA,
    Closeness,
    GroupSpec,
    JobSpec,
    NodeSpec,
    QueueSpec,
    RequestSpec,
    RunSpec,
    Scenario,
    TaskSpec,
    Terms,
    TopologySpec,
)

GPUS = 8
ALLOCATE = ("allocate",)
CYCLE = ("allocate", "consolidation", "reclaim", "preempt", "stalegangeviction")

_MINUTE = 60
_MEMORY = 4_000_000_000


def _labels(name: str, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "kai.scheduler/type": name,
        "nvidia.com/gpu.count": str(GPUS),
        "nvidia.com/gpu.memory": "100",
        "node-role.kubernetes.io/mig-enabled": "false",
        "nvidia.com/mig.strategy": "",
        **more,
    }


def _places(number: int, nodes: int) -> dict[str, str]:
    """Four zones; blocks of 16 nodes, cut where a zone ends; racks of two."""
    zone = f"z{number * 4 // nodes}"
    return {"zone": zone, "block": f"{zone}-b{number // 16}", "rack": f"r{number // 2}"}


def _nodes(nodes: int, racks: bool = False) -> tuple[NodeSpec, ...]:
    found = []
    for number in range(nodes):
        name = f"node{number:04}"
        labels = _labels(name, _places(number, nodes) if racks else {})
        found.append(
            NodeSpec(
                name=name,
                gpus=GPUS,
                physical_gpus=GPUS,
                cpu_millis=256_000,
                memory_bytes=2e12,
                labels=labels,
            )
        )
    return tuple(found)


def _job(
    name: str,
    queue: str,
    pods: int,
    gpus: int,
    nodes: tuple[str, ...] = (),
    close: Closeness | None = None,
    priority: int = 50,
) -> JobSpec:
    """A gang of equal pods; with nodes they run there, one on each."""
    request = RequestSpec(type="whole", gpus=gpus, cpu_millis=1000, memory_bytes=_MEMORY)
    tasks = tuple(
        TaskSpec(
            name=f"{name}-{number}",
            status="Running" if nodes else "Pending",
            node=nodes[number] if nodes else None,
            request=request,
        )
        for number in range(pods)
    )
    leaf = GroupSpec(name="default", min_available=pods)
    root = GroupSpec(topology_constraint=close, children=(leaf,))
    return JobSpec(
        name=name, queue=queue, priority=priority, preemptible=priority < 100, sub_groups=root, tasks=tasks
    )


def _ranked(jobs: list[JobSpec]) -> tuple[JobSpec, ...]:
    """The jobs in order of age, a minute apart, the first the oldest."""
    return tuple(
        JobSpec(
            name=job.name,
            queue=job.queue,
            priority=job.priority,
            preemptible=job.preemptible,
            sub_groups=job.sub_groups,
            tasks=job.tasks,
            creation_rank=rank,
            age_seconds=_MINUTE * (len(jobs) - rank),
        )
        for rank, job in enumerate(jobs)
    )


def _input(
    name: str, actions: tuple[str, ...], jobs: list[JobSpec], nodes: int, racks: bool = False
) -> Scenario:
    quota = Terms(quota=nodes * GPUS)
    return Scenario(
        schema=SCHEMA,
        id=name,
        name=name,
        area="bench",
        run=RunSpec(actions=actions),
        nodes=_nodes(nodes, racks),
        topologies=(TopologySpec(name="t", levels=("zone", "block", "rack")),) if racks else (),
        queues=(
            QueueSpec(name="p"),
            QueueSpec(name="q0", parent="p", gpu=quota),
            QueueSpec(name="q1", parent="p", creation_rank=1, gpu=Terms(quota=0, over_quota_weight=0)),
        ),
        jobs=_ranked(jobs),
    )


def cycle_inputs(nodes: int = 500) -> Iterator[Scenario]:
    """The eight inputs that KAI-Scheduler was measured with, for a fleet of any size.

    q0 has the whole fleet as its quota, q1 nothing and no part of what is over.
    """
    pods, gang, part = nodes * GPUS, nodes, max(1, nodes // 10)
    fleet = tuple(f"node{number:04}" for number in range(nodes))

    def running(queue: str) -> list[JobSpec]:
        return [_job(f"r{number}", queue, 1, 1, (fleet[number % nodes],)) for number in range(pods)]

    single = [_job(f"j{number}", "q0", 1, 1) for number in range(pods)]
    yield _input(f"fill-{nodes}x{GPUS}-{pods}-single-gpu-jobs-allocate", ALLOCATE, single, nodes)
    yield _input(f"fill-{nodes}x{GPUS}-{pods}-single-gpu-jobs-full-cycle", CYCLE, single, nodes)
    yield _input(f"gang-1x{gang}-pods-8gpu-allocate", ALLOCATE, [_job("j0", "q0", gang, GPUS)], nodes)
    close = Closeness(topology="t", preferred_level="rack")
    racked = [_job("j0", "q0", gang, GPUS, close=close)]
    yield _input(f"gang-1x{gang}-pods-8gpu-preferred-rack", ALLOCATE, racked, nodes, racks=True)
    yield _input(f"idle-cycle-{pods}-running-0-pending", CYCLE, running("q1"), nodes)
    waiting = [_job(f"p{number}", "q1", 1, 1) for number in range(pods // 10)]
    name = f"idle-cycle-{pods}-running-{len(waiting)}-pending-unschedulable"
    yield _input(name, CYCLE, [*running("q0"), *waiting], nodes)
    one = [*running("q1"), _job("p0", "q0", 1, 1)]
    yield _input(f"reclaim-1-single-gpu-of-{pods}", CYCLE, one, nodes)
    many = [*running("q1"), _job("p0", "q0", part, GPUS)]
    yield _input(f"reclaim-gang-{part}x8gpu-of-{pods}", CYCLE, many, nodes)


LEVELS = (2, 8, 40, 150)
"""Queues at each level: 200 in all, of which the last 150 hold work."""

PODS_PER_NODE = 4
PODS_PER_GANG = 20 / 3
"""20,000 waiting pods in 3,000 gangs on 5,000 nodes."""


def _tree(gpus: int) -> tuple[QueueSpec, ...]:
    """Every level shares all GPUs out as quota; one leaf in five is limited to twice its quota."""
    found: list[QueueSpec] = []
    for level, number in enumerate(LEVELS):
        for place in range(number):
            above = LEVELS[level - 1] if level else 0
            quota = gpus / number
            limited = level == len(LEVELS) - 1 and place % 5 == 0
            found.append(
                QueueSpec(
                    name=f"queue-{level}-{place:03}",
                    parent=f"queue-{level - 1}-{place * above // number:03}" if level else None,
                    creation_rank=place,
                    gpu=Terms(quota=round(quota, 2), limit=round(2 * quota, 2) if limited else -1),
                )
            )
    return tuple(found)


class Load:
    """Jobs for a large cluster, always the same ones for a seed.

    Gangs have from 1 to about 12 pods, 20/3 in the mean; seven pods in eight want one GPU, the others two,
    four or eight. One gang in ten is not preemptible, one in five prefers to be within a rack.
    """

    def __init__(self, nodes: int, seed: int = 7) -> None:
        self.nodes = nodes
        self._random = random.Random(seed)
        self._numbers = count()

    def gang(self, nodes: tuple[str, ...] = ()) -> JobSpec:
        """A gang that waits, or one of single GPUs that runs, a pod on each of the nodes."""
        draw = self._random
        pods = len(nodes) or max(1, round(draw.triangular(0.5, 12.85, PODS_PER_GANG)))
        gpus = 1 if nodes or draw.random() < 0.875 else draw.choice((2, 4, 8))
        queue = f"queue-{len(LEVELS) - 1}-{draw.randrange(LEVELS[-1]):03}"
        priority = 100 if draw.random() < 0.1 else 50
        close = Closeness(topology="t", preferred_level="rack") if draw.random() < 0.2 else None
        return _job(f"w{next(self._numbers):06}", queue, pods, gpus, nodes, close, priority)

    def running(self) -> Iterator[JobSpec]:
        """Gangs on half of the GPUs, between none and eight on a node."""
        spots = [
            f"node{number:04}" for number in range(self.nodes) for _ in range(self._random.randint(0, GPUS))
        ]
        while spots:
            size = self._random.randint(1, 8)
            yield self.gang(tuple(spots[:size]))
            del spots[:size]

    def waiting(self) -> Iterator[JobSpec]:
        """3,000 gangs for every 5,000 nodes, with 20,000 pods."""
        left = self.nodes * PODS_PER_NODE
        while left > 0:
            found = self.gang()
            left -= len(found.tasks)
            yield found


def large(nodes: int, load: Load) -> Scenario:
    """A cluster half full, with 200 queues in four levels and four pods waiting for every node."""
    return Scenario(
        schema=SCHEMA,
        id=f"large-{nodes}",
        area="bench",
        run=RunSpec(actions=CYCLE),
        nodes=_nodes(nodes, racks=True),
        topologies=(TopologySpec(name="t", levels=("zone", "block", "rack")),),
        queues=_tree(nodes * GPUS),
        jobs=_ranked([*load.running(), *load.waiting()]),
    )
