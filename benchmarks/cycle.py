"""Whole decisions on the inputs that KAI-Scheduler was measured with, beside its figures.

KAI-Scheduler's were taken in process with a mocked API on two cores, its start-up of 0.1 s included; here
the snapshot is there beforehand. cold: nothing is remembered. warm: the same cluster a second later, nothing
of it changed.
"""

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from math import exp, log
from pathlib import Path

import msgspec
from tests.kai.objects import NOW
from tests.kai.presets import policy
from tests.kai.rounds import Run
from tests.kai.scenario import Scenario, load

from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict, Plan
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
    cold: list[float] = []
    warm: list[float] = []
    plan = Plan()
    for _ in range(runs):
        memory = Memory()
        gc.collect()
        start = time.perf_counter()
        plan = decide(snapshot, rules, NOW, memory=memory)
        decided = time.perf_counter()
        cold.append(decided - start)
        again = msgspec.structs.replace(snapshot)
        gc.collect()
        start = time.perf_counter()
        decide(again, rules, NOW + timedelta(seconds=1), memory=memory)
        warm.append(time.perf_counter() - start)
    return Result(
        scenario.id,
        statistics.median(cold),
        statistics.median(warm),
        placed=sum(len(decision.placements) for decision in plan.decisions),
        promised=sum(len(decision.promised) for decision in plan.decisions),
        evicted=sum(isinstance(action, Evict) for action in plan.actions),
    )


def results(nodes: int, runs: int) -> Iterator[Result]:
    for seen, scenario in zip(MARCH_AND_AUGUST, inputs(nodes), strict=True):
        found = measure(scenario, runs)
        yield msgspec.structs.replace(found, seen=seen) if nodes == MEASURED_ON else found


def table(sizes: Sequence[int], runs: int) -> Iterator[str]:
    """The lines of the table."""
    yield (
        f"{'cycle':54} {'cold':>8} {'warm':>8} {'KAI March':>9} {'August':>7} {'faster':>7}"
        f" {'placed':>6} {'promised':>8} {'evicted':>7}"
    )
    for nodes in sizes:
        factors: list[float] = []
        for found in results(nodes, runs):
            compared = f"{'':9} {'':7} {'':7}"
            if found.seen is not None:
                factors.append(min(found.seen) / found.cold)
                compared = f"{found.seen[0]:9.2f} {found.seen[1]:7.2f} {factors[-1]:6.1f}x"
            yield (
                f"{found.name:54} {found.cold:8.3f} {found.warm:8.4f} {compared}"
                f" {found.placed:6,} {found.promised:8,} {found.evicted:7,}"
            )
        if factors:
            mean = exp(sum(map(log, factors)) / len(factors))
            yield f"{'geometric mean, against the better figure of each':89} {mean:6.1f}x"
