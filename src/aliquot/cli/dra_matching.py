"""Trying a device selector on every device, for `dra match`."""

from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from aliquot.cel.device import DeviceView
from aliquot.cel.errors import EvaluationError, Position
from aliquot.cel.program import DEFAULT_COST_LIMIT, Program
from aliquot.cli.output import API_VERSION, Column, Row, Table
from aliquot.dra.pools import Pool
from aliquot.dra.selectors import view_of

_COLUMNS = (
    Column(title="DEVICE", key="device", least=14),
    Column(title="POOL", key="pool", drop=2),
    Column(title="NODE", key="node", least=12),
    Column(title="DRIVER", key="driver", drop=1),
)


class Match(msgspec.Struct, frozen=True):
    """A device that matches. node: "" if it is not tied to one node."""

    driver: str
    pool: str
    device: str
    node: str


class Trouble(msgspec.Struct):
    """Devices for which the selector has no value: how many, the first of them, and where it failed."""

    message: str
    position: Position | None
    example: str
    count: int = 0


class Matches(msgspec.Struct, frozen=True, kw_only=True):
    """What a selector matches. tested: devices; highest: the cost of the costliest evaluation."""

    matched: tuple[Match, ...]
    troubles: tuple[Trouble, ...]
    tested: int
    highest: int
    unusable: tuple[str, ...]


Verdict = tuple[bool | EvaluationError, int]


def matches(program: Program, pools: Iterable[Pool]) -> Matches:
    """Evaluate a selector on every device of the pools, once per distinct shape of device."""
    known: dict[Hashable, Verdict] = {}
    found: list[Match] = []
    troubles: dict[str, Trouble] = {}
    unusable: list[str] = []
    tested = highest = 0
    for pool in pools:
        if pool.problem:
            unusable.append(f"{pool.driver}/{pool.name}: {pool.problem}")
        for index, device in enumerate(pool.devices):
            tested += 1
            view = view_of(pool.driver, device)
            shape = _shape(program, view, pool.driver)
            verdict = None if shape is None else known.get(shape)
            if verdict is None:
                verdict = _evaluate(program, view)
                if shape is not None:
                    known[shape] = verdict
            result, cost = verdict
            highest = max(highest, cost)
            if isinstance(result, EvaluationError):
                trouble = troubles.get(result.message)
                if trouble is None:
                    example = f"{pool.driver}/{pool.name}/{device.name}"
                    trouble = troubles[result.message] = Trouble(result.message, result.position, example)
                trouble.count += 1
            elif result:
                found.append(Match(pool.driver, pool.name, device.name, pool.home(index) or ""))
    return Matches(
        matched=tuple(found),
        troubles=tuple(troubles.values()),
        tested=tested,
        highest=highest,
        unusable=tuple(unusable),
    )


def _shape(program: Program, view: DeviceView, driver: str) -> Hashable | None:
    if program.reads is None or view.fault or view.list_attribute:
        return None
    reads = tuple(view.read(*each) for each in sorted(program.reads))
    return (driver, view.fields["allowMultipleAllocations"], reads)


def _evaluate(program: Program, view: DeviceView) -> Verdict:
    try:
        matched = program.matches(view)
        return matched, program.measure({"device": view})[1]
    except EvaluationError as error:
        return error, 0


def match_table(found: Matches) -> Table:
    """One row for every device that matches."""
    rows = tuple(
        Row(
            cells=(each.device, each.pool, each.node, each.driver),
            item=msgspec.to_builtins(each),
            name=f"device/{each.driver}/{each.pool}/{each.device}",
        )
        for each in found.matched
    )
    return Table(kind="DeviceMatchList", columns=_COLUMNS, rows=rows)


def match_document(expression: str, program: Program, found: Matches) -> dict[str, Any]:
    """The matches for programs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DeviceMatchList",
        "expression": expression,
        "cost": {"estimate": program.cost, "highest": found.highest, "limit": DEFAULT_COST_LIMIT},
        "summary": {
            "tested": found.tested,
            "matched": len(found.matched),
            "failed": sum(each.count for each in found.troubles),
        },
        "errors": [
            {"error": each.message, "devices": each.count, "first": each.example} for each in found.troubles
        ],
        "unusablePools": list(found.unusable),
        "items": [msgspec.to_builtins(each) for each in found.matched],
    }
