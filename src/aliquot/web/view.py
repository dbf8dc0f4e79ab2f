"""What the page shows, computed from a report: small JSON-like values, those that change often apart.

The *layout* is which nodes and devices there are; it names every device once. The *cells* say, device by
device in the order of the layout, who holds what: most are a number or a short list, so that a fleet of
40,000 devices is a few hundred kilobytes, and a change is a few bytes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, TypeAlias

import msgspec

from aliquot.inventory import amounts
from aliquot.inventory.devices import DeviceState, PartState
from aliquot.inventory.owners import workload_name
from aliquot.inventory.queues import QueueState, ResourceState
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status, WorkloadState
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Verdict
from aliquot.queues.tree import GPU, UNIT
from aliquot.scheduling.wording import fix_sentence, sentence

Json: TypeAlias = Any

MAX_WAITING = 200
"""So many waiting workloads are listed, the first in order; the number of all is always shown."""

MAX_QUEUES = 300

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything ran: nothing is lost by then."""

ZONE = "topology.kubernetes.io/zone"

FREE = 0
"""A cell of a device that is whole and free. A held whole is the number of its queue, from 1."""

NO_QUEUE = 1
"""The number that stands for work outside all queues."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows but the decisions. Each part is JSON-like and compared as a whole.

    layout: products, shapes (device names of a kind of node) and nodes. cells: one for each device. queues,
    waiting, leaving (pods that the last plan makes leave): by key, in order. summary: the figures at the top.
    """

    layout: Json
    cells: tuple[Json, ...]
    queues: Mapping[str, Json]
    waiting: Mapping[str, Json]
    summary: Json
    leaving: Mapping[str, Json] = {}


def view(
    report: Report,
    version: int,
    numbers: Mapping[str, int],
    before: tuple[Report, View] | None = None,
    now: datetime | None = None,
) -> View:
    """The view of a report. numbers: those of its queues, as `number_queues` gave them.

    now: the time by which the work is counted that is lost by what leaves; None leaves that out.

    before: the report and view of an earlier moment, of which the unchanged parts are taken over.
    """
    known: dict[int, Json] = {}
    layout: Json = None
    if before is not None:
        earlier, shown = before
        known = {id(state): cell for state, cell in zip(accelerators(earlier), shown.cells, strict=True)}
        same = earlier.layout is report.layout and earlier.plugins is report.plugins
        if same and earlier.snapshot.nodes is report.snapshot.nodes:
            layout = shown.layout
    cells = tuple(
        known[id(state)] if id(state) in known else _cell(state, numbers) for state in accelerators(report)
    )
    return View(
        layout=layout if layout is not None else _layout(report),
        cells=cells,
        queues=_queues(report, numbers),
        waiting=_waiting(report, numbers),
        summary=_summary(report, version),
        leaving=_leaving(report, numbers, now),
    )


def accelerators(report: Report) -> tuple[DeviceState, ...]:
    """The devices of the mosaic in their order."""
    return tuple(state for state in report.devices.devices if state.board.accelerator)


def number_queues(report: Report, known: Mapping[str, int]) -> dict[str, int]:
    """A number for every queue, "" included. Queues keep the numbers they have, so that colours stay."""
    numbers = {"": NO_QUEUE, **known}
    for queue in report.queues.queues:
        numbers.setdefault(queue.name, len(numbers) + 1)
    for state in report.workloads.workloads:
        numbers.setdefault(state.queue, len(numbers) + 1)
    return numbers


def _layout(report: Report) -> Json:
    zones = _zones(report.snapshot)
    products: dict[str, int] = {}
    shapes: dict[tuple[Json, ...], int] = {}
    nodes: list[Json] = []
    own: dict[str, list[Json]] = {}
    for state in accelerators(report):
        board = state.board
        product = products.setdefault(board.product or board.driver, len(products))
        own.setdefault(board.node, []).append((board.name, product, amounts.memory(board.memory)))
    for node, devices in own.items():
        shape = shapes.setdefault(tuple(devices), len(shapes))
        nodes.append([node or "(any node)", zones.get(node, ""), shape])
    return {
        "products": list(products),
        "shapes": [list(map(list, shape)) for shape in shapes],
        "nodes": nodes,
    }


def _zones(snapshot: Snapshot) -> dict[str, str]:
    return {node.name: node.metadata.labels.get(ZONE, "") for node in snapshot.nodes}


def _cell(state: DeviceState, numbers: Mapping[str, int]) -> Json:
    """FREE, the number of the queue that holds it whole, or [mode, problem, [[queue, share, start], ...]]."""
    parts = [entry for part in state.parts for entry in _entries(part, numbers)]
    plain = not state.problem and len(parts) <= 1 and state.allocated in (0, 1)
    if plain and not parts and all(part.part.whole for part in state.parts):
        return FREE
    if plain and parts and parts[0][1] == 1 and state.mode == "exclusive":
        return parts[0][0]
    free = [
        [FREE, float(part.part.share), _start(part)]
        for part in state.parts
        if not part.held and not part.part.whole
    ]
    return [state.mode, state.problem, parts + free]


