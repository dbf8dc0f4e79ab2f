"""`aliquot bench departures`: who waits, and how full it is, where the openb trace's pods leave again."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import click
import msgspec

from aliquot.catalog import openb as trace_format
from aliquot.cli.bench_openb import NODES_FILE, Workload, read_text, read_workload, seeds_of, trace_file
from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, note, write, write_document
from aliquot.packing.benchmark import POLICIES
from aliquot.packing.departures import Arrival, Waits, run, stream, with_gangs
from aliquot.packing.expected import ExpectedCapacity
from aliquot.packing.go_random import GoRandom
from aliquot.packing.placer import Policy

COMPARED = ("BestFit", "FGD", "Aliquot")
LONGEST = 1800
"""Seconds."""


class Result(msgspec.Struct, frozen=True):
    """One line: means over the seeds."""

    trace: str
    load: int
    policy: str
    seeds: tuple[int, ...]
    wait_seconds: float
    waited_percent: float
    wait_99_seconds: float
    longest_seconds: float
    allocated_percent: float


@click.command(epilog="Exit status: 0 done, 2 error. docs/placement-benchmark.md tells what is measured.")
@click.option("--trace", "traces", multiple=True, help="default, cpu050, ..., or a pod list; repeatable.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of the trace's files.")
@click.option("--seed", "seeds", default=None, help="42, or 42-51 for their mean.  [default: 42]")
@click.option("--load", "loads", multiple=True, type=click.IntRange(1, 1000), help="Percent; repeatable.")
@click.option("--gangs", type=click.IntRange(0, 100), default=0, help="Percent of whole-GPU pods with gangs.")
@click.option("--pods", "count", type=click.IntRange(100, 1_000_000), default=40_000, show_default=True)
@click.option("--longest", type=click.IntRange(1, 10_000_000), default=LONGEST, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table")
def departures(
    traces: tuple[str, ...],
    data: Path | None,
    seeds: str | None,
    loads: tuple[int, ...],
    gangs: int,
    count: int,
    longest: int,
    output: str,
) -> None:
    """Pods of the openb trace come at random, wait in line, run and leave again.

    Best fit, FGD and Aliquot place the same pods at the same moments. Shown is the mean wait in seconds, how
    many pods waited, the wait that 99 % of them did not exceed, the longest, and the GPU allocated in
    percent. --load is the GPU time asked for in percent of the cluster's; run times are those of the trace,
    --longest seconds at most; what comes in the first so many seconds is not counted.
    """
    numbers = seeds_of(seeds)
    results = []
    for name in traces or ("default",):
        trace, path = trace_file(name, data)
        workload = read_workload(trace, path, path.with_name(NODES_FILE))
        runs = _run_times(path, longest)
        for load in loads or (95,):
            outcomes: dict[str, list[Waits]] = {policy: [] for policy in COMPARED}
            for seed in numbers:
                random = GoRandom(seed)
                arrivals = stream(workload.pods, runs, workload.nodes, load, count, random)
                if gangs:
                    arrivals = with_gangs(arrivals, gangs, random)
                if arrivals[-1].at <= longest:
                    fix = "give more of them, or a shorter --longest"
                    raise Failure(f"--pods: all {count} come in the first {longest} seconds; {fix}")
                for policy, found in outcomes.items():
                    found.append(_run(policy, workload, arrivals, longest, f"{trace} {load} % seed {seed}"))
            results += [_result(trace, load, policy, numbers, found) for policy, found in outcomes.items()]
    _show(results, output)


def _result(trace: str, load: int, policy: str, seeds: tuple[int, ...], outcomes: Sequence[Waits]) -> Result:
    return Result(
        trace,
        load,
        policy,
        seeds,
        round(fmean(each.mean for each in outcomes), 2),
        round(fmean(each.waited for each in outcomes), 2),
        round(fmean(each.percentile(99) for each in outcomes), 1),
        round(fmean(each.percentile(100) for each in outcomes), 1),
        round(fmean(each.allocated for each in outcomes), 2),
    )


def _run(policy: str, workload: Workload, arrivals: Sequence[Arrival], since: int, of: str) -> Waits:
    made: Policy = ExpectedCapacity(leaving=True)
    if policy in POLICIES and policy != "Aliquot":
        made = POLICIES[policy](workload.pods.values(), 0)
    start = time.process_time()
    found = run(made, arrivals, workload.nodes, since)
    note(f"{of} {policy}: {len(arrivals)} arrivals in {time.process_time() - start:.0f} s")
    return found


def _run_times(path: Path, longest: int) -> dict[str, int]:
    found = {}
    try:
        pods = trace_format.parse_pods(read_text(path), str(path))
    except trace_format.OpenbError as error:
        raise Failure(str(error)) from None
    for number, pod in enumerate(pods, 2):
        created, ended = pod.creation_time, pod.deletion_time
        if created is None or ended is None or ended < created:
            fix = "give a pod list with creation_time and deletion_time, such as openb_pod_list_default.csv"
            raise Failure(f"{path}:{number}: tells no run time; {fix}")
        found[pod.name] = min(longest, max(1, ended - created))
    return found


def _show(results: Sequence[Result], output: str) -> None:
    documents = [msgspec.to_builtins(result) for result in results]
    if output == "json":
        write_document(documents[0] if len(documents) == 1 else documents, "json")
        return
    columns = (
        Column(title="TRACE", key="trace"),
        Column(title="LOAD", key="load", right=True),
        Column(title="POLICY", key="policy"),
        Column(title="WAIT", key="wait_seconds", right=True),
        Column(title="WAITED", key="waited_percent", right=True),
        Column(title="WAIT 99 %", key="wait_99_seconds", right=True),
        Column(title="LONGEST", key="longest_seconds", right=True),
        Column(title="ALLOCATED", key="allocated_percent", right=True),
    )
    rows = [
        Row(
            cells=(
                result.trace,
                f"{result.load} %",
                result.policy,
                f"{result.wait_seconds:.1f} s",
                f"{result.waited_percent:.1f} %",
                f"{result.wait_99_seconds:.0f} s",
                f"{result.longest_seconds:.0f} s",
                f"{result.allocated_percent:.2f} %",
            ),
            item=document,
            name=f"{result.trace}/{result.load}/{result.policy}",
        )
        for result, document in zip(results, documents, strict=True)
    ]
    write(Table(kind="OpenbDepartures", columns=columns, rows=tuple(rows)), output)
