"""Every workload: how far it has come, what it holds, where it runs or why it waits."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from aliquot.inventory.devices import DeviceTable, Holder
from aliquot.inventory.owners import Group, Owners
from aliquot.model.core import Pod
from aliquot.model.index import live
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Verdict
from aliquot.scheduling.plan import Admit, Decision, Evict, Plan


class Status(enum.StrEnum):
    """How far a workload has come, in the order in which tables show them."""

    WAITING = "Waiting"
    """It has to wait; the verdict says why."""
    PLACED = "Placed"
    """It was decided where its pods go; they are not bound yet."""
    STARTING = "Starting"
    """Its pods are bound to nodes; not enough of them run yet."""
    RUNNING = "Running"
    """As many of its pods run as it needs to start with."""
    TERMINATING = "Terminating"
    """All that is left of it is being deleted."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """A workload.

    ready, total: pods that run, and all that it has or must have. devices: accelerators held, parts of one as
    fractions; claims: their claims. nodes: where its pods are, or will be by the plan. position: in its
    queue, from 1, 0 when it does not wait. verdict: why it waits, None when that is not known or it does not.
    decision: the id of the plan's decision on it, "" if there is none. lacking: how many of its pods wait, of
    one that runs with fewer than it may have, too. leaving: its pods that the plan makes leave, and why.
    """

    ref: ObjectRef
    queue: str
    priority: int
    created: datetime
    status: Status
    ready: int
    total: int
    devices: Fraction
    nodes: tuple[str, ...]
    pods: tuple[ObjectRef, ...]
    claims: tuple[ObjectRef, ...]
    position: int = 0
    verdict: Verdict | None = None
    decision: str = ""
    lacking: int = 0
    leaving: tuple[Evict, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadTable:
    """Workloads by queue, those that wait first and in their order, then by name."""

    workloads: tuple[WorkloadState, ...]

    def waiting(self) -> tuple[WorkloadState, ...]:
        """Those that wait, and those that run while some of their pods wait."""
        return tuple(item for item in self.workloads if item.status is Status.WAITING or item.lacking)


def workload_table(owners: Owners, devices: DeviceTable, plan: Plan) -> WorkloadTable:
    """The workloads that Aliquot has to do with: in a queue, with devices, or decided by the plan."""
    decisions = {decision.workload: decision for decision in plan.decisions}
    held: dict[ObjectRef, list[Holder]] = {}
    for state in devices.devices:
        if state.board.accelerator:
            for holder in state.holders:
                if holder.workload is not None and not holder.admin:
                    held.setdefault(holder.workload, []).append(holder)
    leaving = {action.pod.uid: action for action in plan.actions if isinstance(action, Evict)}
    found = []
    for group in owners.groups:
        ref = group.gang.ref
        decision = decisions.get(ref)
        holders = held.get(ref, ())
        if decision or holders or group.gang.queue or any(pod.spec.resource_claims for pod in group.pods):
            going = tuple(leaving[pod.metadata.uid] for pod in group.pods if pod.metadata.uid in leaving)
            found.append(_state(group, decision, holders, going if leaving else ()))
    order = list(Status)
    found.sort(
        key=lambda item: (
            item.queue,
            order.index(item.status),
            item.position,
            item.ref.namespace,
            item.ref.name,
            item.ref.kind,
        )
    )
    return WorkloadTable(tuple(found))


def _state(
    group: Group, decision: Decision | None, holders: Iterable[Holder], leaving: tuple[Evict, ...]
) -> WorkloadState:
    gang = group.gang
    running = [pod for pod in group.pods if pod.status.phase == "Running" and live(pod)]
    status = _status(group, decision, len(running))
    holders = tuple(holders)
    lacking = len(decision.pods) if decision is not None and decision.verdict is not None else 0
    return WorkloadState(
        ref=gang.ref,
        queue=gang.queue,
        priority=gang.priority,
        created=gang.created,
        status=status,
        ready=len(running),
        total=max(len(gang.members), gang.minimum if gang.members else 0) or len(group.pods),
        devices=sum((holder.share for holder in holders), Fraction(0)),
        nodes=_nodes(group.pods, decision),
        pods=tuple(pod.ref for pod in group.pods),
        claims=tuple({holder.claim: None for holder in holders if holder.claim is not None}),
        position=decision.position if decision is not None and (lacking or status is Status.WAITING) else 0,
        verdict=decision.verdict if decision is not None else None,
        decision=decision.id if decision is not None else "",
        lacking=lacking,
        leaving=leaving,
    )


def _status(group: Group, decision: Decision | None, running: int) -> Status:
    members = group.gang.members
    if not members:
        if any(not pod.finished for pod in group.pods):
            return Status.TERMINATING
        failed = any(pod.status.phase == "Failed" for pod in group.pods)
        return Status.FAILED if failed else Status.SUCCEEDED
    if decision is not None and decision.verdict is not None:
        return Status.RUNNING if running >= group.gang.minimum else Status.WAITING
    if running >= group.gang.minimum:
        return Status.RUNNING
    bound = sum(1 for pod in members if pod.spec.node_name)
    if bound >= group.gang.minimum:
        return Status.STARTING
    if decision is not None or all(not pod.gated for pod in members):
        return Status.PLACED
    return Status.WAITING


def _nodes(pods: Iterable[Pod], decision: Decision | None) -> tuple[str, ...]:
    """Where pods are, or will be; promised places are not among them."""
    found = {pod.spec.node_name: None for pod in pods if pod.spec.node_name and not pod.finished}
    if decision is not None:
        for action in decision.actions:
            if isinstance(action, Admit):
                found.update({placement.node: None for placement in action.placements})
    return tuple(found)


def by_queue(table: WorkloadTable) -> Mapping[str, tuple[WorkloadState, ...]]:
    """Workloads by the queue that they are in."""
    found: dict[str, list[WorkloadState]] = {}
    for item in table.workloads:
        found.setdefault(item.queue, []).append(item)
    return {queue: tuple(items) for queue, items in found.items()}
