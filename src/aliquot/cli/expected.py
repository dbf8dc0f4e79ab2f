"""Expected starts on the command line: from a cluster and, where there is one, its controller's journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from aliquot.cli import journals
from aliquot.cli.failures import Failure
from aliquot.cli.looking_back import MOST_NODES as MOST_NODES
from aliquot.cli.looking_back import look_back
from aliquot.cli.output import Column, Row, Table, note, working
from aliquot.inventory import amounts
from aliquot.inventory.owners import workload_name
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.policy import Policy
from aliquot.simulation.adoption import adopt
from aliquot.simulation.changes import Scenario
from aliquot.simulation.expecting import Range, Terms, WorkloadKey, expected_starts, key_of
from aliquot.simulation.margins import Foretold
from aliquot.simulation.objects import FormError
from aliquot.simulation.past_work import Past, RunTimes, hints
from aliquot.simulation.settings import Settings
from aliquot.store.database import JournalError
from aliquot.traces import recorded
from aliquot.traces.errors import TraceError
from aliquot.traces.recorded import read_journal

POD_START_SECONDS = 20
SOON_SECONDS = 60
"""What starts within that is said not to wait."""
COLUMN = Column(title="STARTS IN", key="startsIn")
"""The column of expected starts."""

Expected = Mapping[WorkloadKey, Range]
Command = TypeVar("Command", bound=Callable[..., object])


def expect_options(command: Command) -> Command:
    """The option --expect."""
    return click.option(
        "--expect",
        is_flag=True,
        help="Also show from when to when what waits may start; it is simulated ahead for this.",
    )(command)


def journal_option(command: Command) -> Command:
    """The option --journal of commands that need one for nothing else."""
    return journals.journal_option(
        command,
        "With --expect: the controller's journal, which tells how long work has run; beside the "
        "kubeconfig or in .aliquot if left out.",
    )


def look_ahead(
    snapshot: Snapshot, policy: Policy, now: datetime, journal: Path | None, terms: Terms | None = None
) -> Expected:
    """From when to when what waits may start. journal: what has run before is taken from. Raises Failure."""
    past: Sequence[Past] = ()
    before: Sequence[Foretold] = ()
    settings = Settings(start=now, pod_start_seconds=POD_START_SECONDS, sample_seconds=0)
    scenario = Scenario(snapshot=snapshot, policy=policy, settings=settings)
    with working("Reading what has run before") as tell:
        try:
            if journal is not None:
                journaled = read_journal(journal)
                past = history(journaled, snapshot, policy, now)
                before = look_back(journal, journaled, now, settings, terms or Terms(), tell)
            tell("Simulating ahead")
            found = expected_starts(scenario, past, terms, before)
        except (JournalError, TraceError, FormError) as error:
            raise Failure(str(error)) from None
    if any(item.latest is None for item in found.values()):
        unknown = _unknown(snapshot, policy, now, past)
        if unknown:
            told = "1 workload that runs" if unknown == 1 else f"{unknown} workloads that run"
            note(
                f"note: nothing is known of how long {told} will go on; "
                "say it with the annotation aliquot.dev/expected-seconds"
            )
    return found


def history(found: recorded.Past, snapshot: Snapshot, policy: Policy, now: datetime) -> list[Past]:
    """What a journal tells of the workloads before, and the cluster of what still runs."""
    running = {key_of(item): item.worked_seconds for item in adopt(snapshot, now, policy)}
    shift = round((found.start - now).total_seconds())
    return [
        msgspec.structs.replace(
            item,
            submitted=item.submitted + shift,
            worked_seconds=max(item.worked_seconds, running.get(key_of(item.workload), 0)),
        )
        for item in found.history
        if item.submitted + shift <= 0
    ]


def _unknown(snapshot: Snapshot, policy: Policy, now: datetime, past: Iterable[Past]) -> int:
    """Of how many running workloads nothing is known."""
    running = [item for item in adopt(snapshot, now, policy, lambda gang: None) if item.started is not None]
    run_times = RunTimes(past)
    told = hints(running, snapshot)
    return sum(run_times.at(item, hint, 0.5) is None for item, hint in zip(running, told, strict=True))


def of(expected: Expected | None, ref: ObjectRef) -> Range | None:
    """The range of a workload, None where none was asked for or it does not wait."""
    return expected.get((ref.kind, ref.namespace, ref.name)) if expected is not None else None


def cell(found: Range | None) -> str:
    """For a table: 5m-2h, >5m, not in 24h."""
    if found is None:
        return amounts.NONE
    if found.earliest is None:
        return f">{amounts.duration(found.ahead)}"
    early = amounts.duration(found.earliest)
    if found.latest is None:
        return f">{early}" if found.earliest else "unknown"
    late = amounts.duration(found.latest)
    return early if early == late else f"{early}-{late}"


def sentence(found: Range) -> str:
    """For a story: in 5m to 2h."""
    if found.earliest is None:
        return f"not within {amounts.duration(found.ahead)}"
    early = amounts.duration(found.earliest)
    if found.latest is None:
        part = f"in {found.starts} of {found.futures} simulated futures"
        return f"in {early} or later ({part} within {amounts.duration(found.ahead)})"
    return f"in {early} to {amounts.duration(found.latest)}"


def table(expected: Expected) -> Table:
    """One row for each workload that does not start at once, in the order of when it may."""
    order = sorted(expected.items(), key=lambda item: (_last(item[1]), item[0]))
    return Table(
        kind="ExpectedStartList",
        columns=(
            Column(title="NAMESPACE", key="namespace", least=9),
            Column(title="WAITS", key="workload", least=16),
            COLUMN,
        ),
        rows=tuple(
            Row(
                cells=(namespace, workload_name(ref), cell(found)),
                item={"kind": kind, "namespace": namespace, "name": name, "expectedStart": document(found)},
                name=workload_name(ref),
            )
            for (kind, namespace, name), found in order
            if found.middle is None or found.middle.seconds > SOON_SECONDS
            for ref in (ObjectRef(kind=kind, namespace=namespace, name=name),)
        ),
    )


def _last(found: Range) -> tuple[int, int]:
    late = found.ahead if found.latest is None else found.latest
    return (late, found.ahead if found.earliest is None else found.earliest)


def document(found: Range | None) -> dict[str, Any] | None:
    """For programs; seconds from now."""
    if found is None:
        return None
    return {
        "earliestSeconds": found.earliest,
        "latestSeconds": found.latest,
        "futures": found.futures,
        "starts": found.starts,
        "aheadSeconds": found.ahead,
    }
