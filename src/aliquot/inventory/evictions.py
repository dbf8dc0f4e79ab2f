"""Who has to leave by a plan: from where, for whom, and what is lost by it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from aliquot.inventory.devices import DeviceTable
from aliquot.inventory.owners import Owners
from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Verdict
from aliquot.scheduling.plan import Evict, Plan


@dataclass(frozen=True, slots=True)
class Eviction:
    """A pod that the plan makes leave its node.

    workload, queue: its own. devices: accelerators that it gives back. beneficiary: the workload that it
    leaves for, None if it leaves for its own gang's sake. moved_to: the node that it was promised instead, ""
    if none. lost_seconds: of its work that are done in vain, None where that is not known.
    """

    pod: ObjectRef
    node: str
    workload: ObjectRef | None
    queue: str
    devices: Fraction
    beneficiary: ObjectRef | None
    for_queue: str
    moved_to: str
    lost_seconds: int | None
    verdict: Verdict


def evictions(
    snapshot: Snapshot, plan: Plan, owners: Owners, devices: DeviceTable, now: datetime
) -> tuple[Eviction, ...]:
    """The pods on nodes that leave by the plan, in its order. now: when they would leave."""
    if not any(isinstance(action, Evict) for action in plan.actions):
        return ()
    pods = {pod.key: pod for pod in snapshot.pods}
    held = _held(devices)
    return tuple(_found(pods, plan, owners, held, now))


def _found(
    pods: dict[Key, Pod], plan: Plan, owners: Owners, held: dict[Key, Fraction], now: datetime
) -> Iterator[Eviction]:
    for decision in plan.decisions:
        promised = {spot.pod.uid: spot.node for spot in decision.promised}
        for action in decision.actions:
            if not isinstance(action, Evict):
                continue
            key = (action.pod.namespace, action.pod.name)
            pod = pods.get(key)
            if pod is None or not pod.spec.node_name:
                continue
            gang = owners.of_pod.get(key)
            own = gang is None or gang.ref == decision.workload
            yield Eviction(
                pod=action.pod,
                node=pod.spec.node_name,
                workload=gang.ref if gang is not None else None,
                queue=gang.queue if gang is not None else "",
                devices=held.get(key, Fraction(0)),
                beneficiary=None if own else decision.workload,
                for_queue="" if own else decision.queue,
                moved_to=promised.get(action.pod.uid, ""),
                lost_seconds=gang.cost.lost_seconds(gang.started, now) if gang is not None else None,
                verdict=action.verdict,
            )


def _held(devices: DeviceTable) -> dict[Key, Fraction]:
    """How much of accelerators each pod holds; what several share counts for the first of them."""
    found: dict[Key, Fraction] = {}
    for state in devices.devices:
        if not state.board.accelerator:
            continue
        for holder in state.holders:
            if holder.pods and not holder.admin:
                key = (holder.pods[0].namespace, holder.pods[0].name)
                found[key] = found.get(key, Fraction(0)) + holder.share
    return found
