"""`aliquot plan`."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.cli import cluster, cluster_input, defragmenting, openb_input, planning
from aliquot.cli.cluster import target_options
from aliquot.cli.failures import Failure
from aliquot.cli.manifests import InputError
from aliquot.cli.output import note, write, write_document
from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling import defragmentation
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.defragmentation import Budget
from aliquot.scheduling.policy import Policy

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="Say what would run where, offline; nothing is touched.",
    epilog="Exit status, as of `kubectl diff`: 0 everything is placed, 1 something waits "
    "(also for what has to leave first), 2 error.",
)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    help="Manifests: YAML or JSON, Lists, fleet files, folders, - for standard input. May be repeated.",
)
@click.argument("more", nargs=-1)
@click.option(
    "--openb", nargs=2, type=FILE, metavar="NODES.csv PODS.csv", help="Place this openb trace instead."
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "wide", "json", "yaml"]), default="table", show_default=True
)
@click.option("--strict-fifo", is_flag=True, help="Let nothing overtake what waits for room in its queue.")
@click.option("--at", default="", metavar="TIME", help="The time to decide at (RFC 3339); now if left out.")
@click.option(
    "--defragment",
    is_flag=True,
    help="Show which pods to move so that more nodes are idle; without files those of the cluster.",
)
@click.option(
    "--budget",
    type=click.IntRange(0, 100_000),
    default=16,
    show_default=True,
    metavar="PODS",
    help="With --defragment: how many pods may be moved.",
)
@click.option(
    "--lost-work",
    type=click.IntRange(0),
    default=None,
    metavar="SECONDS",
    help="With --defragment: how much work may be lost by it, in device-seconds; any amount if left out.",
)
@target_options
def plan(
    files: tuple[str, ...],
    more: tuple[str, ...],
    openb: tuple[Path, Path] | None,
    output: str,
    strict_fifo: bool,
    at: str,
    defragment: bool,
    budget: int,
    lost_work: int | None,
    kubeconfig: str,
    context: str,
) -> int:
    """Read cluster objects and workloads, decide, and show what would run where and what would wait.

    Works on files alone: no cluster is asked or changed. Objects of a saved cluster (`kubectl get -o yaml`),
    fleet files and plain manifests may be mixed. Pods of Jobs and Deployments and claims of templates are
    made as their controllers would make them. With --defragment nothing is changed either.
    """
    names = (*files, *more)
    if defragment and not names and not openb:
        seen = asyncio.run(cluster.snapshot(cluster.Target(kubeconfig, context)))
        return _defragment(seen, Policy(), _time(at), Budget(moves=budget, device_seconds=lost_work), output)
    if bool(names) == bool(openb):
        raise Failure("give files with -f, or --openb NODES.csv PODS.csv (and not both)")
    now = _time(at)
    policy = Policy(every_pod=True, strict_fifo=strict_fifo)
    try:
        with _progress("Reading"):
            if openb is not None:
                snapshot = openb_input.load(*openb, now)
            else:
                read = cluster_input.load(names, now)
                snapshot = read.snapshot
                for text in read.notes:
                    note(f"note: {text}")
                if read.ignored:
                    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(read.ignored.items()))
                    note(f"note: a plan does not depend on {kinds}")
    except InputError as error:
        raise Failure(str(error)) from None
    if defragment:
        return _defragment(snapshot, policy, now, Budget(moves=budget, device_seconds=lost_work), output)
    return _show(snapshot, policy, now, output, listed=openb is None or output == "wide")


def _show(snapshot: Snapshot, policy: Policy, now: datetime, output: str, *, listed: bool) -> int:
    pending = sum(1 for pod in snapshot.pods if not pod.spec.node_name and not pod.finished)
    with _progress(f"Deciding about {pending} pods on {len(snapshot.nodes)} nodes"):
        made = decide(snapshot, policy, now)
        before = Report.of(snapshot, made, policy)
        after = Report.of(apply(snapshot, made, now), made, policy, previous=before)
        summary = planning.summarize(before, after)
        leaving = before.evictions(now)
    if output in ("json", "yaml"):
        write_document(planning.plan_document(before, summary, leaving), output)
    else:
        if listed and made.decisions:
            write(planning.plan_table(before), output)
            click.echo()
        if leaving:
            write(planning.eviction_table(leaving), output)
            click.echo()
        for line in planning.summary_lines(summary):
            click.echo(line)
    return 1 if summary.waiting else 0


def _defragment(snapshot: Snapshot, policy: Policy, now: datetime, budget: Budget, output: str) -> int:
    with _progress(f"Looking for moves on {len(snapshot.nodes)} nodes"):
        found = defragmentation.defragment(snapshot, policy, now, budget)
    if output in ("json", "yaml"):
        write_document(defragmenting.document(found), output)
        return 0
    if found.reliefs:
        write(defragmenting.move_table(found), output)
        click.echo()
    for line in defragmenting.summary_lines(found):
        click.echo(line)
    return 0


def _time(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"--at: {text!r} is not a time; write 2026-01-31T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@contextlib.contextmanager
def _progress(text: str) -> Iterator[None]:
    """Say on stderr what goes on, with a spinner on a terminal, and how long it took when that is long."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} ..."):
        yield
