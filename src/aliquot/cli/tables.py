"""The tables of the inventory with their columns, for output in any form."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from aliquot.cli import expected
from aliquot.cli.expected import Expected
from aliquot.cli.output import Column, Row, Table
from aliquot.inventory import amounts
from aliquot.inventory.amounts import NONE
from aliquot.inventory.devices import Amounts, DeviceState, DeviceTable, Holder
from aliquot.inventory.owners import workload_name
from aliquot.inventory.workloads import Status, WorkloadState, WorkloadTable
from aliquot.model.kinds import plain
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.wording import sentence

TOTAL = "*"

_DEVICE_COLUMNS = (
    Column(title="NODE", key="node", least=12),
    Column(title="DEVICE", key="device", least=14),
    Column(title="PRODUCT", key="product", drop=3),
    Column(title="MEMORY", key="memory", right=True, drop=2),
    Column(title="MODE", key="mode", drop=1),
    Column(title="USED/TOTAL", key="used"),
    Column(title="QUEUE", key="queue", drop=4, names=True),
    Column(title="WORKLOAD", key="workload", least=16, names=True),
    Column(title="CLAIM", key="claim", wide=True),
    Column(title="PODS", key="pods", wide=True),
    Column(title="DRIVER", key="driver", wide=True),
    Column(title="POOL", key="pool", wide=True),
    Column(title="STATUS", key="status"),
)


def devices(table: DeviceTable, keep: Callable[[DeviceState], bool] = lambda state: True) -> Table:
    """One row for each physical device, and below it one for each part if it is split; then totals."""
    rows: list[Row] = []
    kept = [state for state in table.devices if keep(state)]
    for state in kept:
        rows.extend(_device_rows(state))
    total = Amounts.of(kept)
    if total.total:
        cells = [TOTAL] + [""] * (len(_DEVICE_COLUMNS) - 1)
        cells[1] = str(total.total)
        cells[5] = amounts.used_of(total.allocated, total.total)
        rows.append(Row(cells=tuple(cells), item={}, name=TOTAL, total=True))
    return Table(kind="DeviceTable", columns=_DEVICE_COLUMNS, rows=tuple(rows), summary=_amounts(total, kept))


def _amounts(total: Amounts, states: Iterable[DeviceState]) -> dict[str, Any]:
    nodes: dict[str, list[DeviceState]] = {}
    for state in states:
        nodes.setdefault(state.board.node, []).append(state)
    return {
        "devices": total.total,
        "usable": total.usable,
        "allocated": str(total.allocated),
        "nodes": [
            {"node": node, "devices": found.total, "allocated": str(found.allocated)}
            for node, own in nodes.items()
            if (found := Amounts.of(own)).total
        ],
    }


def _device_rows(state: DeviceState) -> Iterable[Row]:
    board = state.board
    split = [part for part in state.parts if not part.part.whole]
    holders = () if split else state.holders
    cells = (
        board.node or "<several>",
        board.name,
        board.product,
        amounts.memory(board.memory),
        state.mode,
        amounts.used_of(state.allocated, 1),
        *_holder_cells(holders),
        board.driver,
        board.pool,
        state.problem or ("InUse" if state.allocated else "Free"),
    )
    yield Row(cells=cells, item=_device_item(state), name=f"device/{board.pool}/{board.name}")
    for part in split:
        cells = (
            board.node or "<several>",
            f"  {part.part.name}",
            part.part.profile,
            amounts.memory(part.part.memory),
            state.mode,
            amounts.fraction(part.part.share),
            *_holder_cells(part.holders),
            board.driver,
            board.pool,
            state.problem or ("InUse" if part.held else "Free"),
        )
        # Programs find parts inside their device; a row of its own would be counted twice.
        yield Row(cells=cells, item={}, name=f"device/{board.pool}/{part.part.name}", total=True)


def _holder_cells(holders: Iterable[Holder]) -> tuple[str, str, str, str]:
    holders = tuple(holders)
    queues = dict.fromkeys(holder.queue for holder in holders if holder.queue)
    workloads = dict.fromkeys(
        f"{holder.workload.namespace}/{workload_name(holder.workload)}"
        for holder in holders
        if holder.workload is not None
    )
    claims = dict.fromkeys(
        f"{holder.claim.namespace}/{holder.claim.name}" for holder in holders if holder.claim is not None
    )
    pods = dict.fromkeys(pod.name for holder in holders for pod in holder.pods)
    return (joined(queues), joined(workloads), joined(claims), joined(pods))


def joined(names: Iterable[str], most: int = 3) -> str:
    """Names with commas; beyond `most` only how many more there are."""
    found = list(names)
    if len(found) > most:
        return f"{','.join(found[:most])},+{len(found) - most}"
    return ",".join(found) or NONE


def _device_item(state: DeviceState) -> dict[str, Any]:
    board = state.board
    return {
        "node": board.node,
        "driver": board.driver,
        "pool": board.pool,
        "device": board.name,
        "product": board.product,
        "memory": str(board.memory) if board.memory is not None else None,
        "accelerator": board.accelerator,
        "mode": state.mode,
        "allocated": str(state.allocated),
        "free": str(state.free),
        "problem": state.problem,
        "parts": [
            {
                "device": part.part.name,
                "kind": part.part.kind,
                "profile": part.part.profile,
                "memory": str(part.part.memory) if part.part.memory is not None else None,
                "share": str(part.part.share),
                "holders": [_holder_item(holder) for holder in part.holders],
            }
            for part in state.parts
        ],
    }


def _holder_item(holder: Holder) -> dict[str, Any]:
    return {
        "claim": reference(holder.claim),
        "pods": [reference(pod) for pod in holder.pods],
        "workload": reference(holder.workload),
        "queue": holder.queue,
        "share": str(holder.share),
        "adminAccess": holder.admin,
    }


def reference(ref: ObjectRef | None) -> dict[str, str] | None:
    """An object by kind, namespace and name."""
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name} if ref is not None else None


_WORKLOAD_COLUMNS = (
    Column(title="NAMESPACE", key="namespace", least=9),
    Column(title="NAME", key="name", least=16),
    Column(title="QUEUE", key="queue", drop=4),
    Column(title="PRIORITY", key="priority", wide=True, right=True),
    Column(title="PODS", key="pods"),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="STATUS", key="status"),
    Column(title="POSITION", key="position", right=True, drop=2),
    Column(title="REASON", key="reason"),
    Column(title="NODES", key="nodes", drop=3, names=True, least=12),
    Column(title="MESSAGE", key="message", wide=True),
    Column(title="AGE", key="age", drop=1),
)


_STARTS_AT = next(place for place, column in enumerate(_WORKLOAD_COLUMNS) if column.key == "reason")
"""Where the column of expected starts goes."""


def workloads(
    table: WorkloadTable,
    now: datetime,
    keep: Callable[[WorkloadState], bool] = lambda state: True,
    *,
    with_namespace: bool = True,
    starts: Expected | None = None,
) -> Table:
    """One row for each workload; those that wait first. starts: of what waits, for one more column."""
    kept = [state for state in table.workloads if keep(state)]
    start = 0 if with_namespace else 1
    columns: tuple[Column, ...] = _WORKLOAD_COLUMNS
    if starts is not None:
        columns = (*columns[:_STARTS_AT], expected.COLUMN, *columns[_STARTS_AT:])
    rows = tuple(
        Row(
            cells=_workload_cells(state, now, starts)[start:],
            item=_workload_item(state, starts),
            name=workload_name(state.ref),
        )
        for state in kept
    )
    counts = {status.value: sum(1 for state in kept if state.status is status) for status in Status}
    return Table(
        kind="WorkloadTable",
        columns=columns[start:],
        rows=rows,
        summary={"workloads": len(kept), **{key.lower(): count for key, count in counts.items()}},
    )


def _workload_cells(state: WorkloadState, now: datetime, starts: Expected | None) -> tuple[str, ...]:
    waits = state.status is Status.WAITING or state.lacking > 0
    verdict = state.verdict if waits else None
    if verdict is None and state.leaving:
        verdict = state.leaving[0].verdict
    cells = (
        state.ref.namespace,
        workload_name(state.ref),
        state.queue,
        str(state.priority),
        f"{state.ready}/{state.total}",
        amounts.fraction(state.devices),
        state.status.value,
        str(state.position) if state.position else NONE,
        verdict.reason.value if verdict is not None else NONE,
        joined(state.nodes),
        sentence(verdict) if verdict is not None else NONE,
        amounts.age(state.created, now),
    )
    if starts is None:
        return cells
    found = expected.of(starts, state.ref) if waits else None
    return (*cells[:_STARTS_AT], expected.cell(found), *cells[_STARTS_AT:])


def _workload_item(state: WorkloadState, starts: Expected | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": state.ref.kind,
        "namespace": state.ref.namespace,
        "name": state.ref.name,
        "queue": state.queue,
        "priority": state.priority,
        "created": state.created.isoformat(),
        "status": state.status.value,
        "podsReady": state.ready,
        "podsTotal": state.total,
        "devices": str(state.devices),
        "nodes": list(state.nodes),
        "pods": [pod.name for pod in state.pods],
        "claims": [claim.name for claim in state.claims],
        "position": state.position,
        "podsWaiting": state.lacking,
        "decision": state.decision,
        "verdict": plain(state.verdict) if state.verdict is not None else None,
        "message": sentence(state.verdict) if state.verdict is not None else "",
        "leaving": [{"pod": item.pod.name, "verdict": plain(item.verdict)} for item in state.leaving],
    }
    if starts is not None:
        found["expectedStart"] = expected.document(expected.of(starts, state.ref))
    return found
