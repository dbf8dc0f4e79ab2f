"""Run the benchmarks and print a table of medians.

`decide` measures whole decisions, `allocator` the allocator alone, `cycle` the inputs that KAI-Scheduler was
measured with, `large` a large cluster, decided in full and after changes, `day` a simulated day, `placement`
the openb benchmark's placements, `scale` the whole controller against a server that only answers, `ledger` a
month of 10,000 devices in the ledger, `gateway` calls through the gateway, `governance` what else a call is
asked; all if none is named. `throughput` measures a real control plane. The garbage collector is set as the
command line sets it for all of its processes.
"""

import argparse
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aliquot.catalog.openb import device_classes, node_objects, parse_nodes, parse_pods, pod_objects
from aliquot.cli.garbage import collect_seldom
from aliquot.cli.version import core
from aliquot.model.kinds import decode
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy
from benchmarks import allocator, cycle, day, gateway, governance, large, ledger, placement, scale, throughput
from benchmarks.fleets import FOUR_GPUS_ON_ONE_SOCKET, ONE_GPU, nodes, snapshot, waiting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRACE = Path(__file__).resolve().parents[2] / "shared" / "traces" / "openb"


def median_seconds(runs: int, prepare: Callable[[], Callable[[], int]]) -> tuple[float, int]:
    """The median time of `runs` runs and what the last one counted; preparation is not timed."""
    taken: list[float] = []
    counted = 0
    for _ in range(runs):
        work = prepare()
        gc.collect()
        start = time.perf_counter()
        counted = work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), counted


def placed(of: Snapshot, memory: Memory | None = None) -> int:
    plan = decide(of, Policy(), NOW, memory=memory)
    return sum(1 for decision in plan.decisions if decision.verdict is None)


