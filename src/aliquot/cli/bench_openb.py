"""`aliquot bench openb`: the placement benchmark of FGD (USENIX ATC 2023)."""

import csv
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from aliquot.catalog import openb as trace_format
from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, note, write, write_document
from aliquot.packing.arrivals import order_for_seed
from aliquot.packing.benchmark import MARKS, POLICIES, Outcome, run
from aliquot.packing.cluster import Demand, Node
from aliquot.packing.curve import mean_of
from aliquot.packing.figures import BOUNDS, BOUNDS_OF_ONE_SEED, PUBLISHED

NODES_FILE = "openb_node_list_gpu_node.csv"
PODS_FILE = "openb_pod_list_{}.csv"
FOLDERS = ("openb", "traces/openb", "../shared/traces/openb")
"""Where the trace's files are looked for without --data."""
COMPARED = (100, 130)
"""Percent arrived at which published figures and bounds are shown."""
PUBLISHED_SEEDS = tuple(range(42, 52))
MAX_SEEDS = 1000
MAX_BYTES = trace_format.MAX_BYTES


class Workload(msgspec.Struct, frozen=True):
    """A trace as read. name: as it was asked for."""

    name: str
    pods: Mapping[str, Demand]
    nodes: Sequence[Node]


class Result(msgspec.Struct, frozen=True):
    """One line of the table: means over the seeds by percent arrived, None where no pod arrived near it."""

    trace: str
    policy: str
    seeds: tuple[int, ...]
    allocated: Mapping[int, float | None]


@click.command(epilog="Exit status: 0 done, 2 error. docs/placement-benchmark.md tells what is measured.")
@click.option("--trace", "traces", multiple=True, help="default, cpu050, ..., or a pod list; repeatable.")
@click.option("--seed", "seeds", default=None, help="42, or 42-51 for their mean.  [default: 42]")
@click.option("--policy", "policies", multiple=True, help=f"{', '.join(POLICIES)}, or all; repeatable.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of the trace's files.")
@click.option("--pods", "pods_file", type=click.Path(path_type=Path), help="Pod list, instead of --trace.")
@click.option("--nodes", "nodes_file", type=click.Path(path_type=Path), help="Node list.")
@click.option("--arrivals", type=click.Path(path_type=Path), help="Names of pods in order, one a line.")
@click.option("--node-order", type=click.Path(path_type=Path), help="Names of nodes; the first wins ties.")
@click.option("--placements", type=click.Path(path_type=Path), help="Write where each pod went, as CSV.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json", "csv"]), default="table")
def openb(
    traces: tuple[str, ...],
    seeds: str | None,
    policies: tuple[str, ...],
    data: Path | None,
    pods_file: Path | None,
    nodes_file: Path | None,
    arrivals: Path | None,
    node_order: Path | None,
    placements: Path | None,
    output: str,
) -> None:
    """Place the openb trace's pods one by one and show how much GPU ends up allocated.

    Shown is the GPU allocated, in percent of all, when pods worth 95, 100 and 130 % of it have arrived (with
    -o wide and for programs 110 and 120 % too); and at 100 and 130 % the published figures, which are means
    of the seeds 42 to 51, and the bound for any policy, in brackets where it is known for seed 42 alone.
    """
    chosen = _policies(policies)
    numbers = seeds_of(seeds)
    if pods_file is not None:
        if traces:
            raise Failure("--pods: cannot be used with --trace; leave one out")
        paths = [(pods_file.stem.removeprefix("openb_pod_list_"), pods_file)]
    else:
        paths = [trace_file(name, data) for name in traces or ("default",)]
    if arrivals is not None and len(paths) > 1:
        raise Failure("--arrivals: names the pods of one trace; give one --trace")
    if placements is not None and len(paths) * len(chosen) * len(numbers) > 1:
        raise Failure("--placements: is for one run; give one trace, one policy and one seed")
    results = []
    for name, path in paths:
        workload = read_workload(name, path, nodes_file or path.with_name(NODES_FILE))
        for policy in chosen:
            results.append(_measured(workload, policy, numbers, arrivals, node_order, placements))
    _show(results, output)