def _entries(state: PartState, numbers: Mapping[str, int]) -> list[list[Json]]:
    """What is taken of a part: [queue, share, start]; consumers of one claim share one entry."""
    taking = [holder for holder in state.holders if not holder.admin]
    if not taking:
        return []
    if not state.part.shareable:
        queue = taking[0].queue
        return [[numbers.get(queue, NO_QUEUE), float(state.part.share), _start(state)]]
    return [[numbers.get(holder.queue, NO_QUEUE), float(holder.share), None] for holder in taking]


def _start(state: PartState) -> float | None:
    return float(state.part.start) if state.part.start is not None else None


def _queues(report: Report, numbers: Mapping[str, int]) -> dict[str, Json]:
    total = report.devices.total.total * UNIT
    found = {
        queue.name: _queue(queue, numbers, total, order)
        for order, queue in enumerate(report.queues.queues[:MAX_QUEUES])
    }
    outside = report.queues.outside
    if outside.resources or outside.running or outside.waiting:
        found[""] = _queue(outside, numbers, total, len(found))
    return found


def _queue(queue: QueueState, numbers: Mapping[str, int], total: int, order: int) -> Json:
    gpu = queue.resource(GPU)
    return {
        "name": queue.name,
        "number": numbers[queue.name],
        "order": order,
        "depth": queue.depth,
        "priority": queue.priority,
        "used": _number(gpu.used),
        "usedText": amounts.amount(gpu.used),
        "quota": _number(gpu.quota),
        "share": _number(gpu.share),
        "shareText": amounts.amount(gpu.share),
        "wanted": amounts.amount(gpu.wanted) if gpu.wanted else "",
        "balance": _balance(gpu),
        "limit": _number(gpu.limit),
        "of": _number(_whole(gpu, total)),
        "running": queue.running,
        "waiting": queue.waiting,
        "problem": queue.problem,
        "others": [_resource(state) for state in queue.resources[1:4]],
    }


def _balance(resource: ResourceState) -> str:
    """ "3 over" or "2 under" the fair share; "" at it, or where it is not known."""
    balance = resource.balance
    if not balance:
        return ""
    return f"{amounts.amount(balance)} over" if balance > 0 else f"{amounts.amount(-balance)} under"


def _whole(resource: ResourceState, total: int) -> int:
    return resource.limit if resource.limit is not None else total


def _resource(state: ResourceState) -> Json:
    limit = state.limit if state.limit is not None else state.quota
    return [state.name, amounts.amount(state.used), amounts.amount(limit)]


def _number(value: Any) -> float | None:
    """Billionths as a number for drawing; texts are what is exact."""
    return None if value is None else float(value / UNIT)


def workload_key(state: WorkloadState) -> str:
    return f"{state.ref.kind}/{state.ref.namespace}/{state.ref.name}"


def _waiting(report: Report, numbers: Mapping[str, int]) -> dict[str, Json]:
    waiting = sorted(
        report.workloads.waiting(),
        key=lambda state: (numbers[state.queue], state.position, workload_key(state)),
    )
    return {
        workload_key(state): {
            "namespace": state.ref.namespace,
            "name": workload_name(state.ref),
            "queue": state.queue,
            "number": numbers[state.queue],
            "order": order,
            "position": state.position,
            "pods": state.total,
            "lacking": state.lacking,
            "since": state.created.isoformat(),
            **verdict_texts(state.verdict),
        }
        for order, state in enumerate(waiting[:MAX_WAITING])
    }


def _leaving(report: Report, numbers: Mapping[str, int], now: datetime | None) -> dict[str, Json]:
    """The pods that the plan makes leave, at most MAX_WAITING of them."""
    found = report.evictions(now or EPOCH)[:MAX_WAITING]
    return {
        f"{item.pod.namespace}/{item.pod.name}": {
            "queue": item.queue,
            "number": numbers.get(item.queue, NO_QUEUE),
            "order": order,
            "node": item.node,
            "devices": amounts.fraction(item.devices),
            "for": workload_name(item.beneficiary) if item.beneficiary is not None else "",
            "forQueue": item.for_queue,
            "movedTo": item.moved_to,
            "lost": amounts.duration(item.lost_seconds)
            if now is not None and item.lost_seconds is not None
            else "",
            **verdict_texts(item.verdict),
        }
        for order, item in enumerate(found)
    }


def verdict_texts(verdict: Verdict | None) -> dict[str, str]:
    """A verdict in words: its reason, one sentence, and the nearest fix ("" if none is known)."""
    if verdict is None:
        return {"reason": "", "sentence": "", "fix": ""}
    return {
        "reason": verdict.reason.value,
        "sentence": sentence(verdict),
        "fix": fix_sentence(verdict.fix) if verdict.fix is not None and verdict.fix.change != "wait" else "",
    }


def _shown(value: Fraction) -> str:
    """A figure for the top of the page: to one decimal, thousands apart."""
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.1f}"


def _summary(report: Report, version: int) -> Json:
    total = report.devices.total
    counts = dict.fromkeys(Status, 0)
    for state in report.workloads.workloads:
        counts[state.status] += 1
    return {
        "version": version,
        "nodes": len({state.board.node for state in accelerators(report)}),
        "devices": total.total,
        "unusable": total.total - total.usable,
        "allocated": _shown(total.allocated),
        "percent": amounts.percent(total.allocated, total.total),
        "running": counts[Status.RUNNING],
        "starting": counts[Status.STARTING] + counts[Status.PLACED],
        "waiting": counts[Status.WAITING],
    }
