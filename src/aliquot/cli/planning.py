"""A plan as a table, a document and a summary."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from aliquot.cli import expected
from aliquot.cli.expected import Expected
from aliquot.cli.output import API_VERSION, Column, Row, Table
from aliquot.cli.tables import joined, reference
from aliquot.dra.fleet import Fleet
from aliquot.dra.shares import share_of_result
from aliquot.fractions.charges import device_charge
from aliquot.fractions.devices import node_devices
from aliquot.fractions.requests import WHOLE, GpuRequest, gpu_request
from aliquot.fractions.resources import extended_devices
from aliquot.inventory import amounts
from aliquot.inventory.amounts import NONE
from aliquot.inventory.decisions import nodes_of, told
from aliquot.inventory.evictions import Eviction
from aliquot.inventory.owners import workload_name
from aliquot.inventory.report import Report
from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.kinds import plain
from aliquot.scheduling.plan import Allocate, Decision, Evict
from aliquot.scheduling.requests import pod_requests
from aliquot.scheduling.wording import fix_sentence, sentence


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A plan in figures. devices: accelerators; allocated: of them once the plan is done, and before it.

    pods: those that the plan decides about; running: those that had their node before; evicted: of those, how
    many the plan makes leave.
    """

    nodes: int
    devices: int
    allocated_before: Fraction
    allocated: Fraction
    pods: int
    placed: int
    waiting: int
    running: int
    evicted: int
    reasons: Mapping[str, int]


def summarize(before: Report, after: Report) -> Summary:
    """before: the report of the input, with the plan made from it; after: that of what the plan leads to."""
    placed = waiting = 0
    reasons: Counter[str] = Counter()
    for decision in before.plan.decisions:
        if decision.verdict is not None:
            waiting += len(decision.pods)
            if decision.pods:
                reasons[decision.verdict.reason.value] += len(decision.pods)
        else:
            placed += sum(nodes_of(decision).values())
    running = sum(1 for pod in before.snapshot.pods if pod.spec.node_name and not pod.finished)
    return Summary(
        nodes=len(before.snapshot.nodes),
        devices=before.devices.total.total,
        allocated_before=before.devices.total.allocated,
        allocated=after.devices.total.allocated,
        pods=placed + waiting,
        placed=placed,
        waiting=waiting,
        running=running,
        evicted=sum(isinstance(action, Evict) for action in before.plan.actions),
        reasons=dict(reasons.most_common()),
    )


def summary_document(summary: Summary) -> dict[str, Any]:
    """Numbers as JSON has them; `gpusAllocatedExact` is exact."""
    return {
        "nodes": summary.nodes,
        "devices": summary.devices,
        "gpusAllocated": _number(summary.allocated),
        "gpusAllocatedExact": str(summary.allocated),
        "gpusAllocatedBefore": _number(summary.allocated_before),
        "percentAllocated": _number(Fraction(round(10000 * summary.allocated / summary.devices), 100))
        if summary.devices
        else 0,
        "pods": summary.pods,
        "placed": summary.placed,
        "waiting": summary.waiting,
        "running": summary.running,
        "evicted": summary.evicted,
        "reasons": dict(summary.reasons),
    }


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


def summary_lines(summary: Summary) -> list[str]:
    """The summary for people."""
    used = amounts.used_of(summary.allocated, summary.devices)
    before = f", before {amounts.fraction(summary.allocated_before)}" if summary.allocated_before else ""
    share = amounts.percent(summary.placed, summary.pods)
    lines = [
        f"nodes      {summary.nodes}",
        f"devices    {used} allocated{before}",
        f"pods       {summary.placed}/{summary.pods} placed ({share})",
    ]
    if summary.evicted:
        lines.append(f"evicted    {summary.evicted}")
    if summary.waiting:
        lines.append(f"waiting    {summary.waiting}")
        width = max(len(str(count)) for count in summary.reasons.values()) if summary.reasons else 0
        lines += [f"  {count:>{width}} {reason}" for reason, count in summary.reasons.items()]
    return lines


_COLUMNS = (
    Column(title="NAMESPACE", key="namespace", least=9),
    Column(title="WORKLOAD", key="workload", least=16),
    Column(title="QUEUE", key="queue", drop=1),
    Column(title="RESULT", key="result"),
    Column(title="PODS", key="pods", right=True, drop=2),
    Column(title="DEVICES", key="devices", right=True, drop=3),
    Column(title="NODES", key="nodes", least=14, names=True),
    Column(title="REASON", key="reason"),
    Column(title="MESSAGE", key="message", wide=True),
    Column(title="FIX", key="fix", wide=True),
)


def plan_table(report: Report, starts: Expected | None = None) -> Table:
    """One row for each decision, in the order of the plan. starts: of what waits, for one more column."""
    index = SnapshotIndex.of(report.snapshot)
    pods = {pod.key: pod for pod in report.snapshot.pods}
    return Table(
        kind="Plan",
        columns=_COLUMNS if starts is None else (*_COLUMNS[:6], expected.COLUMN, *_COLUMNS[6:]),
        rows=tuple(
            _row(decision, _devices(decision, report.fleet, index, pods), starts)
            for decision in report.plan.decisions
        ),
    )


