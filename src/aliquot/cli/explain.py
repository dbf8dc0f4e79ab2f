"""`aliquot explain`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.cli import expected, queue_story, story, workload_names
from aliquot.cli.cluster import Target, snapshot, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.journals import journal_beside, journal_option
from aliquot.cli.output import coloured, note, write_document
from aliquot.cli.printable import printable
from aliquot.cli.workload_names import KindError, Named, workloads_named
from aliquot.inventory.owners import workload_name
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.decide import decide, opened
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import Standings
from aliquot.store.database import JournalError
from aliquot.store.entries import Entry
from aliquot.store.journal import Journal

HISTORY = 12
MOST_NAMES = 20

_QUEUES = ("queue", "queues", "aq")


@click.command(
    short_help="Say why a workload waits or runs where it runs, or what a queue is entitled to.",
    epilog="Exit status: 0 it does not wait, or is a queue; 1 it waits; 2 error, also when it is not there.",
)
@click.argument("what", metavar="KIND/NAME")
@click.option("-n", "--namespace", default="", help="Its namespace; that of the context if left out.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
@journal_option
@expected.expect_options
@target_options
def explain(
    what: str,
    namespace: str,
    output: str,
    journal_file: Path | None,
    expect: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Explain one workload (job/NAME, pod/NAME, lws/NAME, pytorchjob/NAME ...) or a queue (queue/NAME).

    What is decided now is decided anew, by the controller's own code, on the cluster as it is; what was
    decided before comes from the journal. A pod of a gang stands for its gang, and what owns pods (a
    Deployment, a RayJob, an InferenceService) for the workloads that they are; the first that waits is told.
    Of a queue its fair share is told term by term.
    """
    kind, _, name = what.partition("/")
    if not what or what.endswith("/"):
        raise Failure(f"{what!r} names nothing to explain; write job/training, or queue/research")
    target = Target(kubeconfig, context)
    if name and kind.lower() in _QUEUES:
        return _queue(target, name, output)
    try:
        wanted = workload_names.parse(what)
    except KindError as error:
        raise Failure(f"there is nothing to explain of kind {error.kind!r}; {error.fix}") from None
    namespace = namespace or target.connection().namespace or "default"
    now = datetime.now(UTC)
    told = _tell(target, wanted, namespace, now, journal_file, expect=expect)
    if output == "text":
        text = map(printable, story.lines(told, now))
        for line in story.coloured_lines(text) if coloured() else text:
            click.echo(line)
    else:
        write_document(story.document(told), output)
    return 1 if told.state is not None and told.state.status is Status.WAITING else 0


def _queue(target: Target, name: str, output: str) -> int:
    policy, memory, now = Policy(), Memory(), datetime.now(UTC)
    seen = asyncio.run(snapshot(target))
    plan = decide(seen, policy, now, memory=memory)
    session = opened(seen, policy, now, memory)
    report = Report.of(seen, plan, policy, standings=Standings.of(session))
    told = queue_story.queue_story(report, session, name)
    if told is None:
        known = ", ".join(queue.name for queue in report.queues.queues[:MOST_NAMES]) or "there is none"
        raise Failure(f"there is no queue {name!r}; queues are {known}")
    if output != "text":
        write_document(queue_story.document(told), output)
        return 0
    text = map(printable, queue_story.lines(told))
    for line in story.coloured_lines(text) if coloured() else text:
        click.echo(line)
    return 0


def _tell(
    target: Target,
    wanted: Named,
    namespace: str,
    now: datetime,
    journal_file: Path | None,
    *,
    expect: bool,
) -> story.Story:
    policy = Policy()
    seen = asyncio.run(snapshot(target))
    plan = decide(seen, policy, now)
    report = Report.of(seen, plan, policy)
    found = workloads_named(report, wanted, namespace)
    if len(found) > 1:
        others = ", ".join(workload_name(state.ref) for state in found[1:MOST_NAMES])
        more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
        note(f"note: it has {len(found)} workloads; the others are {others}{more}")
    ref = found[0].ref if found else ObjectRef(kind=wanted.kind, namespace=namespace, name=wanted.name)
    history = _history(target, ref, journal_file)
    if not found:
        if not history:
            raise Failure(_missing(report, wanted, namespace))
        return story.story(report, history[-1].decision.workload, (), history)
    listener = story.Listener(ref)
    decide(seen, policy, now, observer=listener)
    starts = None
    if expect and found[0].status is Status.WAITING:
        journal = journal_file or journal_beside(target)
        starts = expected.of(expected.look_ahead(seen, policy, now, journal), ref)
    return story.story(report, ref, listener.facts, history, starts, listener.taking)


def _missing(report: Report, wanted: Named, namespace: str) -> str:
    kind = f"{wanted.kind.lower()}/" if wanted.kind else ""
    others = sorted(
        {state.ref.namespace for state in report.workloads.workloads if state.ref.name == wanted.name}
        | {
            pod.namespace
            for state in report.workloads.workloads
            for pod in state.pods
            if pod.name == wanted.name
        }
    )
    if others:
        return (
            f"there is no {kind}{wanted.name} in namespace {namespace}; "
            f"there is one in {', '.join(others)}: add -n {others[0]}"
        )
    return (
        f"there is no {kind}{wanted.name} in namespace {namespace} that Aliquot has to do with; "
        "`aliquot get workloads -A` lists those that there are"
    )


def _history(target: Target, ref: ObjectRef, journal_file: Path | None) -> tuple[Entry, ...]:
    path = journal_file or journal_beside(target)
    if path is None:
        return ()
    try:
        with Journal.open(path, read_only=True) as journal:
            bare = ObjectRef(kind=ref.kind, namespace=ref.namespace, name=ref.name)
            found = journal.entries(workload=bare, limit=HISTORY)
            if not found and ref.kind in ("", "Pod"):
                found = journal.entries(pod=(ref.namespace, ref.name), limit=HISTORY)
            return found
    except JournalError as error:
        if journal_file is not None:
            raise Failure(str(error)) from None
        note(f"note: {error}")
        return ()
