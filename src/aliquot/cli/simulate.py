"""`aliquot simulate`."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click
from msgspec.structs import replace

from aliquot.cli import calibrating, expected, simulation_tables, whatif
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.output import document, note, write, write_document
from aliquot.cli.ranges import Numbers
from aliquot.cli.simulation_input import Beginning, Source, duration, read
from aliquot.cli.simulation_progress import Display
from aliquot.cli.sweeping import Run, results_of, sweep
from aliquot.simulation.changes import Scenario
from aliquot.simulation.objects import FormError
from aliquot.simulation.policies import POLICIES
from aliquot.simulation.results import Result
from aliquot.simulation.settings import Failures, Settings
from aliquot.traces import results, tables
from aliquot.traces.errors import TraceError
from aliquot.traces.results import FORMS
from aliquot.traces.workloads import write_workloads

FILE = click.Path(path_type=Path, dir_okay=False)
MAX_RUNS = 10_000
REPORT = "report.html"
Command = TypeVar("Command", bound=Callable[..., object])


def input_options(command: Command) -> Command:
    """Where the cluster and the workloads come from."""
    for option in (
        click.option("--at", default="", metavar="TIME", help="The moment of virtual time 0 (RFC 3339)."),
        click.option(
            "--faster", type=click.IntRange(1, 1_000_000), default=1, help="Arrivals so many times as fast."
        ),
        click.option(
            "--load",
            type=Numbers(0.01, 10),
            default=0.9,
            help="Device-time asked for by --synthetic.",
        ),
        click.option(
            "--synthetic",
            type=click.IntRange(1, 1_000_000),
            default=None,
            metavar="JOBS",
            help="Draw so many jobs from the seed, over a day or --until.",
        ),
        click.option("--journal", type=FILE, default=None, help="Workloads of a controller's journal."),
        click.option(
            "--openb", nargs=2, type=FILE, default=None, metavar="NODES.csv PODS.csv", help="An openb trace."
        ),
        click.option("--trace", type=FILE, default=None, help="Workloads: CSV or Parquet."),
        click.option(
            "-f",
            "--filename",
            "files",
            multiple=True,
            help="The cluster: fleet files, manifests, a saved snapshot. May be repeated.",
        ),
    ):
        command = option(command)
    return command


def settings_options(command: Command) -> Command:
    """How virtual time goes."""
    for option in (
        click.option("--spot-mttr", default="1h", help="Mean time until a reclaimed spot node is replaced."),
        click.option("--spot-mtbf", default="0", help="Mean time until a spot node is reclaimed; 0: never."),
        click.option("--device-mttr", default="24h", help="Mean time until a failed device is back."),
        click.option("--device-mtbf", default="0", help="Mean time between failures of a device; 0: none."),
        click.option("--node-mttr", default="2h", help="Mean time until a failed node is back."),
        click.option("--node-mtbf", default="0", help="Mean time between failures of a node; 0: none."),
        click.option("--grace", default="30s", show_default=True, help="How long evicted pods hold on."),
        click.option("--pod-start", default="20s", show_default=True, help="Mean time until a pod runs."),
        click.option("--sample", default="5m", show_default=True, help="How often the state is noted."),
        click.option("--every", default="10s", show_default=True, help="How often decisions are made."),
        click.option(
            "--until", default=None, metavar="TIME", help="Stop then (24h); at the end if left out."
        ),
        click.option("--seed", "seeds", default="1", show_default=True, help="1, or 1-5 for five runs."),
        click.option(
            "--policy",
            "policies",
            multiple=True,
            help=f"{', '.join(POLICIES)}, or all; repeatable.  [default: aliquot]",
        ),
    ):
        command = option(command)
    return command


@click.command(
    short_help="Run workloads in virtual time, through the real decisions.",
    epilog="Exit status: 0 simulated, 1 a --fail-on condition holds, 2 error, 130 interrupted (the same "
    "command with --out goes on from there). docs/simulation.md tells the formats and what is measured.",
)
@input_options
@settings_options
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder of results."
)
@click.option(
    "--html",
    type=FILE,
    default=None,
    help="Write the report, one page that needs nothing else; with --out it is in the folder too.",
)
@click.option("--form", type=click.Choice(FORMS), default="csv", show_default=True, help="Of its tables.")
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    default=None,
    help="How many simulations run side by side; as many as there are cores if left out.",
)
@click.option(
    "--write-trace", type=FILE, default=None, help="Write the workloads of the first seed and stop."
)
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json", "yaml", "csv"]), default="table")
@whatif.whatif_options
@calibrating.calibrate_option
@target_options
def simulate(
    files: tuple[str, ...],
    trace: Path | None,
    openb: tuple[Path, Path] | None,
    journal: Path | None,
    synthetic: int | None,
    load: float,
    faster: int,
    at: str,
    policies: tuple[str, ...],
    seeds: str,
    until: str | None,
    every: str,
    sample: str,
    pod_start: str,
    grace: str,
    node_mtbf: str,
    node_mttr: str,
    device_mtbf: str,
    device_mttr: str,
    spot_mtbf: str,
    spot_mttr: str,
    out: Path | None,
    html: Path | None,
    form: str,
    processes: int | None,
    write_trace: Path | None,
    output: str,
    change_texts: tuple[str, ...],
    fail_on: tuple[str, ...],
    calibrate: str | None,
    kubeconfig: str,
    context: str,
) -> int:
    """Say what would become of workloads: when they start, who is evicted, what is used and lost.

    The cluster is that of -f (fleet files, manifests, a saved snapshot), of --openb or --journal, else the
    live one, which is only read. Workloads are those that it has, and those of --trace, --openb, --journal
    or --synthetic. Several policies and seeds are compared side by side.
    """
    end = duration(until, "--until")
    source = Source(
        files=files,
        trace=trace,
        openb=openb,
        journal=journal,
        synthetic=synthetic or 0,
        load=load,
        until=end,
        faster=faster,
        at=at,
        target=Target(kubeconfig, context),
    )
    failures = Failures(
        node_hours=_hours(node_mtbf, "--node-mtbf"),
        node_repair_seconds=duration(node_mttr, "--node-mttr") or 1,
        device_hours=_hours(device_mtbf, "--device-mtbf"),
        device_repair_seconds=duration(device_mttr, "--device-mttr") or 1,
        spot_hours=_hours(spot_mtbf, "--spot-mtbf"),
        spot_return_seconds=duration(spot_mttr, "--spot-mttr") or 1,
    )
    beginning = read(source)
    settings = Settings(
        start=beginning.start,
        until=end,
        decision_seconds=max(1, duration(every, "--every") or 1),
        sample_seconds=duration(sample, "--sample") or 0,
        pod_start_seconds=duration(pod_start, "--pod-start") or 0,
        grace_seconds=duration(grace, "--grace") or 0,
        failures=failures,
    )
    runs = _runs(_policies(policies), _seeds(seeds), settings)
    if write_trace is not None:
        return _write_trace(write_trace, beginning, runs[0])
    if change_texts:
        if len(runs) > 1:
            raise Failure("--change compares one policy with one seed; name one of each")
        if out is not None or html is not None:
            raise Failure("--change prints the difference; leave out --out and --html")
        return _whatif(beginning, runs[0], change_texts, fail_on, output)
    if calibrate is not None:
        return _calibrate(beginning, runs, calibrate, output)
    if fail_on:
        raise Failure("--fail-on needs --change; name a change to compare with")
    if not (beginning.workloads or beginning.day or beginning.snapshot.pods):
        raise Failure(
            "there are no workloads: the cluster has none; name some with --trace, --openb, --journal or "
            "--synthetic"
        )
    if out is not None:
        return _sweep(beginning, runs, out, html, processes, form, output, kept=True)
    with tempfile.TemporaryDirectory(prefix="aliquot-simulate-") as folder:
        return _sweep(beginning, runs, Path(folder), html, processes, form, output, kept=False)


def _sweep(
    beginning: Beginning,
    runs: list[Run],
    folder: Path,
    html: Path | None,
    processes: int | None,
    form: str,
    output: str,
    *,
    kept: bool,
) -> int:
    _check_writable(folder, html, form)
    count = processes or os.cpu_count() or 1
    display = Display(runs)
    with display:
        whole = sweep(beginning, runs, folder, count, form, display.tell)
    found = results_of(runs, folder)
    if not whole:
        if kept:
            note(f"interrupted; {len(found)}/{len(runs)} done, the same command goes on from here")
        else:
            note("interrupted; with --out FOLDER it could be continued")
        return 130
    pages = [html] if html is not None else []
    if kept:
        pages.append(folder / REPORT)
    _write_pages(pages, found)
    _show(found, output)
    if output in ("table", "wide"):
        _show_starts(beginning, runs[0])
    for text in simulation_tables.waiting_lines(found):
        note(text)
    if kept:
        note(f"written to {folder}; see {folder / REPORT}")
    elif html is not None:
        note(f"written to {html}")
    return 0


def _show(found: Mapping[str, Result], output: str) -> None:
    table = simulation_tables.summary_table(found)
    if output in ("json", "yaml"):
        write_document(document(table), output)
        return
    write(table, output)
    if output == "csv":
        return
    click.echo()
    write(simulation_tables.wait_table(found), output)
    spread = simulation_tables.spread_lines(list(found.values()))
    if spread:
        click.echo()
        for line in spread:
            click.echo(line)


def _show_starts(beginning: Beginning, run: Run) -> None:
    """From when to when what waits in the cluster now may start, where nothing is given that comes to it."""
    snapshot = beginning.snapshot
    waits = any(not pod.spec.node_name and not pod.finished for pod in snapshot.pods)
    if not waits or beginning.workloads or beginning.day or len(snapshot.nodes) > expected.MOST_NODES:
        return
    starts = expected.table(expected.look_ahead(snapshot, run.policy, run.settings.start, None))
    if starts.rows:
        click.echo()
        write(starts, "table")


def _check_writable(folder: Path, html: Path | None, form: str) -> None:
    """Find out before hours of simulation what could not be written after them."""
    try:
        tables.check_form(form)
        results.prepare(folder)
        if html is not None and not html.parent.is_dir():
            raise Failure(f"--html: the folder {html.parent} does not exist; make it, or name another file")
    except TraceError as error:
        raise Failure(str(error)) from None


def _write_pages(pages: Sequence[Path], found: Mapping[str, Result]) -> None:
    if not pages:
        return
    # Only here: templates take their time to load.
    from aliquot.web.report.page import render

    text = render(found).encode()
    for path in pages:
        try:
            results.write_file(path, text)
        except TraceError as error:
            raise Failure(str(error)) from None


def _calibrate(beginning: Beginning, runs: list[Run], every: str, output: str) -> int:
    step = duration(every, "--calibrate") or 0
    if step < 60:
        raise Failure(f"--calibrate: {every!r} is too often; write 60s or more, such as 2h")
    try:
        return calibrating.run({run.name: _scenario(beginning, run) for run in runs}, step, output)
    except FormError as error:
        raise Failure(str(error)) from None


def _scenario(beginning: Beginning, run: Run) -> Scenario:
    return Scenario(
        snapshot=beginning.snapshot,
        workloads=beginning.all_workloads(run.settings.seed),
        policy=run.policy,
        settings=run.settings,
    )


def _whatif(
    beginning: Beginning, run: Run, change_texts: tuple[str, ...], fail_on: tuple[str, ...], output: str
) -> int:
    base = _scenario(beginning, run)
    return whatif.compare(base, change_texts, fail_on=fail_on, output=output)


def _write_trace(path: Path, beginning: Beginning, run: Run) -> int:
    found = beginning.all_workloads(run.settings.seed)
    if str(path) == "-":
        raise Failure("--write-trace: a table is written to a file; name one, such as jobs.csv")
    try:
        write_workloads(path, found)
    except ValueError as error:
        raise Failure(f"--write-trace: {error}, which a table cannot express; leave out --journal") from None
    except TraceError as error:
        raise Failure(str(error)) from None
    note(f"{len(found)} workloads written to {path}")
    return 0


def _hours(text: str, option: str) -> int:
    """Whole hours of a duration, 1 at least unless it is 0."""
    found = duration(text, option) or 0
    return max(1, round(found / 3600)) if found else 0


def _policies(names: tuple[str, ...]) -> list[str]:
    chosen: list[str] = []
    for name in names or ("aliquot",):
        if name == "all":
            chosen += POLICIES
        elif name in POLICIES:
            chosen.append(name)
        else:
            raise Failure(f"--policy: there is no {name!r}; write one of {', '.join(POLICIES)}, or all")
    return list(dict.fromkeys(chosen))


def _seeds(text: str) -> range:
    found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text, re.ASCII)
    if found is None:
        raise Failure(f"--seed: {text!r} is not a seed; write a number such as 1, or a range such as 1-5")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < first + MAX_RUNS:
        raise Failure(f"--seed: {text!r} is not a range of 1 to {MAX_RUNS} seeds; write one such as 1-5")
    return range(first, last + 1)


def _runs(policies: list[str], seeds: range, settings: Settings) -> list[Run]:
    if len(policies) * len(seeds) > MAX_RUNS:
        raise Failure(f"these are more than {MAX_RUNS} simulations; name fewer policies or seeds")
    return [
        Run(
            name=f"{policy}-{seed}",
            policy=POLICIES[policy],
            settings=replace(settings, label=policy, seed=seed),
        )
        for policy in policies
        for seed in seeds
    ]