def fill(count: int, claims: Mapping[str, Any], runs: int) -> tuple[float, int]:
    """One decision that places a full fleet's worth of pods on an empty fleet."""
    per_pod = 1 if claims is ONE_GPU else 4
    fleet = nodes(count)
    full = snapshot(fleet, list(waiting(count * 8 // per_pod, claims)))
    return median_seconds(runs, lambda: lambda: placed(full))


def small_change(count: int, runs: int) -> tuple[float, int]:
    """One hundred new pods on a fleet that the memory has seen before."""
    fleet = nodes(count)
    before = snapshot(fleet, list(waiting(1, ONE_GPU)))
    changed = snapshot(fleet, list(waiting(100, ONE_GPU)))

    def prepare() -> Callable[[], int]:
        memory = Memory()
        placed(before, memory)
        return lambda: placed(changed, memory)

    return median_seconds(runs, prepare)


def openb(runs: int) -> tuple[float, int]:
    """The openb trace, 8,152 pods on 1,213 nodes, in one decision."""
    found = [decode(item) for item in device_classes()]
    for node in parse_nodes((TRACE / "openb_node_list_gpu_node.csv").read_text(), "nodes"):
        found += [decode(item) for item in node_objects(node)]
    for position, pod in enumerate(parse_pods((TRACE / "openb_pod_list_default.csv").read_text(), "pods")):
        found += [decode(item) for item in pod_objects(pod, position)]
    trace = Snapshot.of(found)
    return median_seconds(runs, lambda: lambda: placed(trace))


def row(name: str, result: tuple[float, int]) -> None:
    seconds, count = result
    print(f"{name:44} {seconds:9.3f} {count:8,} {count / seconds:11,.0f}")
    sys.stdout.flush()


def decisions(sizes: Sequence[int], runs: int) -> None:
    """Whole decisions: pods, queues and nodes, not devices alone."""
    print(f"{'decide':44} {'seconds':>9} {'placed':>8} {'per second':>11}")
    for count in sizes:
        row(f"fill {count:,} nodes x 8, 1 GPU a pod", fill(count, ONE_GPU, runs))
        row(f"fill {count:,} nodes x 8, 4 GPUs on one socket", fill(count, FOUR_GPUS_ON_ONE_SOCKET, runs))
        row(f"100 new pods, {count:,} nodes known", small_change(count, runs))
    if TRACE.is_dir():
        row("openb: 8,152 pods, 1,213 nodes", openb(runs))


def allocations(sizes: Sequence[int], runs: int) -> None:
    """Claims one after another; the memory is the highest of the process so far, fleets growing."""
    print(f"{'allocator':50} {'prepared':>9} {'seconds':>9} {'claims':>8} {'per second':>11} {'MiB':>6}")
    for name, result in allocator.rows(sizes, runs, ("best", "strict")):
        print(
            f"{name:50} {result.prepared:9.3f} {result.seconds:9.3f} {result.claims:8,}"
            f" {result.rate:11,.0f} {allocator.peak_mib():6,}"
        )
        sys.stdout.flush()


def cycles(sizes: Sequence[int], runs: int) -> None:
    for line in cycle.table(sizes, runs):
        print(line, flush=True)


def large_clusters(sizes: Sequence[int], runs: int) -> None:
    for line in large.table(sizes, runs):
        print(line, flush=True)


def days(sizes: Sequence[int], runs: int) -> None:
    for line in day.table(sizes, runs):
        print(line, flush=True)


def ledgers(sizes: Sequence[int], runs: int) -> None:
    """sizes: devices; a month of each, once."""
    for line in ledger.table(sizes):
        print(line, flush=True)


def placements(sizes: Sequence[int], runs: int) -> None:
    """sizes: has no meaning here, the cluster is the trace's."""
    for line in placement.table(runs):
        print(line, flush=True)


def at_scale(sizes: Sequence[int], runs: int) -> None:
    """runs: has no meaning here, pods arrive for half a minute."""
    for line in scale.table(tuple(sizes)):
        print(line, flush=True)


def gateways(sizes: Sequence[int], runs: int) -> None:
    """sizes: has no meaning here."""
    for line in gateway.table(runs):
        print(line, flush=True)


def governed(sizes: Sequence[int], runs: int) -> None:
    """sizes, runs: have no meaning here."""
    for line in governance.table():
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parts = {
        "allocator": (allocations, allocator.SIZES),
        "decide": (decisions, (500, 1000, 5000)),
        "cycle": (cycles, (cycle.MEASURED_ON,)),
        "large": (large_clusters, large.SIZES),
        "day": (days, day.SIZES),
        "ledger": (ledgers, ledger.SIZES),
        "placement": (placements, ()),
        "scale": (at_scale, scale.NODES),
        "gateway": (gateways, ()),
        "governance": (governed, ()),
    }
    parser.add_argument("part", nargs="*", default=list(parts), metavar="|".join(parts))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--nodes", type=int, nargs="+", help="sizes of the fleets instead of the usual ones")
    parser.add_argument("--kubeconfig", type=Path, help="of the control plane that throughput is measured on")
    parser.add_argument("--pods", type=int, default=throughput.PODS, help="pods that throughput creates")
    parser.add_argument("--litellm", default="", help="gateway: the program of LiteLLM's proxy")
    parser.add_argument(
        "--postgresql", default="", help="gateway: the connection string of an empty database"
    )
    options = parser.parse_args()
    collect_seldom()
    gateway.litellm, gateway.postgresql = options.litellm, options.postgresql
    if options.part == ["throughput"]:
        if options.kubeconfig is None:
            parser.error("throughput needs --kubeconfig")
        for line in throughput.table(
            options.kubeconfig, (options.nodes or [throughput.NODES])[0], options.pods
        ):
            print(line, flush=True)
        return
    if unknown := set(options.part) - parts.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(parts)}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, {platform.machine()}, one process, {core()} core")
    for name in options.part:
        run, usual = parts[name]
        print()
        run(options.nodes or usual, options.runs)


if __name__ == "__main__":
    main()
