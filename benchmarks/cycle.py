"""Whole decisions on the inputs that KAI-Scheduler was measured with, beside its figures.

KAI-Scheduler's were taken in process with a mocked API on two cores, its start-up of 0.1 s included; here
the snapshot is there beforehand, and processor time is counted. cold: the first decision of a process, with
nothing known. arrived: a decision as a running controller makes it, which knew the cluster before the pods
came that wait now. warm: the same cluster a second later, nothing of it changed.
"""

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import exp, log
from pathlib import Path

import msgspec
from tests.kai.objects import NOW
from tests.kai.presets import policy
from tests.kai.rounds import Run
from tests.kai.scenario import Scenario, load

from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict, Plan
from aliquot.scheduling.policy import Policy
from benchmarks.clusters import cycle_inputs

INPUTS = Path(__file__).resolve().parents[2] / "shared" / "vectors" / "kai-bench" / "big.jsonl.gz"
MEASURED_ON = 500
MARCH_AND_AUGUST = (
    (5.10, 2.07),
    (5.22, 1.99),
    (0.82, 0.35),
    (8.9, 0.55),
    (0.23, 0.25),
    (3.4, 1.5),
    (0.32, 0.25),
    (15.6, 4.4),
)
"""Seconds of KAI-Scheduler in its versions of March and August 2026, for each input on 500 nodes."""


class Result(msgspec.Struct, frozen=True):
    """Medians in seconds, and what the decision came to, in pods. seen: KAI-Scheduler's seconds."""

    name: str
    cold: float
    arrived: float
    warm: float
    placed: int
    promised: int
    evicted: int
    seen: tuple[float, float] | None = None


def inputs(nodes: int) -> Iterator[Scenario]:
    """The published inputs where they are there and of that size, otherwise equal ones made here."""
    if nodes == MEASURED_ON and INPUTS.is_file():
        yield from load(INPUTS)
    else:
        yield from cycle_inputs(nodes)


def measure(scenario: Scenario, runs: int) -> Result:
    snapshot, rules = Run(scenario).snapshot(), policy(scenario.run)
    before = msgspec.structs.replace(snapshot, pods=tuple(pod for pod in snapshot.pods if pod.spec.node_name))
    cold: list[float] = []
    arrived: list[float] = []
    warm: list[float] = []
    plan = Plan()
    for _ in range(runs):
        plan, seconds = _timed(snapshot, rules, NOW, Memory())
        cold.append(seconds)
        memory = Memory()
        decide(before, rules, NOW, memory=memory)
        found, seconds = _timed(msgspec.structs.replace(snapshot), rules, NOW, memory)
        arrived.append(seconds)
        if found != plan:
            raise AssertionError(f"{scenario.id}: another plan with memory")
        later = NOW + timedelta(seconds=1)
        warm.append(_timed(msgspec.structs.replace(snapshot), rules, later, memory)[1])
    return Result(
        scenario.id,
        statistics.median(cold),
        statistics.median(arrived),
        statistics.median(warm),
        placed=sum(len(decision.placements) for decision in plan.decisions),
        promised=sum(len(decision.promised) for decision in plan.decisions),
        evicted=sum(isinstance(action, Evict) for action in plan.actions),
    )


def _timed(snapshot: Snapshot, rules: Policy, now: datetime, memory: Memory) -> tuple[Plan, float]:
    gc.collect()
    start = time.process_time()
    plan = decide(snapshot, rules, now, memory=memory)
    return plan, time.process_time() - start


def results(nodes: int, runs: int) -> Iterator[Result]:
    for seen, scenario in zip(MARCH_AND_AUGUST, inputs(nodes), strict=True):
        found = measure(scenario, runs)
        yield msgspec.structs.replace(found, seen=seen) if nodes == MEASURED_ON else found


def table(sizes: Sequence[int], runs: int) -> Iterator[str]:
    """The lines of the table."""
    yield (
        f"{'cycle':50} {'cold':>7} {'arrived':>7} {'warm':>7} {'March':>6} {'August':>6}"
        f" {'cold':>7} {'arrived':>7}"
        f" {'placed':>6} {'promised':>8} {'evicted':>7}"
    )
    for nodes in sizes:
        factors: list[tuple[float, float]] = []
        for found in results(nodes, runs):
            compared = f"{'':6} {'':6} {'':7} {'':7}"
            if found.seen is not None:
                best = min(found.seen)
                factors.append((best / found.cold, best / found.arrived))
                compared = "{:6.2f} {:6.2f} {:6.1f}x {:6.1f}x".format(*found.seen, *factors[-1])
            yield (
                f"{found.name:50} {found.cold:7.3f} {found.arrived:7.3f} {found.warm:7.4f} {compared}"
                f" {found.placed:6,} {found.promised:8,} {found.evicted:7,}"
            )
        if factors:
            means = [exp(sum(map(log, column)) / len(column)) for column in zip(*factors, strict=True)]
            yield f"{'geometric mean, against the better figure of each':88} " + "{:6.1f}x {:6.1f}x".format(
                *means
            )