def _measured(
    workload: Workload,
    policy: str,
    seeds: tuple[int, ...],
    arrivals: Path | None,
    node_order: Path | None,
    placements: Path | None,
) -> Result:
    curves = []
    decisions = 0
    spent = 0.0
    for seed in seeds:
        order, nodes = order_for_seed(workload.pods, workload.nodes, seed)
        if arrivals is not None:
            order = _arrivals(arrivals, workload.pods)
        if node_order is not None:
            nodes = _node_order(node_order, workload.nodes)
        made = POLICIES[policy](workload.pods.values(), seed)
        start = time.process_time()
        outcome = run(made, workload.pods, order, nodes)
        spent += time.process_time() - start
        decisions += len(order)
        curves.append(outcome.curve)
        if placements is not None:
            _write_placements(placements, outcome)
    speed = f", {decisions / spent:,.0f} decisions/s" if spent else ""
    note(f"{workload.name} {policy}: {len(seeds)} {'run' if len(seeds) == 1 else 'runs'}{speed}")
    marks = {
        mark: mean_of(curves, mark) if all(mark in curve for curve in curves) else None for mark in MARKS
    }
    return Result(workload.name, policy, seeds, marks)


def _show(results: Sequence[Result], output: str) -> None:
    documents = [_document(result) for result in results]
    if output == "json":
        write_document(documents[0] if len(documents) == 1 else documents, "json")
        return
    columns = (
        Column(title="TRACE", key="trace"),
        Column(title="POLICY", key="policy"),
        *(
            Column(
                title=f"@{mark}",
                key=f"allocated_percent_{mark}",
                right=True,
                wide=mark not in (95, *COMPARED),
            )
            for mark in MARKS
        ),
        Column(title="PUBLISHED", key="published", right=True),
        Column(title="BOUND", key="bound", right=True),
    )
    rows = [
        Row(
            cells=(
                result.trace,
                result.policy,
                *(_percent(result.allocated.get(mark)) for mark in MARKS),
                _published(result),
                _bound(result.trace),
            ),
            item=document,
            name=f"{result.trace}/{result.policy}",
        )
        for result, document in zip(results, documents, strict=True)
    ]
    write(Table(kind="OpenbBenchmark", columns=columns, rows=tuple(rows)), output)


def _document(result: Result) -> dict[str, Any]:
    return {
        "policy": result.policy,
        "allocated_percent": {str(mark): value for mark, value in result.allocated.items()},
        "trace": result.trace,
        "seeds": list(result.seeds),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _published(result: Result) -> str:
    """Published figures are means of ten seeds; beside those of others they would mislead."""
    figures = PUBLISHED.get((result.trace, result.policy))
    if figures is None or result.seeds != PUBLISHED_SEEDS:
        return ""
    return _pair(figures)


def _bound(trace: str) -> str:
    """In brackets that of one seed."""
    if trace in BOUNDS:
        return _pair(BOUNDS[trace])
    return f"({_pair(BOUNDS_OF_ONE_SEED[trace])})" if trace in BOUNDS_OF_ONE_SEED else ""


def _pair(figures: Mapping[int, float]) -> str:
    return " ".join(f"{figures[mark]:.2f}" if mark in figures else "  -  " for mark in COMPARED)


def _policies(names: tuple[str, ...]) -> list[str]:
    known = {name.lower(): name for name in POLICIES}
    chosen: list[str] = []
    for name in names or (list(POLICIES)[-1],):
        if name.lower() == "all":
            chosen += POLICIES
        elif name.lower() in known:
            chosen.append(known[name.lower()])
        else:
            raise Failure(f"--policy: there is no {name!r}; write one of {', '.join(POLICIES)}, or all")
    return list(dict.fromkeys(chosen))


def seeds_of(text: str | None) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text or "42", re.ASCII)
    if found is None:
        raise Failure(f"--seed: {text!r} is not a seed; write a number such as 42, or a range such as 42-51")
    first = int(found[1])
    last = int(found[2] or found[1])
    if not first <= last < first + MAX_SEEDS:
        raise Failure(f"--seed: {text!r} is not a range of 1 to {MAX_SEEDS} seeds; write one such as 42-51")
    return tuple(range(first, last + 1))


