"""How often expected starts hold, and how wide they are.

    python -m benchmarks.foretold openb:0 drawn:6:300:1

`openb:PART` is every tenth pod of the trace's last ten days, from number PART on, ten times as fast, on one
of its nodes with eight devices; ranges are given every hour of the first 30. `drawn:SEED:JOBS:TOLD` are three
synthetic days of so many jobs each, on two nodes of eight, of which one in TOLD says how long it runs; ranges
are given every four hours of the second day. `--known` has every workload say exactly how long it runs: how
exactly starts can be foretold by one who knows that. The lines are those of the table in docs/what-if.md; a
range without end counts as the widest.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.inventory.amounts import duration
from aliquot.model.kinds import decode
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.policy import Policy
from aliquot.simulation.calibration import Calibration, calibrated
from aliquot.simulation.changes import Scenario
from aliquot.simulation.settings import Settings
from aliquot.simulation.synthesis import DAY, Day, synthesize
from aliquot.traces.openb import read_openb

TRACE = Path(__file__).resolve().parents[2] / "shared" / "traces" / "openb"
HOUR = 3600
LAST_DAYS = 12_000_000
"""Seconds of the trace after which come its last ten days."""

FLEET = """\
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: foretold}
nodes:
  - {count: 2, type: dgx-h100, legacy: {}}
"""
PACE = Settings(decision_seconds=10, pod_start_seconds=20, sample_seconds=0)

Trace = tuple[Scenario, Sequence[int]]
"""What is simulated, and the moments at which ranges are given."""


def openb(part: int) -> Trace:
    """A tenth of the trace's last ten days."""
    files = (TRACE / "openb_node_list_gpu_node.csv", TRACE / "openb_pod_list_default.csv")
    snapshot, pods = read_openb(*files)
    eight = {item.spec.node_name for item in snapshot.resource_slices if len(item.spec.devices) == 8}
    node = next(item for item in snapshot.nodes if item.name in eight)
    slices = tuple(item for item in snapshot.resource_slices if item.spec.node_name == node.name)
    late = [item for item in pods if item.devices and item.submitted >= LAST_DAYS][part::10]
    first = late[0].submitted
    workloads = tuple(
        replace(
            item,
            submitted=(item.submitted - first) // 10,
            models=(),
            cpu=min(item.cpu, 8000 * item.devices),
            memory=min(item.memory, 64 << 10),
        )
        for item in late
    )
    return Scenario(
        snapshot=replace(snapshot, nodes=(node,), resource_slices=slices),
        workloads=workloads,
        policy=Policy(every_pod=True),
        settings=replace(PACE, until=3 * DAY),
    ), range(HOUR, 30 * HOUR, HOUR)


def drawn(seed: int, jobs: int, told: int) -> Trace:
    """Synthetic days, one after the other."""
    load = 0.9 if jobs >= 200 else 0.95
    day = Day(jobs=jobs, devices=16, load=load, queues=("a", "b"), told=told)
    workloads = tuple(
        replace(item, name=f"d{number}-{item.name}", submitted=item.submitted + number * DAY)
        for number in range(3)
        for item in synthesize(day, 100 * seed + number)
    )
    queues = (
        {
            "apiVersion": "aliquot.dev/v1alpha1",
            "kind": "Queue",
            "metadata": {"name": name},
            "spec": {"resources": [{"name": "gpu", "quota": "8"}]},
        }
        for name in day.queues
    )
    objects = [*expand(parse_fleet(FLEET, "foretold")), *queues]
    return Scenario(
        snapshot=Snapshot.of(decode(item) for item in objects),
        workloads=workloads,
        policy=Policy(every_pod=True),
        settings=replace(PACE, seed=seed),
    ), range(DAY, 2 * DAY, 4 * HOUR)


def trace_of(text: str) -> Trace:
    kind, *numbers = text.split(":")
    makers: dict[str, tuple[int, Callable[..., Trace]]] = {"openb": (1, openb), "drawn": (3, drawn)}
    count, make = makers[kind]
    if len(numbers) != count:
        raise SystemExit(f"{text}: write openb:PART or drawn:SEED:JOBS:TOLD")
    return make(*map(int, numbers))


def known(scenario: Scenario) -> Scenario:
    """The same, with every workload saying exactly how long it runs."""
    told = tuple(replace(item, expected_seconds=item.run_seconds) for item in scenario.workloads)
    return replace(scenario, workloads=told)


def line(name: str, found: Calibration) -> str:
    width = found.median_width()
    shown = "no end" if width is None else duration(width)
    return (
        f"| {name} | {len(found.known())} | {100 * found.held:.0f} % | {shown} | "
        f"{duration(found.median_wait())} | {duration(found.median_left())} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("traces", nargs="+")
    parser.add_argument("--known", action="store_true", help="all work says exactly how long it runs")
    asked = parser.parse_args()
    for name in asked.traces:
        scenario, moments = trace_of(name)
        found = calibrated(known(scenario) if asked.known else scenario, moments)
        label = f"{name}, run times known" if asked.known else name
        print(line(label, found), flush=True)
        print(line(f"{label}, first", found.first()), flush=True)


if __name__ == "__main__":
    main()
