"""Attempts to allocate and matches of a selector as tables, documents and paragraphs for people."""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from aliquot.cel.errors import CompileError, Position
from aliquot.cli.dra_attempts import Attempt
from aliquot.cli.output import API_VERSION, Column, Row, Table
from aliquot.dra.outcome import Allocated, BudgetExceeded, Fall, Invalid, Unallocatable
from aliquot.model.kinds import plain
from aliquot.model.resource import DeviceRequestAllocationResult

WIDTH = 80
MOST_POOLS = 5
"""How many unusable pools are told one by one."""

_COLUMNS = (
    Column(title="CLAIM", key="claim", least=16),
    Column(title="REQUEST", key="request", drop=1),
    Column(title="NODE", key="node", least=12),
    Column(title="DEVICE", key="device", least=14),
    Column(title="DRIVER", key="driver", wide=True),
    Column(title="POOL", key="pool", wide=True),
    Column(title="CONSUMED", key="consumed", wide=True),
)

_SENTENCES = {
    "selector": "{count} do not match the selectors",
    "selectorError": "{count} cannot be judged by the selectors: {detail}",
    "binding": "{count} need binding conditions, which this version does not know",
    "taint": "{count} have a taint that the request does not tolerate",
    "capacity": "{count} have less capacity (left) than is asked for",
    "inUse": "{count} are in use",
    "counters": "{count} draw on shared counters that are used up",
    "constraint": "{count} are in no group that is large enough and agrees in {detail}",
    "combination": "each request can be served alone, but not all of them together",
}


def allocation_table(attempts: Sequence[Attempt]) -> Table:
    """One row for every device given to a claim; what is not served is in `paragraphs`."""
    rows = [row for attempt in attempts for row in _rows(attempt)]
    return Table(kind="AllocationList", columns=_COLUMNS, rows=tuple(rows))


def _rows(attempt: Attempt) -> Iterator[Row]:
    if not isinstance(attempt.outcome, Allocated):
        return
    for claim, allocation in zip(attempt.claims, attempt.outcome.results, strict=True):
        name = _full(claim.key)
        for result in allocation.devices.results:
            cells = (
                name,
                result.request,
                attempt.node,
                result.device if result.pool == attempt.node else f"{result.pool}/{result.device}",
                result.driver,
                result.pool,
                _consumed(result),
            )
            yield Row(cells=cells, item={}, name=f"resourceclaim/{claim.name}")


def _consumed(result: DeviceRequestAllocationResult) -> str:
    if result.admin_access:
        return "nothing (admin access)"
    return ", ".join(f"{name}={amount}" for name, amount in sorted(result.consumed_capacity.items()))


def _full(key: tuple[str, str]) -> str:
    return "/".join(filter(None, key))


def allocation_document(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """The attempts for programs."""
    served = sum(len(each.claims) for each in attempts if isinstance(each.outcome, Allocated))
    return {
        "apiVersion": API_VERSION,
        "kind": "AllocationList",
        "summary": {
            "claims": sum(len(each.claims) for each in attempts),
            "allocated": served,
        },
        "items": [_item(each) for each in attempts],
    }


def _item(attempt: Attempt) -> dict[str, Any]:
    told: dict[str, Any] = {
        "claims": [{"namespace": each.metadata.namespace, "name": each.name} for each in attempt.claims],
        "pod": attempt.pod,
        "nodes": attempt.nodes,
    }
    outcome = attempt.outcome
    match outcome:
        case Allocated():
            told |= {
                "outcome": "allocated",
                "node": attempt.node,
                "results": plain(outcome.results),
                "score": outcome.score,
            }
        case Unallocatable():
            told |= {
                "outcome": "unallocatable",
                "falls": plain(outcome.falls),
                "needs": plain(outcome.needs),
                "bestNode": attempt.other,
            }
        case Invalid():
            told |= {"outcome": "error", "error": outcome.problem, "path": outcome.path}
        case BudgetExceeded():
            told |= {"outcome": "error", "error": _stopped(outcome), "path": ""}
    return {**told, "steps": getattr(outcome, "steps", 0)}


def paragraphs(attempt: Attempt) -> Iterator[str]:
    """Why claims are not served, in lines of at most 80 characters."""
    outcome = attempt.outcome
    names = ", ".join(_full(claim.key) for claim in attempt.claims)
    subject = f"{attempt.pod} ({names})" if attempt.pod else names
    if isinstance(outcome, Allocated):
        return
    if isinstance(outcome, Invalid):
        path = f"{outcome.path}: " if outcome.path else ""
        yield from wrapped(f"{subject}: {path}{outcome.problem}")
        return
    if isinstance(outcome, BudgetExceeded):
        yield from wrapped(f"{subject}: {_stopped(outcome)}")
        return
    where = f"none of {attempt.nodes} nodes serves it" if attempt.nodes != 1 else "the node does not serve it"
    yield from wrapped(f"{subject}: {where}")
    if attempt.other:
        yield from wrapped(f"mode best would serve it on {attempt.other}", 2)
        return
    pools = [fall.detail for fall in outcome.falls if fall.test == "pool"]
    for detail in pools[:MOST_POOLS]:
        yield from wrapped(f"unusable pool {detail}", 2)
    if len(pools) > MOST_POOLS:
        yield f"  {len(pools) - MOST_POOLS} more pools are unusable"
    most = "at most " if attempt.nodes != 1 else ""
    for need in outcome.needs:
        yield from wrapped(
            f"{need.subject}: wants {need.wanted or 'all'}, {most}{need.free} free on a node", 2
        )
        for fall in outcome.falls:
            if fall.subject == need.subject:
                yield from wrapped(_told(fall), 4)
    for fall in outcome.falls:
        if fall.test != "pool" and fall.subject not in {need.subject for need in outcome.needs}:
            yield from wrapped(_told(fall), 2)


def _stopped(outcome: BudgetExceeded) -> str:
    return f"undecided: the search stopped after {outcome.steps} steps"


def _told(fall: Fall) -> str:
    return _SENTENCES.get(fall.test, "{count} fell: {detail}").format(count=fall.count, detail=fall.detail)


def wrapped(text: str, indent: int = 0) -> list[str]:
    """The text in lines of at most 80 characters, all but the first indented by two more."""
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    )


def compile_failure(error: CompileError, expression: str) -> str:
    """The faults of an expression, each with the line that it is in and a caret under the place."""
    summary = f": {error.summary}" if error.summary and not error.issues else ""
    lines = wrapped(f"the expression does not compile{summary}")
    for issue in error.issues:
        lines += wrapped(f"line {issue.line}, column {issue.column}: {issue.message}", 2)
        lines += excerpt(expression, Position(issue.line, issue.column))
    return "\n".join(lines)


def excerpt(expression: str, position: Position) -> list[str]:
    """The part of an expression's line that fits, and a caret under the column."""
    lines = expression.split("\n")
    if not 1 <= position.line <= len(lines):
        return []
    line = "".join(character if character.isprintable() else " " for character in lines[position.line - 1])
    column = min(position.column - 1, len(line))
    room = WIDTH - 4
    if cells(line) != len(line):
        # So that wide characters fit, too.
        room //= 2
    start = 0 if column < room - 6 else column - room // 2
    shown = line[start : start + room]
    if start:
        shown = "..." + shown[3:]
    if start + room < len(line):
        shown = shown[:-3] + "..."
    return [f"    {shown}", f"    {' ' * cells(shown[: column - start])}^"]


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for an accent on one."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )
