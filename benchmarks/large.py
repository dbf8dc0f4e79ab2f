"""A large cluster: 200 queues in four levels, half full, four pods waiting for every node.

A full decision; then the cluster comes to rest, decision by decision: what a plan places runs, and what it
evicts waits again. Then incremental decisions: before each of them about 100 pods change (what the last plan
placed is bound, what it evicted waits, gangs finish, gangs arrive). Every run has a process of its own, so
that its peak of memory is its own; the peak includes the cluster itself. The policy is Aliquot's own.

Runs make the same decisions, so each decision has the median of its times in all of them: what else goes on
on the machine slows one decision in one run, and another in the next.
"""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from tests.kai.objects import NOW
from tests.kai.pods import Standing, pods
from tests.kai.rounds import Run
from tests.kai.scenario import JobSpec

from aliquot.cli.garbage import collect_seldom
from aliquot.model.core import Pod
from aliquot.model.meta import Condition
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict, Plan
from aliquot.scheduling.policy import Policy
from benchmarks.allocator import peak_mib
from benchmarks.clusters import Load, large

SIZES = (500, 1_000, 2_000, 5_000)
CHANGES = 200
CHANGED_PODS = 100
MOST_SETTLING = 50

POLICY = Policy()
_PROMISE = Condition(type=PLACED, status="False", reason=Reason.ROOM_PROMISED.value, last_transition_time=NOW)


class Result(msgspec.Struct, frozen=True):
    """Seconds of processor time, and pods. settling: decisions until nothing changed. left: pods that still
    wait then. changes: seconds of each incremental decision; afresh: of the last one without memory; same:
    both gave the same plan."""

    nodes: int
    waiting: int
    gangs: int
    running: int
    full: float
    placed: int
    promised: int
    evicted: int
    settling: int
    left: int
    changes: tuple[float, ...]
    changed: float
    afresh: float
    same: bool
    peak_mib: int


