"""`aliquot plan --defragment`: which pods to move so that more nodes are free as a whole."""

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import Any

from aliquot.cli.output import API_VERSION, Column, Row, Table
from aliquot.cli.tables import reference
from aliquot.inventory import amounts
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.defragmentation import Defragmentation, Move

_COLUMNS = (
    Column(title="EMPTIES", key="empties", drop=1),
    Column(title="NAMESPACE", key="namespace", least=9),
    Column(title="POD", key="pod", least=16),
    Column(title="WORKLOAD", key="workload", drop=2),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="FROM", key="from", least=12),
    Column(title="TO", key="to", least=12),
    Column(title="LOST WORK", key="lost", right=True),
)


def move_table(found: Defragmentation) -> Table:
    """One row for each pod to be moved, node by node that they empty."""
    rows = tuple(_row(relief.node, move) for relief in found.reliefs for move in relief.moves)
    return Table(kind="Moves", columns=_COLUMNS, rows=rows)


def _row(empties: str, move: Move) -> Row:
    workload = move.workload
    cells = (
        empties,
        move.pod.namespace,
        move.pod.name,
        f"{workload.kind.lower()}/{workload.name}",
        amounts.fraction(Fraction(move.devices, UNIT)),
        move.origin,
        move.target,
        device_time(move.lost_device_seconds),
    )
    return Row(cells=cells, item=_item(move), name=move.pod.name)


def _item(move: Move) -> dict[str, Any]:
    return {
        "pod": reference(move.pod),
        "workload": reference(move.workload),
        "from": move.origin,
        "to": move.target,
        "devices": str(Fraction(move.devices, UNIT)),
        "lostDeviceSeconds": move.lost_device_seconds,
    }


def summary_lines(found: Defragmentation) -> Iterator[str]:
    """What it gains and costs."""
    budget = found.budget
    if not found.reliefs:
        yield f"no node can be emptied by moving at most {budget.moves} pods; nothing is gained"
        return
    yield f"moves       {len(found.moves)} of at most {budget.moves} pods"
    yield f"lost work   {device_time(found.lost_device_seconds)} of device time"
    yield f"idle nodes  {found.idle_after}, before {found.idle_before}"
    for shape in found.shapes:
        size = amounts.fraction(Fraction(shape.devices, UNIT))
        if shape.after != shape.before:
            yield f"room        for {shape.after} pods with {size} devices, before {shape.before}"
    for ref in found.starts:
        yield f"starts      {ref.kind.lower()}/{ref.name} of {ref.namespace}"
    yield "nothing has been moved; this is a plan to look at"


def device_time(seconds: int) -> str:
    """Device-seconds for people: 2:30:00."""
    return str(timedelta(seconds=seconds))


def document(found: Defragmentation) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Defragmentation",
        "budget": {"moves": found.budget.moves, "deviceSeconds": found.budget.device_seconds},
        "cost": {"moves": len(found.moves), "lostDeviceSeconds": found.lost_device_seconds},
        "gain": {
            "idleNodes": found.idle_after,
            "idleNodesBefore": found.idle_before,
            "room": [
                {
                    "devices": str(Fraction(shape.devices, UNIT)),
                    "pods": shape.after,
                    "podsBefore": shape.before,
                }
                for shape in found.shapes
            ],
            "starts": [reference(ref) for ref in found.starts],
        },
        "items": [
            {
                "node": relief.node,
                "devices": relief.accelerators,
                "lostDeviceSeconds": relief.lost_device_seconds,
                "moves": [_item(move) for move in relief.moves],
            }
            for relief in found.reliefs
        ],
    }
