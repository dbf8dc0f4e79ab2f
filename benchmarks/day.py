"""A simulated day: 5,000 nodes of eight GPUs, 50,000 jobs in 20 queues, gangs of up to 64 pods.

Arrivals follow the rhythm of a working day and ask for nine tenths of the devices. Decisions are made every
30 seconds of virtual time if anything has changed. Garbage is collected as `aliquot simulate` does it. Every
size has a process of its own, so that its peak of memory is its own.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import msgspec

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.cli.garbage import collect_seldom
from aliquot.cli.sweeping import seldom_collected
from aliquot.model.kinds import decode
from aliquot.model.snapshot import Snapshot
from aliquot.simulation.results import waits
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.synthesis import DAY, Day, synthesize
from benchmarks.allocator import peak_mib

SIZES = (500, 5_000)
GPUS = 8
JOBS_PER_NODE = 10
DEPARTMENTS = 4
TEAMS = 5
DECIDE_EVERY = 30

FLEET = """\
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: day}
nodes:
  - {count: NODES, type: dgx-h100, legacy: {}}
"""


class Result(msgspec.Struct, frozen=True):
    """Seconds of the clock and of one core, and what came of the day. allocation: part of the device-time
    that was held."""

    nodes: int
    jobs: int
    seconds: float
    core_seconds: float
    decisions: int
    events: int
    finished: int
    evictions: int
    allocation: float
    wait_p50: int
    wait_p90: int
    peak_mib: int


def queues(devices: int) -> Iterator[dict[str, object]]:
    """Departments of equal quota, each with teams of equal quota."""
    for department in range(DEPARTMENTS):
        yield _queue(f"department-{department}", "", devices // DEPARTMENTS)
        for team in range(TEAMS):
            name = f"team-{department}-{team}"
            yield _queue(name, f"department-{department}", devices // DEPARTMENTS // TEAMS)


def _queue(name: str, parent: str, quota: int) -> dict[str, object]:
    spec: dict[str, object] = {"resources": [{"name": "gpu", "quota": str(quota)}]}
    if parent:
        spec["parent"] = parent
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": spec}


def prepared(nodes: int, seed: int, seconds: int = DAY) -> Simulation:
    """The day, before anything has happened."""
    devices = nodes * GPUS
    fleet = expand(parse_fleet(FLEET.replace("NODES", str(nodes)), "day"))
    cluster = Snapshot.of(decode(item) for item in [*fleet, *queues(devices)])
    teams = tuple(f"team-{department}-{team}" for team in range(TEAMS) for department in range(DEPARTMENTS))
    jobs = nodes * JOBS_PER_NODE * seconds // DAY
    day = Day(jobs=jobs, devices=devices, seconds=seconds, queues=teams)
    settings = Settings(
        seed=seed,
        until=seconds,
        decision_seconds=DECIDE_EVERY,
        again_seconds=300,
        pod_start_seconds=20,
    )
    return Simulation.of(cluster, synthesize(day, seed), settings)


def measure(nodes: int, seed: int = 7) -> Result:
    start, before = time.perf_counter(), time.process_time()
    simulation = prepared(nodes, seed)
    with seldom_collected():
        found = simulation.run()
    taken, worked = time.perf_counter() - start, time.process_time() - before
    waited = waits(found.workloads, found.seconds)
    return Result(
        nodes=nodes,
        jobs=len(found.workloads),
        seconds=taken,
        core_seconds=worked,
        decisions=found.totals.decisions,
        events=found.totals.events,
        finished=found.totals.finished,
        evictions=found.totals.evictions,
        allocation=float(found.totals.allocation),
        wait_p50=waited.p50,
        wait_p90=waited.p90,
        peak_mib=peak_mib(),
    )


def _apart(nodes: int) -> Result:
    """`measure` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.day", str(nodes)], check=True, stdout=subprocess.PIPE
    )
    return msgspec.json.decode(done.stdout, type=Result)


def table(sizes: Sequence[int], runs: int) -> Iterator[str]:
    """The lines of the table; every size is measured once, whatever `runs` says."""
    yield (
        f"{'day':>6} {'jobs':>7} {'seconds':>8} {'of core':>8} {'decisions':>9} {'ms each':>8} {'events':>8}"
        f" {'finished':>8} {'evicted':>7} {'allocated':>9} {'p50 wait':>8} {'p90 wait':>8} {'MiB':>6}"
    )
    for nodes in sizes:
        found = _apart(nodes)
        each = 1000 * found.core_seconds / max(1, found.decisions)
        yield (
            f"{found.nodes:6,} {found.jobs:7,} {found.seconds:8.1f} {found.core_seconds:8.1f}"
            f" {found.decisions:9,} {each:8.1f} {found.events:8,} {found.finished:8,} {found.evictions:7,}"
            f" {100 * found.allocation:8.1f}% {found.wait_p50:7,}s {found.wait_p90:7,}s {found.peak_mib:6,}"
        )


if __name__ == "__main__":
    collect_seldom()
    sys.stdout.write(json.dumps(msgspec.to_builtins(measure(int(sys.argv[1])))))