def percentile(times: Iterable[float], part: float) -> float:
    """The smallest of the times that at least this part of them does not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def together(results: Sequence[Result]) -> Result:
    """Runs of one size as one: the median of each time, the highest peak."""
    first = results[0]
    return msgspec.structs.replace(
        first,
        full=statistics.median(result.full for result in results),
        changes=tuple(map(statistics.median, zip(*(result.changes for result in results), strict=True))),
        afresh=statistics.median(result.afresh for result in results),
        same=all(result.same for result in results),
        peak_mib=max(result.peak_mib for result in results),
    )


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
        """What the plan placed runs, what it evicted waits again."""
        before = self.snapshot
        after = apply(before, plan, NOW)
        gone = {action.pod.name for action in plan.actions if isinstance(action, Evict)}
        bound = {spot.pod.name for decision in plan.decisions for spot in decision.placements}
        promised = {spot.pod.name for decision in plan.decisions for spot in decision.promised}
        kept = []
        for pod in after.pods:
            if pod.name in bound:
                pod = _started(pod)
            elif not pod.spec.node_name:
                pod = _told(pod, pod.name in promised)
            if pod.name not in gone:
                kept.append(pod)
        if gone:
            kept = sorted([*kept, *self._again(gone)], key=lambda pod: pod.key)
        self.snapshot = msgspec.structs.replace(after, pods=tuple(kept))
        self.changed = len(gone) + len(bound)

    def _again(self, evicted: set[str]) -> Iterator[Pod]:
        """Pods in place of those that were evicted."""
        for job in self.gangs.values():
            lost = evicted.intersection(self._tasks(job))
            if lost:
                states = {name: "Pending" if name in lost else "Deleted" for name in self._tasks(job)}
                yield from pods(job, {name: Standing(state) for name, state in states.items()})

    @staticmethod
    def _tasks(job: JobSpec) -> list[str]:
        return [task.name for task in job.tasks]

    def settle(self, memory: Memory) -> int:
        """Decide and enact until a plan changes nothing; gives how many decisions that took."""
        for count in range(1, MOST_SETTLING + 1):
            plan = decide(self.snapshot, POLICY, NOW, memory=memory)
            self.enact(plan)
            if not self.changed:
                return count
        raise RuntimeError(f"no rest after {MOST_SETTLING} decisions")

    def change(self) -> None:
        """Let gangs finish and as many arrive, until about as many pods have changed as are to change."""
        left = max(2, CHANGED_PODS - self.changed)
        finished: set[str] = set()
        for gang in self._running():
            if len(finished) >= left // 2:
                break
            finished.update(self._tasks(self.gangs.pop(gang)))
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


def _told(pod: Pod, promised: bool) -> Pod:
    """The pod with the condition that room was promised to it, or without; itself if that is so already."""
    conditions = (_PROMISE,) if promised else ()
    if pod.status.conditions == conditions:
        return pod
    return msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, conditions=conditions))


def measure(nodes: int, changes: int = CHANGES) -> Result:
    cluster = Cluster.of(nodes)
    memory = Memory()
    waiting = [pod for pod in cluster.snapshot.pods if not pod.spec.node_name]
    pending = sum(job.tasks[0].status == "Pending" for job in cluster.gangs.values())
    gc.collect()
    start = time.process_time()
    first = plan = decide(cluster.snapshot, POLICY, NOW, memory=memory)
    full = time.process_time() - start
    taken: list[float] = []
    altered: list[int] = []
    running = len(cluster.snapshot.pods) - len(waiting)
    cluster.enact(plan)
    settling = cluster.settle(memory)
    left = sum(not pod.spec.node_name for pod in cluster.snapshot.pods)
    for _ in range(changes):
        cluster.change()
        altered.append(cluster.changed)
        start = time.process_time()
        plan = decide(cluster.snapshot, POLICY, NOW, memory=memory)
        taken.append(time.process_time() - start)
        last = cluster.snapshot
        cluster.enact(plan)
    start = time.process_time()
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
        settling=settling,
        left=left,
        changes=tuple(taken),
        changed=statistics.mean(altered),
        afresh=time.process_time() - start,
        same=afresh == plan,
        peak_mib=peak_mib(),
    )


def _apart(nodes: int) -> Result:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large", str(nodes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Result)


def table(sizes: Sequence[int], runs: int) -> Iterator[str]:
    """The lines of the table. least, most: the 99th percentile of the least times, and the highest of one
    run."""
    yield (
        f"{'large':>6} {'waiting':>8} {'gangs':>6} {'running':>8} {'full':>8} {'placed':>7} {'evicted':>7}"
        f" {'ms a pod':>8} {'rest':>4} {'left':>6}"
        f" {'changed':>7} {'p50 ms':>7} {'p99 ms':>7} {'least':>6} {'most':>6}"
        f" {'afresh':>7} {'same':>5} {'MiB':>6}"
    )
    for nodes in sizes:
        results = [_apart(nodes) for _ in range(runs)]
        found = together(results)
        least = percentile(map(min, zip(*(result.changes for result in results), strict=True)), 0.99)
        most = max(percentile(result.changes, 0.99) for result in results)
        p50, p99 = (percentile(found.changes, part) for part in (0.5, 0.99))
        yield (
            f"{found.nodes:6,} {found.waiting:8,} {found.gangs:6,} {found.running:8,} {found.full:8.3f}"
            f" {found.placed:7,} {found.evicted:7,} {1000 * found.full / found.waiting:8.3f}"
            f" {found.settling:4} {found.left:6,}"
            f" {found.changed:7.0f} {1000 * p50:7.1f} {1000 * p99:7.1f}"
            f" {1000 * least:6.1f} {1000 * most:6.1f}"
            f" {found.afresh:7.3f} {'yes' if found.same else 'no':>5} {found.peak_mib:6,}"
        )


if __name__ == "__main__":
    collect_seldom()
    sys.stdout.write(json.dumps(msgspec.to_builtins(measure(int(sys.argv[1])))))
