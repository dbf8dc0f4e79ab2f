"""`aliquot top devices|workloads|queues|teams|nodes`."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.cli import top_tables
from aliquot.cli.cluster import Target, mirrored, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.output import FORMS, Table, note, sorted_by, terminal_width, write
from aliquot.cli.snapshot import load
from aliquot.cli.telemetry_sources import PROMETHEUS_VARIABLE, SETTINGS_VARIABLE, telemetry_settings
from aliquot.cli.whatif import seconds
from aliquot.model.snapshot import Snapshot
from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.waste import Thresholds
from aliquot.web.usage.looking import Look, Looker

WATCH_EVERY_S = 15.0
MOST_WINDOW_S = 31 * 86_400

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
    "teams": "teams",
    "team": "teams",
    "nodes": "nodes",
    "node": "nodes",
    "no": "nodes",
}


@click.command(
    short_help="Show how devices are used, and what is wasted.",
    epilog="Exit status: 0 shown, 1 nothing to show or a source that cannot be read, 2 error or no source "
    "that can be. "
    f"{SETTINGS_VARIABLE} may name the file of sources, {PROMETHEUS_VARIABLE} a Prometheus.",
)
@click.argument("kind", metavar="[devices|workloads|queues|teams|nodes]", default="devices")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="", help="Only workloads of this namespace.")
@click.option("--since", "window", default="1h", show_default=True, help="How far to look back: 15m, 8h, 7d.")
@click.option("--prometheus", default="", metavar="URL", help="Read from this Prometheus.")
@click.option(
    "--exporter", "exporters", multiple=True, metavar="URL", help="Read this exporter. May be repeated."
)
@click.option("--sources", default="", metavar="FILE", help="File of sources (see docs/telemetry.md).")
@click.option("--history", default="", metavar="FILE", help="File with the history of usage to read.")
@click.option("--keep", is_flag=True, help="Write what is seen to the history, too.")
@click.option(
    "--snapshot", "snapshot_file", default="", metavar="FILE", help="A saved cluster, not a live one."
)
@click.option("--idle-after", default="10m", show_default=True, help="Without work for so long is idle.")
@click.option(
    "--inefficient",
    default=30,
    show_default=True,
    type=click.IntRange(0, 100),
    help="On average less busy than this, in %, is inefficient.",
)
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Look again every 15 s, until Ctrl-C.")
@click.option("--sort", "--sort-by", "sort_by", default="", help="A column, such as idle or device.")
@click.option("--no-headers", is_flag=True, help="Leave out titles and the lines about the fleet.")
@target_options
def top(
    kind: str,
    name: str,
    namespace: str,
    window: str,
    prometheus: str,
    exporters: tuple[str, ...],
    sources: str,
    history: str,
    keep: bool,
    snapshot_file: str,
    idle_after: str,
    inefficient: int,
    output: str,
    watch: bool,
    sort_by: str,
    no_headers: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Show what is held, what of it is at work, what is idle since when, and what is stranded.

    NAME is a node or device, a workload (training or job/training), a queue, a team or a node.
    """
    wanted = _KINDS.get(kind.lower())
    if wanted is None:
        raise Failure(
            f"there is nothing called {kind!r} to show; try devices, workloads, queues, teams or nodes"
        )
    span = _window(window, "--since")
    settings = telemetry_settings(sources, prometheus, exporters)
    limits = Thresholds(
        idle_after=1000 * _window(idle_after, "--idle-after"), inefficient=WHOLE_PPM * inefficient // 100
    )
    if keep and not history:
        raise Failure("--keep needs --history FILE to write to")
    with _history(history, keep) as opened:
        looker = Looker(settings, window_ms=1000 * span, history=opened, keep=keep, thresholds=limits)

        def show(seen: Look) -> int:
            _tell(looker, seen)
            table = _table(wanted, seen, name, namespace)
            if sort_by:
                try:
                    table = sorted_by(table, sort_by)
                except ValueError as error:
                    raise Failure(f"--sort: there is no column {sort_by!r}; columns are {error}") from None
            status = _show(table, seen, output, headers=not no_headers)
            return max(status, _missed(seen, history=opened is not None))

        try:
            return asyncio.run(_run(looker, show, Target(kubeconfig, context), snapshot_file, watch))
        except HistoryError as error:
            raise Failure(str(error)) from None


async def _run(looker: Looker, show: "object", target: Target, snapshot_file: str, watch: bool) -> int:
    assert callable(show)
    if snapshot_file:
        saved = load(Path(snapshot_file))
        return int(show(await looker.look(saved.snapshot, saved.time)))
    async with mirrored(target) as mirror:
        status = int(show(await _look(looker, mirror.snapshot())))
        while watch:
            await asyncio.sleep(WATCH_EVERY_S)
            if sys.stdout.isatty():
                click.clear()
            else:
                note("")
            status = int(show(await _look(looker, mirror.snapshot())))
    return status


async def _look(looker: Looker, snapshot: Snapshot) -> Look:
    return await looker.look(snapshot, datetime.now(UTC))


def _window(text: str, option: str) -> int:
    found = seconds(text, option)
    if not 1 <= found <= MOST_WINDOW_S:
        raise Failure(f"{option}: {text!r} is not between 1s and 31d")
    return found


@contextlib.contextmanager
def _history(path: str, keep: bool) -> Iterator[UsageHistory | None]:
    if not path:
        yield None
        return
    try:
        opened = UsageHistory.open(Path(path), read_only=not keep)
    except HistoryError as error:
        raise Failure(str(error)) from None
    with opened:
        yield opened


def _tell(looker: Looker, seen: Look) -> None:
    if looker.blind:
        note(
            "note: nothing says how devices are used; give --prometheus URL, --exporter URL, --sources FILE"
            " or --history FILE"
        )
    for problem in seen.collected.problems:
        note(f"error: {problem}")
    for text in seen.collected.notes:
        note(f"note: {text}")
    if seen.usage.unmatched:
        several = len(seen.usage.unmatched)
        first = seen.usage.unmatched[0]
        what = first.uuid or first.serial or first.pci or f"{first.index} on {', '.join(first.nodes) or '?'}"
        note(f"note: exporters name {several} devices that the cluster does not publish, such as {what}")


def _missed(seen: Look, *, history: bool) -> int:
    """The exit status by what could be read: 1 where a source failed, 2 where nothing else told of use."""
    if not seen.collected.problems:
        return 0
    return 1 if history or seen.collected.readings else 2


def _table(kind: str, seen: Look, name: str, namespace: str) -> Table:
    if kind == "devices":
        return top_tables.devices(
            seen.overview,
            lambda board: not name or name in (board.board.subject.node, board.board.subject.device),
        )
    return top_tables.groups(
        kind,
        seen.overview,
        lambda group: (
            (not name or name in (group.name, group.name.partition("/")[2]))
            and (not namespace or group.workload is None or group.workload.namespace == namespace)
        ),
    )


def _show(table: Table, seen: Look, output: str, *, headers: bool) -> int:
    if output in ("table", "wide") and headers:
        for line in top_tables.headline(seen.overview, terminal_width() or 80):
            click.echo(line)
        click.echo()
    write(table, output, headers=headers)
    if output in ("table", "wide") and headers:
        note(top_tables.LEGEND)
    return 0 if any(not row.total for row in table.rows) else 1
