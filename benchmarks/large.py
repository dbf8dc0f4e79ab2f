"""A large cluster: 200 queues in four levels, half full, four pods waiting for every node.

A full decision, then incremental ones: between two of them about 100 pods change (what the last plan placed
is bound, gangs finish, gangs arrive). Every size has a process of its own, so that its peak of memory is its
own; the peak includes the cluster itself. The policy is Aliquot's own.
"""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from tests.kai.objects import NOW
from tests.kai.pods import Standing, pods
from tests.kai.rounds import Run
from tests.kai.scenario import JobSpec

from aliquot.model.core import Pod
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict, Plan
from aliquot.scheduling.policy import Policy
from benchmarks.allocator import peak_mib
from benchmarks.clusters import Load, large

SIZES = (500, 1_000, 2_000, 5_000)
CHANGES = 50
CHANGED_PODS = 100

POLICY = Policy()


class Result(msgspec.Struct, frozen=True):
    """Seconds and pods. changes: seconds of each incremental decision; afresh: of the last one without
    memory; same: both gave the same plan."""

    nodes: int
    waiting: int
    gangs: int
    running: int
    full: float
    placed: int
    promised: int
    evicted: int
    changes: tuple[float, ...]
    changed: float
    afresh: float
    same: bool
    peak_mib: int

    def percentile(self, part: float) -> float:
        """The smallest of the incremental times that at least this part of them does not exceed."""
        ordered = sorted(self.changes)
        return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


@dataclass(slots=True)
class Cluster:
    """A cluster that changes: its snapshots share every object that stayed the same."""

    load: Load
    snapshot: Snapshot
    gangs: dict[str, JobSpec] = field(default_factory=dict)
    changed: int = 0

    @staticmethod
    def of(nodes: int) -> "Cluster":
        load = Load(nodes)
        scenario = large(nodes, load)
        return Cluster(load, Run(scenario).snapshot(), {job.name: job for job in scenario.jobs})

    def enact(self, plan: Plan) -> None:
        """What the plan placed runs, what it evicted is gone."""
        before = self.snapshot
        after = apply(before, plan, NOW)
        gone = {action.pod.name for action in plan.actions if isinstance(action, Evict)}
        bound = {spot.pod.name for decision in plan.decisions for spot in decision.placements}
        self.snapshot = msgspec.structs.replace(
            after, pods=tuple(_started(pod) if pod.name in bound else pod for pod in after.pods)
        )
        self.changed = len(gone) + len(bound)

    def change(self) -> None:
        """Let gangs finish and as many arrive, until about as many pods have changed as are to change."""
        left = max(2, CHANGED_PODS - self.changed)
        finished: set[str] = set()
        for gang in self._running():
            if len(finished) >= left // 2:
                break
            finished |= {task.name for task in self.gangs.pop(gang).tasks}
        arrived: list[Pod] = []
        while len(arrived) < left - len(finished):
            job = self.load.gang()
            self.gangs[job.name] = job
            arrived += pods(job, {task.name: Standing("Pending") for task in job.tasks})
        kept = [pod for pod in self.snapshot.pods if pod.name not in finished]
        ordered = tuple(sorted([*kept, *arrived], key=lambda pod: pod.key))
        self.changed += len(finished) + len(arrived)
        self.snapshot = msgspec.structs.replace(self.snapshot, pods=ordered)

    def _running(self) -> list[str]:
        """Gangs that run, the oldest first."""
        on_nodes = {pod.name for pod in self.snapshot.pods if pod.spec.node_name}
        return [name for name, job in self.gangs.items() if job.tasks[0].name in on_nodes]


def _started(pod: Pod) -> Pod:
    status = msgspec.structs.replace(pod.status, phase="Running", start_time=NOW)
    return msgspec.structs.replace(pod, status=status)


def measure(nodes: int, changes: int = CHANGES) -> Result:
    cluster = Cluster.of(nodes)
    memory = Memory()
    waiting = [pod for pod in cluster.snapshot.pods if not pod.spec.node_name]
    pending = sum(job.tasks[0].status == "Pending" for job in cluster.gangs.values())
    gc.collect()
    start = time.perf_counter()
    first = plan = decide(cluster.snapshot, POLICY, NOW, memory=memory)
    full = time.perf_counter() - start
    taken: list[float] = []
    altered: list[int] = []
    running = len(cluster.snapshot.pods) - len(waiting)
    cluster.enact(plan)
    cluster.enact(decide(cluster.snapshot, POLICY, NOW, memory=memory))
    for _ in range(changes):
        cluster.change()
        altered.append(cluster.changed)
        gc.collect()
        start = time.perf_counter()
        plan = decide(cluster.snapshot, POLICY, NOW, memory=memory)
        taken.append(time.perf_counter() - start)
        last = cluster.snapshot
        cluster.enact(plan)
    start = time.perf_counter()
    afresh = decide(last, POLICY, NOW)
    return Result(
        nodes=nodes,
        waiting=len(waiting),
        gangs=pending,
        running=running,
        full=full,
        placed=sum(len(decision.placements) for decision in first.decisions),
        promised=sum(len(decision.promised) for decision in first.decisions),
        evicted=sum(isinstance(action, Evict) for action in first.actions),
        changes=tuple(taken),
        changed=statistics.mean(altered),
        afresh=time.perf_counter() - start,
        same=afresh == plan,
        peak_mib=peak_mib(),
    )


def _apart(nodes: int) -> Result:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large", str(nodes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Result)


def table(sizes: Sequence[int], runs: int) -> Iterator[str]:
    """The lines of the table; every size is measured once, with many changes, whatever `runs` says."""
    yield (
        f"{'large':>6} {'waiting':>8} {'gangs':>6} {'running':>8} {'full':>8} {'placed':>7} {'evicted':>7}"
        f" {'ms a pod':>8} {'changed':>7} {'p50 ms':>7} {'p99 ms':>7} {'afresh':>7} {'same':>5} {'MiB':>6}"
    )
    for nodes in sizes:
        found = _apart(nodes)
        yield (
            f"{found.nodes:6,} {found.waiting:8,} {found.gangs:6,} {found.running:8,} {found.full:8.3f}"
            f" {found.placed:7,} {found.evicted:7,} {1000 * found.full / found.waiting:8.3f}"
            f" {found.changed:7.0f} {1000 * found.percentile(0.5):7.1f} {1000 * found.percentile(0.99):7.1f}"
            f" {found.afresh:7.3f} {'yes' if found.same else 'no':>5} {found.peak_mib:6,}"
        )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(msgspec.to_builtins(measure(int(sys.argv[1])))))
