"""`aliquot replay`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from aliquot.cli import snapshot
from aliquot.cli.cluster import Target
from aliquot.cli.failures import Failure
from aliquot.cli.journals import journal_beside, journal_option
from aliquot.cli.output import API_VERSION, note, say, write_document
from aliquot.inventory.decisions import told
from aliquot.model.kinds import encode_json, plain
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Decision, Plan
from aliquot.store.database import JournalError
from aliquot.store.entries import Recorded
from aliquot.store.journal import Journal


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A workload about which the recorded and the repeated decision differ; None: only the other has it."""

    workload: str
    recorded: Decision | None
    repeated: Decision | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One record, decided again."""

    recorded: Recorded
    differences: tuple[Difference, ...]


def replayed(recorded: Recorded) -> Replayed:
    """Decide again from the recorded snapshot, policy and time, and compare the two plans byte by byte."""
    repeated = decide(recorded.snapshot, recorded.policy, recorded.time)
    return Replayed(recorded=recorded, differences=_differences(recorded.plan, repeated))


def _differences(recorded: Plan, repeated: Plan) -> tuple[Difference, ...]:
    if encode_json(recorded) == encode_json(repeated):
        return ()
    before = {str(item.workload): item for item in recorded.decisions}
    after = {str(item.workload): item for item in repeated.decisions}
    found = [
        Difference(workload=name, recorded=before.get(name), repeated=after.get(name))
        for name in dict.fromkeys((*before, *after))
        if encode_json(before.get(name)) != encode_json(after.get(name))
    ]
    if not found:
        order = "the order of the decisions"
        found = [Difference(workload=order, recorded=None, repeated=None)]
    return tuple(found)


@click.command(
    short_help="Make recorded decisions again and compare.",
    epilog="Exit status: 0 the same plans, 1 differences, 2 error.",
)
@click.argument("decision", default="")
@journal_option
@click.option("--all", "every", is_flag=True, help="Replay everything that is kept; the newest if left out.")
@click.option("--check", is_flag=True, help="Also check the whole journal for damage.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
def replay(decision: str, journal_file: Path | None, every: bool, check: bool, output: str) -> int:
    """Decide again from recorded snapshots: the same snapshot, policy and time give the same plan.

    DECISION is the id of a decision (as `explain` shows it), or the file of a saved snapshot; without it the
    newest record is replayed.
    """
    if decision and Path(decision).is_file():
        return _shown([replayed(_saved(Path(decision)))], output)
    path = journal_file or journal_beside(Target())
    if path is None:
        raise Failure("there is no journal here; name it with --journal FILE")
    try:
        with Journal.open(path, read_only=True) as journal:
            problems = journal.problems() if check else ()
            results = []
            for record in _records(journal, decision, every=every):
                found = journal.recorded(record)
                if found is None:
                    raise Failure(f"{path}: record {record} is not kept any more")
                results.append(replayed(found))
    except JournalError as error:
        raise Failure(str(error)) from None
    for problem in problems:
        note(f"error: {path}: {problem}")
    status = _shown(results, output)
    return 2 if problems else status


def _shown(results: list[Replayed], output: str) -> int:
    if output == "text":
        _print(results)
    else:
        write_document(_document(results), output)
    return 1 if any(result.differences for result in results) else 0


def _saved(file: Path) -> Recorded:
    saved = snapshot.load(file)
    if saved.plan is None:
        raise Failure(f"{file}: plan: there is none to compare with; save it with `aliquot snapshot save`")
    return Recorded(
        id=0,
        time=saved.time,
        snapshot_digest=saved.digest,
        snapshot=saved.snapshot,
        policy=saved.policy,
        plan=saved.plan,
    )


def _records(journal: Journal, decision: str, *, every: bool) -> list[int]:
    kept = [info.id for info in journal.records(limit=1_000_000)]
    if decision:
        found = journal.entries(decision=decision, limit=1)
        if not found:
            raise Failure(f"there is no decision {decision!r} in {journal.path}; `aliquot explain` shows ids")
        if found[0].record not in kept:
            raise Failure(f"the snapshot of decision {decision} is not kept any more; newer ones are")
        return [found[0].record]
    if not kept:
        raise Failure(f"{journal.path} holds no decisions yet")
    return kept if every else kept[-1:]


def _print(results: list[Replayed]) -> None:
    for result in results:
        recorded = result.recorded
        count = len(recorded.plan.decisions)
        verdict = "same plan" if not result.differences else f"{len(result.differences)} differences"
        digest = recorded.snapshot_digest[:12]
        click.echo(
            f"record {recorded.id}  {recorded.time:%Y-%m-%d %H:%M:%SZ}  snapshot {digest}"
            f"  {count} decision{'s' if count != 1 else ''}: {verdict}"
        )
        for difference in result.differences:
            say(f"  {difference.workload}")
            say(f"    recorded: {_told(difference.recorded)}")
            say(f"    repeated: {_told(difference.repeated)}")
    same = sum(1 for result in results if not result.differences)
    click.echo(f"{same}/{len(results)} records give the same plan")


def _told(decision: Decision | None) -> str:
    return "nothing" if decision is None else " ".join(told(decision))


def _document(results: list[Replayed]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Replay",
        "same": sum(1 for result in results if not result.differences),
        "items": [
            {
                "record": result.recorded.id,
                "time": result.recorded.time.isoformat(),
                "snapshot": result.recorded.snapshot_digest,
                "decisions": len(result.recorded.plan.decisions),
                "differences": [plain(difference) for difference in result.differences],
            }
            for result in results
        ],
    }