def _row(decision: Decision, devices: Fraction, starts: Expected | None) -> Row:
    verdict = decision.verdict
    outcome, text = told(decision)
    workload = decision.workload
    name = workload_name(workload)
    nodes = nodes_of(decision)
    shown = [f"{node} (x{count})" if count > 1 else node for node, count in nodes.items()]
    cells: tuple[str, ...] = (
        workload.namespace,
        name,
        decision.queue,
        outcome,
        str(len(decision.pods)),
        amounts.fraction(devices),
        joined(shown),
        verdict.reason.value if verdict is not None else NONE,
        text,
        fix_sentence(verdict.fix) if verdict is not None and verdict.fix is not None else NONE,
    )
    if starts is not None:
        found = expected.of(starts, workload) if verdict is not None else None
        cells = (*cells[:6], expected.cell(found), *cells[6:])
    return Row(cells=cells, item=_item(decision, outcome, starts), name=name)


def _devices(decision: Decision, fleet: Fleet, index: SnapshotIndex, pods: Mapping[Key, Pod]) -> Fraction:
    """Devices that the decision gives: allocated ones, and those of device plugins with parts of them."""
    found = sum(
        (
            share_of_result(fleet, result)
            for action in decision.actions
            if isinstance(action, Allocate)
            for result in action.allocation.devices.results
        ),
        Fraction(0),
    )
    for placement in decision.placements:
        pod = pods[placement.pod.namespace, placement.pod.name]
        node = index.nodes.get(placement.node)
        request = gpu_request(pod)
        if isinstance(request, GpuRequest) and request.shared:
            devices = None if node is None else node_devices(node)
            found += Fraction(device_charge(request, devices)) / WHOLE
        else:
            found += extended_devices(pod_requests(pod.spec), node)
    return found


def _item(decision: Decision, outcome: str, starts: Expected | None = None) -> dict[str, Any]:
    verdict = decision.verdict
    found: dict[str, Any] = {
        "id": decision.id,
        "workload": reference(decision.workload),
        "queue": decision.queue,
        "result": outcome,
        "position": decision.position,
        "pods": [pod.name for pod in decision.pods],
        "placements": [
            {"pod": placement.pod.name, "node": placement.node}
            | ({"sharedDevices": list(placement.groups)} if placement.groups else {})
            for placement in decision.placements
        ],
        "promised": [
            {"namespace": placement.pod.namespace, "pod": placement.pod.name, "node": placement.node}
            for placement in decision.promised
        ],
        "allocations": [
            {
                "claim": action.claim.name,
                "devices": [
                    {"driver": result.driver, "pool": result.pool, "device": result.device}
                    for result in action.allocation.devices.results
                ],
            }
            for action in decision.actions
            if isinstance(action, Allocate)
        ],
        "verdict": plain(verdict) if verdict is not None else None,
        "message": sentence(verdict) if verdict is not None else "",
    }
    if starts is not None:
        waits = expected.of(starts, decision.workload) if verdict is not None else None
        found["expectedStart"] = expected.document(waits)
    return found


_EVICTION_COLUMNS = (
    Column(title="LEAVES", key="pod", least=16),
    Column(title="QUEUE", key="queue", drop=1),
    Column(title="NODE", key="node", least=12),
    Column(title="DEVICES", key="devices", right=True, drop=2),
    Column(title="LOSES", key="lost", right=True, drop=4),
    Column(title="FOR", key="for", least=14),
    Column(title="REASON", key="reason", drop=3),
    Column(title="TO", key="to", wide=True),
    Column(title="MESSAGE", key="message", wide=True),
)


def eviction_table(found: Sequence[Eviction]) -> Table:
    """One row for each pod that leaves by the plan, in its order."""
    return Table(
        kind="Evictions",
        columns=_EVICTION_COLUMNS,
        rows=tuple(
            Row(
                cells=(
                    f"{item.pod.namespace}/{item.pod.name}",
                    item.queue or NONE,
                    item.node,
                    amounts.fraction(item.devices),
                    NONE if item.lost_seconds is None else amounts.duration(item.lost_seconds),
                    workload_name(item.beneficiary) if item.beneficiary is not None else NONE,
                    item.verdict.reason.value,
                    item.moved_to or NONE,
                    sentence(item.verdict),
                ),
                item=_eviction(item),
                name=f"pod/{item.pod.name}",
            )
            for item in found
        ),
    )


def _eviction(item: Eviction) -> dict[str, Any]:
    return {
        "pod": reference(item.pod),
        "node": item.node,
        "workload": reference(item.workload),
        "queue": item.queue,
        "devices": str(item.devices),
        "lostSeconds": item.lost_seconds,
        "for": reference(item.beneficiary),
        "forQueue": item.for_queue,
        "movedTo": item.moved_to,
        "verdict": plain(item.verdict),
        "message": sentence(item.verdict),
    }


def plan_document(
    report: Report, summary: Summary, leaving: Sequence[Eviction], starts: Expected | None = None
) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "summary": summary_document(summary),
        "items": [_item(decision, told(decision)[0], starts) for decision in report.plan.decisions],
        "evictions": [_eviction(item) for item in leaving],
    }
