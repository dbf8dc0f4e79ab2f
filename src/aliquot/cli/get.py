"""`aliquot get devices|workloads|queues`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.cli import tables
from aliquot.cli.cluster import Target, mirrored, target_options
from aliquot.cli.expected import Expected, expect_options, journal_option, look_ahead
from aliquot.cli.failures import Failure
from aliquot.cli.filters import Filter, FilterError
from aliquot.cli.output import FORMS, Table, note, sorted_by, write
from aliquot.cli.queue_tables import queue_table
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import WorkloadState
from aliquot.kube.mirror import Mirror
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import GPU, UNIT
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import standings

WATCH_PAUSE_S = 0.5
"""Changes that come closer together than this are shown together."""

_KINDS = {
    "devices": "devices",
    "device": "devices",
    "dev": "devices",
    "gpus": "devices",
    "workloads": "workloads",
    "workload": "workloads",
    "wl": "workloads",
    "queues": "queues",
    "queue": "queues",
    "aq": "queues",
}


@click.command(
    short_help="Show devices, workloads or queues.",
    epilog="Exit status: 0 shown, 1 nothing of that name, 2 error.",
)
@click.argument("kind", metavar="devices|workloads|queues")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="", help="Only what this namespace has.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces (the default without -n).")
@click.option("-l", "--selector", default="", help="Only what has these labels: a=b,c!=d,e,!f,g in (x,y).")
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Go on showing what changes, until Ctrl-C.")
@click.option("--sort-by", default="", help="A column, such as node or age.")
@click.option("--no-headers", is_flag=True, help="Leave out the line of titles.")
@expect_options
@journal_option
@target_options
def get(
    kind: str,
    name: str,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    output: str,
    watch: bool,
    sort_by: str,
    no_headers: bool,
    expect: bool,
    journal_file: Path | None,
    kubeconfig: str,
    context: str,
) -> int:
    """Show devices (with parts and holders), workloads (with positions and reasons) or queues (as a tree).

    NAME is a device or node, a workload (training or job/training) or a queue. `-l` selects by labels of
    nodes (devices), of pods (workloads) or of queues. With --expect every workload that waits has a range for
    its start, for which the cluster is simulated ahead.
    """
    wanted = _KINDS.get(kind.lower())
    if wanted is None:
        raise Failure(f"there is nothing called {kind!r} to get; try devices, workloads or queues")
    if namespace and all_namespaces:
        raise Failure("-n and -A exclude each other; leave one out")
    try:
        chosen = Filter.of(name=name, namespace=namespace, selector=selector)
    except FilterError as error:
        raise Failure(f"--selector: {error}") from None

    if expect and wanted != "workloads":
        raise Failure(f"--expect: {wanted} do not start; leave it out, or get workloads")
    target = Target(kubeconfig, context)
    journal = journal_file or (_journal_beside(target) if expect else None)

    def table(snapshot: Snapshot, now: datetime) -> Table:
        starts = look_ahead(snapshot, Policy(), now, journal) if expect else None
        wide = output in ("wide", "csv", "json", "yaml")
        return build(wanted, snapshot, now, chosen, wide=wide, starts=starts)

    def show(found: Table) -> None:
        if sort_by:
            try:
                found = sorted_by(found, sort_by)
            except ValueError as error:
                raise Failure(f"--sort-by: there is no column {sort_by!r}; columns are {error}") from None
        write(found, output, headers=not no_headers)

    return asyncio.run(_run(target, table, show, watch=watch, name=name, kind=wanted))


def _journal_beside(target: Target) -> Path | None:
    # Only here: the commands of the controller take their time to load.
    from aliquot.cli.journals import journal_beside

    return journal_beside(target)


async def _run(
    target: Target,
    table: Callable[[Snapshot, datetime], Table],
    show: Callable[[Table], None],
    *,
    watch: bool,
    name: str,
    kind: str,
) -> int:
    async with mirrored(target) as mirror:
        found = table(mirror.snapshot(), datetime.now(UTC))
        if not any(not row.total for row in found.rows):
            if name:
                note(f"no {kind.removesuffix('s')} {name!r} found")
                if not watch:
                    return 1
            else:
                note(f"no {kind} found")
        show(found)
        if watch:
            await _follow(mirror, table, show, found)
    return 0


async def _follow(
    mirror: Mirror,
    table: Callable[[Snapshot, datetime], Table],
    show: Callable[[Table], None],
    last: Table,
) -> None:
    version = mirror.version
    while True:
        await mirror.wait_for_change(version)
        await asyncio.sleep(WATCH_PAUSE_S)
        version = mirror.version
        found = table(mirror.snapshot(), datetime.now(UTC))
        if [row.item for row in found.rows] != [row.item for row in last.rows]:
            note("")
            show(found)
            last = found


def build(
    kind: str,
    snapshot: Snapshot,
    now: datetime,
    chosen: Filter,
    *,
    wide: bool,
    starts: Expected | None = None,
) -> Table:
    """The table of one kind: what is in force now, and, for what waits, what `decide` says of it.

    starts: of workloads that wait, for a column of its own.
    """
    policy = Policy()
    memory = Memory()
    plan = decide(snapshot, policy, now, memory=memory)
    shares = standings(snapshot, policy, now, memory) if kind == "queues" else None
    report = Report.of(snapshot, plan, policy, standings=shares)
    if kind == "devices":
        return tables.devices(report.devices, chosen.device_test(snapshot))
    if kind == "workloads":
        keep: Callable[[WorkloadState], bool] = chosen.workload_test(snapshot)
        return tables.workloads(report.workloads, now, keep, starts=starts)
    capacity = {GPU: report.devices.total.total * UNIT}
    return queue_table(report.queues, capacity, wide=wide, keep=chosen.queue_test(snapshot))
