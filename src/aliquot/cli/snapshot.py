"""`aliquot snapshot save|show`."""

import asyncio
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from aliquot.cli import cluster, snapshot_files
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.journals import journal_beside
from aliquot.cli.manifests import InputError
from aliquot.cli.output import API_VERSION, note, write_document
from aliquot.cli.snapshot_files import Saved
from aliquot.inventory import amounts
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status
from aliquot.model.kinds import encode_json
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.store.database import JournalError
from aliquot.store.journal import Journal

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(short_help="Save a cluster as a file, and show what one holds.")
def snapshot() -> None:
    """A saved snapshot is a cluster as a decision sees it, in one file: to send, replay, plan and simulate.

    It holds no Secrets, no ConfigMaps but the list of managed drivers, and of pods neither commands nor
    environment variables: only what decisions depend on.
    """


@snapshot.command(epilog="Exit status: 0 saved, 2 error.")
@click.argument("file", type=FILE)
@click.option(
    "--decision",
    default="",
    metavar="ID",
    help="Save what this recorded decision was made from (as `explain` shows it), or `last`.",
)
@click.option(
    "--journal",
    "journal_file",
    type=FILE,
    default=None,
    help="With --decision: the controller's journal; beside the kubeconfig or in .aliquot if left out.",
)
@target_options
def save(file: Path, decision: str, journal_file: Path | None, kubeconfig: str, context: str) -> int:
    """Save the cluster as it is now, with the plan for it, to FILE (.json, .json.gz or .json.zst).

    With --decision the cluster is not asked: the snapshot, the policy and the plan are those of the journal.
    """
    target = Target(kubeconfig, context)
    if decision or journal_file is not None:
        saved = _recorded(journal_file or journal_beside(target), decision)
    else:
        seen = asyncio.run(cluster.snapshot(target))
        policy, now = Policy(), datetime.now(UTC)
        saved = Saved(snapshot=seen, time=now, policy=policy, plan=decide(seen, policy, now))
    try:
        size = snapshot_files.write(saved, file)
    except InputError as error:
        raise Failure(str(error)) from None
    count = sum(saved.kinds().values())
    note(f"{file}: {count} objects, {size} bytes, digest {saved.digest[:12]}")
    return 0


def _recorded(path: Path | None, decision: str) -> Saved:
    if path is None:
        raise Failure("there is no journal here; name it with --journal FILE")
    try:
        with Journal.open(path, read_only=True) as journal:
            if decision in ("", "last"):
                kept = journal.records(limit=1_000_000)
                if not kept:
                    raise Failure(f"{path} holds no decisions yet")
                record = kept[-1].id
            else:
                entries = journal.entries(decision=decision, limit=1)
                if not entries:
                    raise Failure(f"there is no decision {decision!r} in {path}; `aliquot explain` shows ids")
                record = entries[0].record
            found = journal.recorded(record)
    except JournalError as error:
        raise Failure(str(error)) from None
    if found is None:
        raise Failure(f"the snapshot of decision {decision} is not kept any more; newer ones are")
    return Saved(snapshot=found.snapshot, time=found.time, policy=found.policy, plan=found.plan)


@snapshot.command(
    epilog="Exit status: 0 shown, 1 deciding again gives another plan than the saved one, 2 error."
)
@click.argument("file", type=FILE, required=False)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
@target_options
def show(file: Path | None, output: str, kubeconfig: str, context: str) -> int:
    """Show what a saved snapshot holds, or the cluster itself without FILE.

    The decision is made again: it must come to the saved plan, byte for byte.
    """
    if file is None:
        seen = asyncio.run(cluster.snapshot(Target(kubeconfig, context)))
        saved = Saved(snapshot=seen, time=datetime.now(UTC), policy=Policy())
    else:
        saved = load(file)
    found = _document(saved)
    if output != "text":
        write_document(found, output)
    else:
        _print(found)
    return 1 if found["replay"] == "different" else 0


def load(file: Path) -> Saved:
    """Read a saved snapshot. Raises Failure."""
    try:
        return snapshot_files.read(file)
    except InputError as error:
        raise Failure(str(error)) from None


def _document(saved: Saved) -> dict[str, Any]:
    plan = decide(saved.snapshot, saved.policy, saved.time)
    report = Report.of(saved.snapshot, plan, saved.policy)
    total = report.devices.total
    states = [item.status for item in report.workloads.workloads]
    if saved.plan is None:
        replay = "none"
    else:
        replay = "same" if encode_json(saved.plan) == encode_json(plan) else "different"
    return {
        "apiVersion": API_VERSION,
        "kind": "SnapshotSummary",
        "time": saved.time.isoformat(),
        "aliquot": saved.aliquot,
        "digest": saved.digest,
        "objects": saved.kinds(),
        "nodes": len(saved.snapshot.nodes),
        "devices": total.total,
        "devicesAllocated": str(total.allocated),
        "queues": len(saved.snapshot.queues),
        "workloads": {status.value.lower(): states.count(status) for status in Status if status in states},
        "decisions": len(plan.decisions),
        "replay": replay,
    }


_REPLAYS = {
    "none": "no plan was saved with it",
    "same": "the saved plan, byte for byte",
    "different": "another plan than the saved one: it was made by another version, or edited",
}


def _print(found: dict[str, Any]) -> None:
    used = amounts.used_of(Fraction(found["devicesAllocated"]), found["devices"])
    workloads = ", ".join(f"{count} {status}" for status, count in found["workloads"].items()) or "none"
    pairs = (
        ("time", found["time"]),
        ("version", f"aliquot {found['aliquot'] or 'unknown'}"),
        ("digest", found["digest"][:12]),
        ("nodes", str(found["nodes"])),
        ("devices", f"{used} allocated"),
        ("queues", str(found["queues"])),
        ("workloads", workloads),
        ("decisions", str(found["decisions"])),
        ("replay", _REPLAYS[found["replay"]]),
    )
    for key, value in pairs:
        click.echo(f"{key:<11}{value}")
    click.echo("objects")
    width = max((len(str(count)) for count in found["objects"].values()), default=1)
    for kind, count in found["objects"].items():
        click.echo(f"  {count:>{width}} {kind}")
