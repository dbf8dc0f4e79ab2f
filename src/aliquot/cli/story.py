"""Everything there is to say about one workload, as data and as text of 80 columns."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from aliquot.cli import expected
from aliquot.cli.output import API_VERSION
from aliquot.cli.tables import reference
from aliquot.inventory import amounts
from aliquot.inventory.decisions import told
from aliquot.inventory.devices import DeviceState, Holder, PartState
from aliquot.inventory.owners import workload_name
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status, WorkloadState
from aliquot.model.kinds import plain
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Fact
from aliquot.scheduling.asking_why import OneWorkload
from aliquot.scheduling.taking_wording import taking_sentences
from aliquot.scheduling.wording import paragraph, sentence
from aliquot.simulation.expecting import Range
from aliquot.store.entries import Entry

WIDTH = 80
MOST_DEVICES = 16
MOST_NODES = 8

NodeFact = tuple[str, str, Fact]
"""(pod, node, what fell there)."""


class Listener(OneWorkload):
    """An observer of `decide` that keeps why nodes fell for the pods of one workload, and why neither
    preemption nor consolidation helps it."""

    def __init__(self, workload: ObjectRef) -> None:
        super().__init__(workload)
        self.facts: list[NodeFact] = []

    def fell(self, workload: ObjectRef, pod: ObjectRef, node: str, fact: Fact) -> None:
        if workload == self._workload:
            self.facts.append((pod.name, node, fact))


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One workload. state: None when it is not in the cluster any more. history: oldest first.

    behind: how many workloads of its queue wait in all. taking: why neither preemption nor consolidation
    helps it.
    """

    ref: ObjectRef
    state: WorkloadState | None
    held: tuple[tuple[DeviceState, PartState, Holder], ...]
    nodes: tuple[NodeFact, ...]
    history: tuple[Entry, ...]
    behind: int = 0
    starts: Range | None = None
    taking: tuple[Fact, ...] = ()


def story(
    report: Report,
    ref: ObjectRef,
    nodes: Sequence[NodeFact],
    history: tuple[Entry, ...],
    starts: Range | None = None,
    taking: tuple[Fact, ...] = (),
) -> Story:
    """What a report and the journal know of a workload. starts: when it is expected to, if that was asked.
    taking: what an observer was told of preemption and consolidation."""
    state = next((item for item in report.workloads.workloads if item.ref == ref), None)
    held = tuple(
        (device, part, holder)
        for device in report.devices.devices
        for part in device.parts
        for holder in part.holders
        if state is not None and (holder.workload == ref or holder.claim in state.claims)
    )
    behind = sum(1 for item in report.workloads.waiting() if state is not None and item.queue == state.queue)
    return Story(
        ref=ref,
        state=state,
        held=held,
        nodes=tuple(nodes),
        history=history,
        behind=behind,
        starts=starts,
        taking=taking,
    )


def document(told_story: Story) -> dict[str, Any]:
    """The story for programs."""
    state = told_story.state
    verdict = (
        state.verdict if state is not None and (state.lacking or state.status is Status.WAITING) else None
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "Explanation",
        "workload": reference(told_story.ref),
        "status": state.status.value if state is not None else "Gone",
        "queue": state.queue if state is not None else "",
        "position": state.position if state is not None else 0,
        "podsReady": state.ready if state is not None else 0,
        "podsTotal": state.total if state is not None else 0,
        "podsWaiting": state.lacking if state is not None else 0,
        "nodes": list(state.nodes) if state is not None else [],
        "reason": verdict.reason.value if verdict is not None else "",
        "message": sentence(verdict) if verdict is not None else "",
        "fix": plain(verdict.fix) if verdict is not None and verdict.fix is not None else None,
        "facts": plain(verdict.facts) if verdict is not None else [],
        "taking": plain(told_story.taking) if verdict is not None else [],
        "leaving": [
            {"pod": item.pod.name, "verdict": plain(item.verdict), "message": sentence(item.verdict)}
            for item in (state.leaving if state is not None else ())
        ],
        "nodesFallen": [
            {"pod": pod, "node": node, "fact": plain(fact)} for pod, node, fact in told_story.nodes
        ],
        "expectedStart": expected.document(told_story.starts),
        "devices": [
            {
                "node": device.board.node,
                "device": part.part.name,
                "product": device.board.product,
                "mode": device.mode,
                "share": str(holder.share),
                "claim": reference(holder.claim),
            }
            for device, part, holder in told_story.held
        ],
        "history": [
            {
                "time": entry.time.isoformat(),
                "decision": entry.decision.id,
                "record": entry.record,
                "outcome": told(entry.decision)[0],
                "message": told(entry.decision)[1],
                "snapshot": entry.snapshot,
            }
            for entry in told_story.history
        ],
    }


def lines(told_story: Story, now: datetime) -> Iterable[str]:
    """The story for people, without colour."""
    state = told_story.state
    name = f"{workload_name(told_story.ref)} in namespace {told_story.ref.namespace}"
    if state is None:
        yield f"{name} is not in the cluster (any more)."
    else:
        yield from _wrapped(f"{name} {_headline(state)}", 0)
        yield ""
        if (state.lacking or state.status is Status.WAITING) and state.verdict is not None:
            taking = taking_sentences(told_story.taking)
            yield from _wrapped(" ".join((paragraph(state.verdict), *taking)), 2)
            yield ""
        yield from _leaving(state)
        yield from _facts(told_story, state, now)
        yield from _devices(told_story.held)
        yield from _fallen(told_story.nodes)
    yield from _history(told_story.history)


