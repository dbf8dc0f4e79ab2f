"""`aliquot plan`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec.structs import replace

from aliquot.cli import (
    cluster,
    cluster_input,
    defragmenting,
    expected,
    openb_input,
    planning,
    snapshot,
    snapshot_files,
    whatif,
)
from aliquot.cli.cluster import target_options
from aliquot.cli.failures import Failure
from aliquot.cli.journals import journal_beside
from aliquot.cli.manifests import InputError
from aliquot.cli.moments import moment_given
from aliquot.cli.output import note, working, write, write_document
from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling import defragmentation
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.defragmentation import Budget
from aliquot.scheduling.policy import Policy
from aliquot.simulation.changes import Scenario
from aliquot.simulation.expecting import Terms
from aliquot.simulation.settings import Settings

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="Say what would run where, offline; nothing is touched.",
    epilog="Exit status, as of `kubectl diff`: 0 everything is placed, 1 something waits "
    "(also for what has to leave first), 2 error. With --change: 0 the difference is shown, 1 a condition of "
    "--fail-on holds, 2 error.",
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
    "--from",
    "origin",
    default="",
    metavar="live|FILE",
    help="Plan for the cluster as it is, or for a saved snapshot; manifests of -f come on top of it.",
)
@whatif.whatif_options
@expected.expect_options
@expected.journal_option
@click.option(
    "--ahead",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="With --change and --expect: how far ahead to simulate; with --change 0 looks at the next decision "
    "only.",
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
    origin: str,
    change_texts: tuple[str, ...],
    fail_on: tuple[str, ...],
    expect: bool,
    journal_file: Path | None,
    ahead: str,
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

    With --change, or with --from and manifests, both the cluster as it is and as it would be are simulated
    ahead by what is known of run times, and the difference is shown: who starts earlier or later, who has to
    leave, what it does to use, energy and cost. With --expect every workload that waits has a range for its
    start. docs/what-if.md has examples.
    """
    names = (*files, *more)
    if not origin and not openb:
        saved_names = [name for name in names if name != "-" and snapshot_files.recognised(Path(name))]
        if len(saved_names) > 1:
            raise Failure(f"{saved_names[1]}: is a second saved snapshot; give one")
        if saved_names:
            origin = saved_names[0]
            names = tuple(name for name in names if name != origin)
    if fail_on and not change_texts and not (origin and names):
        raise Failure("--fail-on: there is nothing to compare; give --change, or --from and manifests")
    if defragment and not names and not openb and not origin:
        origin = "live"
    if openb and (names or origin):
        raise Failure("--openb: is a cluster of its own; give it or -f and --from, not both")
    if not (names or openb or origin):
        raise Failure("give files with -f, a cluster with --from live|FILE, or --openb NODES.csv PODS.csv")
    with working("Reading"):
        if origin:
            seen = _origin(origin, at, cluster.Target(kubeconfig, context))
        else:
            now = _time(at)
            seen = snapshot_files.Saved(
                snapshot=_read(names, openb, now), time=now, policy=Policy(every_pod=True)
            )
    policy = replace(seen.policy, strict_fifo=True) if strict_fifo else seen.policy
    if change_texts or (origin and names):
        if defragment or expect:
            option = "--defragment" if defragment else "--expect"
            raise Failure(f"{option}: does not go with --change; leave one out")
        settings = Settings(start=seen.time, until=whatif.seconds(ahead, "--ahead"), sample_seconds=0)
        base = Scenario(snapshot=seen.snapshot, policy=policy, settings=settings)
        submitted = names if origin else ()
        return whatif.compare(base, change_texts, submitted=submitted, fail_on=fail_on, output=output)
    if defragment:
        limits = Budget(moves=budget, device_seconds=lost_work)
        return _defragment(seen.snapshot, policy, seen.time, limits, output)
    starts = None
    if expect:
        terms = Terms(ahead=max(1, whatif.seconds(ahead, "--ahead")))
        journal = journal_file
        if journal is None and origin == "live":
            journal = journal_beside(cluster.Target(kubeconfig, context))
        starts = expected.look_ahead(seen.snapshot, policy, seen.time, journal, terms)
    return _show(seen.snapshot, policy, seen.time, output, starts, listed=openb is None or output == "wide")


def _origin(origin: str, at: str, target: cluster.Target) -> snapshot_files.Saved:
    """The cluster that --from names, at the time of --at. Raises Failure."""
    if origin == "live":
        seen = asyncio.run(cluster.snapshot(target))
        return snapshot_files.Saved(snapshot=seen, time=_time(at), policy=Policy())
    saved = snapshot.load(Path(origin))
    return replace(saved, time=_time(at)) if at else saved


def _read(names: tuple[str, ...], openb: tuple[Path, Path] | None, now: datetime) -> Snapshot:
    """The objects of files. Raises Failure."""
    try:
        if openb is not None:
            return openb_input.load(*openb, now)
        read = cluster_input.load(names, now)
    except InputError as error:
        raise Failure(str(error)) from None
    for text in read.notes:
        note(f"note: {text}")
    if read.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(read.ignored.items()))
        note(f"note: a plan does not depend on {kinds}")
    return read.snapshot


def _show(
    seen: Snapshot,
    policy: Policy,
    now: datetime,
    output: str,
    starts: expected.Expected | None,
    *,
    listed: bool,
) -> int:
    pending = sum(1 for pod in seen.pods if not pod.spec.node_name and not pod.finished)
    with working(f"Deciding about {pending} pods on {len(seen.nodes)} nodes"):
        made = decide(seen, policy, now)
        before = Report.of(seen, made, policy)
        after = Report.of(apply(seen, made, now), made, policy, previous=before)
        summary = planning.summarize(before, after)
        leaving = before.evictions(now)
    if output in ("json", "yaml"):
        write_document(planning.plan_document(before, summary, leaving, starts), output)
    else:
        if listed and made.decisions:
            write(planning.plan_table(before, starts), output)
            click.echo()
        if leaving:
            write(planning.eviction_table(leaving), output)
            click.echo()
        for line in planning.summary_lines(summary):
            click.echo(line)
    return 1 if summary.waiting else 0


def _defragment(seen: Snapshot, policy: Policy, now: datetime, budget: Budget, output: str) -> int:
    with working(f"Looking for moves on {len(seen.nodes)} nodes"):
        found = defragmentation.defragment(seen, policy, now, budget)
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
    return moment_given(text, "--at") if text else datetime.now(UTC)
