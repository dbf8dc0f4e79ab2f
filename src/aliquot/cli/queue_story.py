"""Everything there is to say about one queue: its fair share term by term, and who could take from whom."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aliquot.cli.output import API_VERSION
from aliquot.cli.queue_tables import share_terms, text
from aliquot.inventory.amounts import amount, percent
from aliquot.inventory.queues import QueueState
from aliquot.inventory.report import Report
from aliquot.queues.amounts import UNIT, Amount
from aliquot.queues.held import Ground, Refusal
from aliquot.queues.shares import FairShare, Surplus
from aliquot.queues.tree import GPU
from aliquot.scheduling.session import Session
from aliquot.scheduling.standings import Claimable, Rights, rights

WIDTH = 80
MOST_QUEUES = 12
MOST_ROUNDS = 6


class QueueStory(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. path: the queue and those above it, the top first. rights: None for a queue that cannot be
    used."""

    queue: QueueState
    path: tuple[QueueState, ...]
    below: tuple[str, ...]
    rights: Rights | None


def queue_story(report: Report, session: Session, name: str) -> QueueStory | None:
    """What is known of a queue; None if there is none of that name."""
    by_name = {queue.name: queue for queue in report.queues.queues}
    queue = by_name.get(name)
    if queue is None:
        return None
    return QueueStory(
        queue=queue,
        path=tuple(by_name[step] for step in reversed(session.tree.path(name))) or (queue,),
        below=session.tree.children(name),
        rights=None if queue.problem else rights(session, name),
    )


def document(told: QueueStory) -> dict[str, Any]:
    """The story for programs."""
    queue, found = told.queue, told.rights
    return {
        "apiVersion": API_VERSION,
        "kind": "QueueExplanation",
        "name": queue.name,
        "path": [step.name for step in told.path],
        "children": list(told.below),
        "priority": queue.priority,
        "running": queue.running,
        "waiting": queue.waiting,
        "problem": queue.problem,
        "resources": [
            {"name": item.name, **share_terms(item.terms)}
            for item in queue.resources
            if item.terms is not None
        ],
        "mayTakeFrom": [_claimable(item) for item in found.takes] if found is not None else [],
        "mayBeTakenFromBy": [_claimable(item) for item in found.gives] if found is not None else [],
        "refusal": _refused(found.refusal) if found is not None else None,
    }


def _claimable(item: Claimable) -> dict[str, Any]:
    return {
        "queue": item.queue,
        "held": text(item.held),
        "allocatable": text(item.allocatable),
        "wanted": text(item.wanted),
    }


def _refused(refusal: Refusal | None) -> dict[str, str] | None:
    if refusal is None:
        return None
    return {"ground": refusal.ground.value, "queue": refusal.queue, "resource": refusal.resource}


def lines(told: QueueStory) -> Iterable[str]:
    """The story for people, without colour."""
    queue = told.queue
    yield f"queue/{queue.name} {_headline(queue)}"
    yield ""
    pairs = [("path", " > ".join(step.name for step in told.path))]
    if told.below:
        pairs.append(("below it", ", ".join(told.below)))
    pairs += [
        ("priority", str(queue.priority)),
        ("workloads", f"{queue.running} running, {queue.waiting} waiting"),
    ]
    for key, value in pairs:
        yield from _wrapped(f"{key:<11}{value}", 2, 13)
    for resource in queue.resources:
        if resource.terms is not None:
            yield ""
            yield f"Fair share of {resource.name}"
            yield from _terms(resource.terms, told.path)
    if told.rights is not None:
        yield from _rights(told.rights, waits=bool(queue.resource(GPU).wanted))


def _headline(queue: QueueState) -> str:
    if queue.problem:
        return f"cannot be used: {queue.problem}."
    gpu = queue.resource(GPU)
    if gpu.terms is None:
        return f"holds {amount(gpu.used)} gpu."
    held, share = gpu.terms.allocated, gpu.terms.share
    if held > share:
        return f"holds {amount(held)} gpu, {amount(held - share)} more than its fair share."
    if held < share:
        return f"holds {amount(held)} gpu, {amount(share - held)} less than its fair share."
    return f"holds its fair share, {amount(held)} gpu."


def _terms(terms: FairShare, path: Sequence[QueueState]) -> Iterable[str]:
    above = path[-2].name if len(path) > 1 else ""
    whose = f"what queue {above} has for those below it" if above else "what the cluster has"
    rows = [
        ("", amount(terms.total), whose),
        ("", _bound(terms.quota), "quota"),
        ("", _bound(terms.limit), "limit"),
        ("", amount(terms.allocated), "held"),
        ("", amount(terms.pending), "wanted by work that waits"),
        ("", amount(terms.requestable), "asked for, within the limit"),
        ("", amount(terms.guaranteed), "guaranteed: the quota, as far as it is asked for"),
    ]
    rounds = terms.surplus
    rows += [("+", amount(item.given), _round(item, terms)) for item in rounds[:MOST_ROUNDS]]
    if len(rounds) > MOST_ROUNDS:
        rest: Amount = sum((item.given for item in rounds[MOST_ROUNDS:]), 0)
        rows.append(("+", amount(rest), f"in {len(rounds) - MOST_ROUNDS} further rounds"))
    rows += [
        ("=", amount(terms.share), "fair share"),
        ("", _bound(terms.allocatable), "may be held without others having a claim on it"),
    ]
    width = max(len(value) for _, value, _ in rows)
    for sign, value, meaning in rows:
        yield from _wrapped(f"{sign:1} {value:>{width}}  {meaning}", 2, width + 6)


def _bound(value: Amount | None) -> str:
    return "none" if value is None else amount(value)


def _round(item: Surplus, terms: FairShare) -> str:
    if item.rest:
        return f"of {amount(item.over)} left by rounding"
    past = f", past use {percent(terms.usage, UNIT)}" if terms.usage else ""
    part = amount(item.part * UNIT)
    return f"of {amount(item.over)} over: part {part} (weight {terms.weight} of {terms.weights}{past})"


def _rights(found: Rights, *, waits: bool) -> Iterable[str]:
    yield ""
    yield "May take from"
    if not waits:
        yield "  nobody: nothing waits in it"
    elif found.refusal is not None:
        yield from _wrapped(f"nobody: {refused(found.refusal)}", 2, 4)
    else:
        yield from _queues(found.takes, "nobody: no other queue holds more than it is entitled to")
    yield ""
    yield "May be taken from by"
    yield from _queues(found.gives, "nobody that waits")


def refused(refusal: Refusal) -> str:
    """Why a queue may take from nobody."""
    of = f" of {refusal.resource}" if refusal.resource else ""
    if refusal.ground is Ground.OVER_QUOTA:
        return f"work that cannot be preempted would hold more than its quota{of}"
    return f"with one accelerator more it would hold more than its fair share{of}"


def _queues(found: Sequence[Claimable], nobody: str) -> Iterable[str]:
    if not found:
        yield from _wrapped(nobody, 2, 4)
    for item in found[:MOST_QUEUES]:
        bound = f" of {amount(item.allocatable)} that it may" if item.allocatable is not None else ""
        waits = f", waits for {amount(item.wanted)}" if item.wanted else ""
        yield from _wrapped(f"{item.queue}: holds {amount(item.held)} gpu{bound}{waits}", 2, 4)
    if len(found) > MOST_QUEUES:
        yield f"  and {len(found) - MOST_QUEUES} more (-o json lists all)"


def _wrapped(line: str, indent: int, hanging: int) -> Iterable[str]:
    yield from textwrap.wrap(
        line,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