def trace_file(name: str, data: Path | None) -> tuple[str, Path]:
    """The trace's name and pod list. Raises Failure."""
    if name.endswith(".csv"):
        path = Path(name)
        return path.stem.removeprefix("openb_pod_list_"), path
    if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) is None:
        raise Failure(f"--trace: {name!r} is not a trace; write a name such as default, or a path to a .csv")
    folders = [data] if data is not None else [Path(folder) for folder in FOLDERS]
    for folder in folders:
        path = folder / PODS_FILE.format(name)
        if path.is_file():
            return name, path
    looked = ", ".join(str(folder) for folder in folders)
    fix = "give the folder that holds it with --data, or the file itself with --pods"
    raise Failure(f"--trace: there is no {PODS_FILE.format(name)} in {looked}; {fix}")


def read_workload(name: str, pods_file: Path, nodes_file: Path) -> Workload:
    try:
        nodes = trace_format.parse_nodes(read_text(nodes_file), str(nodes_file))
        pods = trace_format.parse_pods(read_text(pods_file), str(pods_file))
    except trace_format.OpenbError as error:
        raise Failure(str(error)) from None
    if not any(node.gpus for node in nodes):
        raise Failure(f"{nodes_file}: there is no node with GPUs; give the list of GPU nodes")
    if not pods:
        raise Failure(f"{pods_file}: there is no pod in it; give a pod list")
    kinds: dict[Demand, Demand] = {}
    demands = {}
    for pod in pods:
        demand = Demand(pod.cpu_milli, pod.memory_mib, pod.gpus, pod.gpu_milli, pod.models)
        demands[pod.name] = kinds.setdefault(demand, demand)
    return Workload(
        name,
        demands,
        [Node(node.name, node.cpu_milli, node.memory_mib, node.gpus, node.model) for node in nodes],
    )


def _arrivals(path: Path, pods: Mapping[str, Demand]) -> list[str]:
    """Names of pods; the benchmark's own files call the copies of a pod NAME-tuned-NUMBER."""
    order = []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        written = text.strip()
        if not written:
            continue
        name = written if written in pods else re.sub(r"-tuned-\d+\Z", "", written)
        if name not in pods:
            raise Failure(f"{path}:{line}: there is no pod {written!r} in the pod list; check both files")
        order.append(name)
    if not order:
        raise Failure(f"{path}: names no pod; write one name a line")
    return order


def _node_order(path: Path, nodes: Sequence[Node]) -> list[Node]:
    by_name = {node.name: node for node in nodes}
    order = []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        name = text.strip()
        if not name:
            continue
        node = by_name.pop(name, None)
        if node is None:
            raise Failure(f"{path}:{line}: {name!r} is not in the node list, or is here twice")
        order.append(node)
    if by_name:
        raise Failure(f"{path}: {next(iter(by_name))!r} is missing; name every node of the node list once")
    return order


def read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}; check the path") from None
    if len(content) > MAX_BYTES:
        raise Failure(f"{path}: is larger than {MAX_BYTES >> 20} MiB; split it")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{path}: is not UTF-8 text; save the file as UTF-8") from None


def _write_placements(path: Path, outcome: Outcome) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["i", "pod", "node", "arrived_gpu_milli", "used_gpu_milli"])
            for number, placed in enumerate(outcome.placements):
                writer.writerow([number, placed.pod, placed.node, placed.arrived, placed.used])
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error.strerror}; check the path") from None