def _leaving(state: WorkloadState) -> Iterable[str]:
    """Which of its pods have to leave, and why: those with one reason together."""
    by_text: dict[str, list[str]] = {}
    for item in state.leaving:
        by_text.setdefault(paragraph(item.verdict), []).append(item.pod.name)
    for text, pods in by_text.items():
        more = f" and {len(pods) - MOST_NODES} more" if len(pods) > MOST_NODES else ""
        yield from _wrapped(f"{', '.join(pods[:MOST_NODES])}{more}: {text}", 2)
        yield ""


def _headline(state: WorkloadState) -> str:
    where = f" on {', '.join(state.nodes[:4])}" if state.nodes else ""
    if len(state.nodes) > 4:
        where += f" and {len(state.nodes) - 4} more nodes"
    match state.status:
        case Status.WAITING:
            reason = state.verdict.reason.value if state.verdict is not None else "not decided yet"
            return f"waits: {reason}."
        case Status.PLACED:
            return f"has its place{where}; its pods are not bound yet."
        case Status.STARTING:
            return f"starts{where}."
        case Status.RUNNING if state.leaving:
            return f"runs{where} and has to leave: {state.leaving[0].verdict.reason.value}."
        case Status.RUNNING if state.lacking and state.verdict is not None:
            rest = "1 more pod waits" if state.lacking == 1 else f"{state.lacking} more pods wait"
            return f"runs{where}; {rest}: {state.verdict.reason.value}."
        case Status.RUNNING:
            return f"runs{where}."
        case Status.TERMINATING:
            return "is being deleted."
        case Status.SUCCEEDED:
            return "has finished."
    return "has failed."


def _facts(told_story: Story, state: WorkloadState, now: datetime) -> Iterable[str]:
    pairs = [("queue", state.queue or "none (its namespace is not managed, or names none)")]
    if told_story.starts is not None:
        pairs.append(("starts", expected.sentence(told_story.starts)))
    if state.position:
        pairs.append(("position", f"{state.position} of {told_story.behind} in its queue"))
    pairs += [
        ("pods", f"{state.ready}/{state.total} running"),
        ("priority", str(state.priority)),
        ("age", amounts.age(state.created, now)),
    ]
    if state.decision:
        pairs.append(("decision", state.decision))
    for key, value in pairs:
        yield f"  {key:<10}{value}"


def _devices(held: Sequence[tuple[DeviceState, PartState, Holder]]) -> Iterable[str]:
    if not held:
        return
    yield ""
    yield "Devices"
    for device, part, holder in held[:MOST_DEVICES]:
        share = "" if holder.share == 1 else f", {amounts.fraction(holder.share)} of it"
        profile = f" {part.part.profile}" if part.part.profile else ""
        claim = f", claim {holder.claim.name}" if holder.claim is not None else ""
        what = f"{device.board.product}{profile}, {device.mode}{share}{claim}"
        yield from _wrapped(f"{device.board.node} {part.part.name}: {what}", 2)
    if len(held) > MOST_DEVICES:
        yield f"  and {len(held) - MOST_DEVICES} more (-o json lists all)"


def _fallen(nodes: Sequence[NodeFact]) -> Iterable[str]:
    if not nodes:
        return
    by_test: dict[tuple[str, str], list[str]] = {}
    for _, node, fact in nodes:
        by_test.setdefault((fact.test, fact.subject), []).append(node)
    yield ""
    yield f"Nodes looked at: {len({node for _, node, _ in nodes})}"
    for (test, subject), found in sorted(by_test.items(), key=lambda item: -len(item[1])):
        names = list(Counter(found))
        shown = ", ".join(names[:MOST_NODES]) + (
            f" and {len(names) - MOST_NODES} more" if len(names) > MOST_NODES else ""
        )
        yield from _wrapped(f"{len(names)} fell at {test}{f' ({subject})' if subject else ''}: {shown}", 2)


def _history(history: Sequence[Entry]) -> Iterable[str]:
    if not history:
        return
    yield ""
    yield "History"
    for entry in history:
        outcome, text = told(entry.decision)
        local = entry.time.astimezone(UTC)
        yield from _wrapped(f"{local:%Y-%m-%d %H:%M:%SZ}  {outcome:<9} {text} [{entry.decision.id}]", 2, 24)


def _wrapped(text: str, indent: int, hanging: int | None = None) -> Iterable[str]:
    blank = " " * indent
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=blank,
        subsequent_indent=" " * (hanging if hanging is not None else indent + (2 if indent else 0)),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [blank]


def coloured_lines(text: Iterable[str]) -> Iterable[str]:
    """Headings bold, what waits yellow, what runs green."""
    for number, line in enumerate(text):
        if number == 0:
            waits = " waits" in line
            yield click.style(line, bold=True, fg="yellow" if waits else "green")
        elif line and not line.startswith(" "):
            yield click.style(line, bold=True)
        else:
            yield line
