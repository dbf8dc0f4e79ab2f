"""The snapshot after a plan: what it would look like once every action is done and pods are bound. Pure."""

from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.model.core import PLACEMENT_GATE, Pod
from aliquot.model.index import Key
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.resource import DELETE_PROTECTION, ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Allocate, Deallocate, Evict, Placement, Plan, Reserve, Show
from aliquot.workloads.labels import STALE_SINCE

T = TypeVar("T", bound=KubernetesObject)


def apply(snapshot: Snapshot, plan: Plan, now: datetime) -> Snapshot:
    """The snapshot with the plan carried out: claims allocated and reserved, gates lifted, pods on their
    nodes (pending still: nothing has started), evicted pods gone together with claims made for them.

    Objects that the plan does not touch stay the same Python objects. Actions on objects that are not there
    are left out.
    """
    claims: dict[Key, ResourceClaim] = {}
    known = {claim.key: claim for claim in snapshot.resource_claims}
    gone: set[Key] = set()
    for action in plan.actions:
        if isinstance(action, Evict):
            gone.add(_key(action.pod))
            continue
        if not isinstance(action, Allocate | Reserve | Deallocate):
            continue
        key = _key(action.claim)
        claim = claims.get(key) or known.get(key)
        if claim is not None:
            claims[key] = _changed(claim, action, now)
    spots = {_key(spot.pod): spot for decision in plan.decisions for spot in decision.placements}
    let_go = {_key(pod) for action in plan.actions if isinstance(action, Show) for pod in action.pods}
    pods: list[Pod] = []
    removed: set[str] = set()
    noted = {_key(pod): found.since for found in plan.staleness for pod in found.pods}
    for pod in snapshot.pods:
        if pod.key in gone:
            removed.add(pod.metadata.uid)
            continue
        if pod.key in noted:
            pod = _noted(pod, noted[pod.key])
        if pod.key in let_go:
            pod = _without_gate(pod)
        pods.append(_bound(pod, spots[pod.key]) if pod.key in spots else pod)
    kept = [
        _released(claims.get(claim.key, claim), removed)
        for claim in snapshot.resource_claims
        if not any(owner.kind == "Pod" and owner.uid in removed for owner in claim.metadata.owner_references)
    ]
    return replace(snapshot, pods=tuple(pods), resource_claims=tuple(kept))


def _key(reference: ObjectRef) -> Key:
    return (reference.namespace, reference.name)


def _changed(claim: ResourceClaim, action: Allocate | Reserve | Deallocate, now: datetime) -> ResourceClaim:
    status = claim.status
    if isinstance(action, Deallocate):
        return replace(claim, status=replace(status, allocation=None, reserved_for=(), devices=()))
    reserved = (*status.reserved_for, *(item for item in action.consumers if item not in status.reserved_for))
    if isinstance(action, Reserve):
        return replace(claim, status=replace(status, reserved_for=reserved))
    allocation = replace(action.allocation, allocation_timestamp=now)
    meta = claim.metadata
    if DELETE_PROTECTION not in meta.finalizers:
        meta = replace(meta, finalizers=(*meta.finalizers, DELETE_PROTECTION))
    return replace(claim, metadata=meta, status=replace(status, allocation=allocation, reserved_for=reserved))


def _released(claim: ResourceClaim, removed: set[str]) -> ResourceClaim:
    """The claim without reservations of removed pods; Kubernetes takes the allocation with the last one."""
    if not removed or not any(item.uid in removed for item in claim.status.reserved_for):
        return claim
    left = tuple(item for item in claim.status.reserved_for if item.uid not in removed)
    allocation = claim.status.allocation if left else None
    return replace(claim, status=replace(claim.status, reserved_for=left, allocation=allocation))


def _noted(pod: Pod, since: datetime | None) -> Pod:
    annotations = {name: text for name, text in pod.metadata.annotations.items() if name != STALE_SINCE}
    if since is not None:
        annotations[STALE_SINCE] = since.isoformat()
    return replace(pod, metadata=replace(pod.metadata, annotations=annotations))


def _bound(pod: Pod, spot: Placement) -> Pod:
    pod = _without_gate(pod)
    pod = replace(pod, spec=replace(pod.spec, node_name=spot.node))
    if not spot.groups:
        return pod
    annotations = pod.metadata.annotations | {GROUPS_ANNOTATION: ",".join(spot.groups)}
    return replace(pod, metadata=replace(pod.metadata, annotations=annotations))


def _without_gate(pod: Pod) -> Pod:
    gates = tuple(gate for gate in pod.spec.scheduling_gates if gate.name != PLACEMENT_GATE)
    return replace(pod, spec=replace(pod.spec, scheduling_gates=gates))
