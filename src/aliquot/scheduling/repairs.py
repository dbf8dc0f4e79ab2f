"""What has to be put right before anything new is decided: pods beside their devices, claims that hold on.

A gate cannot be put back and an allocation is not moved under a pod that was let go. So a pod that cannot
bind, or that runs beside its devices, is replaced: its owner makes a new one, gated, with new claims. A pod
without an owner keeps its place, and the verdict says why it waits.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling.affinity import matches_node, named_node, node_fall
from aliquot.scheduling.claims import claim_keys, owned_by, reserved_for, schedulers_own
from aliquot.scheduling.users import ClaimUsers, Users
from aliquot.workloads.labels import ADMITTED_AT

MOST_MESSAGE = 300
"""So much of what the scheduler says is kept."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A pod with its verdict. replace: have it replaced; otherwise it keeps its place."""

    pod: Pod
    verdict: Verdict
    replace: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A claim whose devices are given back. pods: those that wait for it, to be decided about next time."""

    claim: ResourceClaim
    verdict: Verdict
    pods: tuple[Pod, ...] = ()


Managed = Callable[[ResourceClaim], bool]
"""Whether a claim is Aliquot's to allocate; those of other allocators are left alone."""


def misplaced(index: SnapshotIndex, pods: Iterable[Pod], managed: Managed) -> Iterator[Repair]:
    """Bound pods on nodes that a claim of theirs cannot be used from."""
    for pod in pods:
        node_name = pod.spec.node_name
        if not node_name or not pod.spec.resource_claims or not live(pod):
            continue
        node = index.nodes.get(node_name)
        for key in claim_keys(pod):
            claim = index.claims.get(key)
            if claim is None or claim.status.allocation is None:
                continue
            selector = claim.status.allocation.node_selector
            if selector is None or named_node(selector) == node_name:
                continue
            if (node is not None and matches_node(selector, node)) or not managed(claim):
                continue
            fact = Fact(
                test="claimNode",
                subject=claim.name,
                wanted=named_node(selector) or "another node",
                available=node_name,
            )
            yield _repair(pod, Reason.CLAIM_ELSEWHERE, fact)
            break


def by_hand(index: SnapshotIndex, pods: Iterable[Pod], managed: Managed) -> Iterator[Repair]:
    """Pods that were put on their node past every scheduler, with claims that have no devices: no kubelet
    starts them, and Aliquot places no pod that has its place. Of one that Aliquot let go the claims are only
    not known yet.
    """
    for pod in pods:
        if not pod.spec.node_name or not pod.spec.resource_claims or pod.status.phase != "Pending":
            continue
        if not live(pod) or ADMITTED_AT in pod.metadata.annotations:
            continue
        for key in claim_keys(pod):
            claim = index.claims.get(key)
            if claim is not None and claim.status.allocation is None and managed(claim):
                fact = Fact(test="handPlaced", subject=claim.name, available=pod.spec.node_name)
                fix = Fix(change="replacePod", subject=str(pod.ref))
                yield Repair(pod, Verdict(reason=Reason.HAND_PLACED, facts=(fact,), fix=fix), False)
                break


def blocked_by_deletion(index: SnapshotIndex, pods: Iterable[Pod], managed: Managed) -> Iterator[Repair]:
    """Unbound pods that hold on to a claim that is being deleted: neither can ever go on.

    The claim stays while it is reserved for the pod, and the pod cannot bind with a claim being deleted.
    """
    for pod in pods:
        for key in claim_keys(pod):
            claim = index.claims.get(key)
            if (
                claim is not None
                and claim.metadata.deletion_timestamp is not None
                and reserved_for(claim, pod)
                and managed(claim)
            ):
                fact = Fact(test="claimDeleting", subject=claim.name)
                yield _repair(pod, Reason.WAITING_FOR_CLAIMS, fact)
                break


def deleted_behind_gates(
    claims: Iterable[ResourceClaim], users: ClaimUsers, managed: Managed
) -> Iterator[Release]:
    """Claims that are being deleted and held only by pods behind gates that nobody would make anew: the
    devices are given back, as those pods keep their place and the claim could never go.
    """
    for claim in claims:
        using = users.of(claim)
        if (
            using.gated
            and not using.bound
            and not using.let_go
            and all(pod.metadata.controller is None for pod in using.gated)
            and managed(claim)
        ):
            fact = Fact(test="claimDeleting", subject=claim.name)
            yield Release(claim, Verdict(reason=Reason.WAITING_FOR_CLAIMS, facts=(fact,)), tuple(using.gated))


def stuck(
    index: SnapshotIndex,
    let_go: Iterable[tuple[Pod, str | None]],
    now: datetime,
    patience: int,
    managed: Managed,
) -> Iterator[Repair]:
    """Pods that were let go to a node that is gone or refuses them, and pods found unschedulable for long.

    let_go: unbound pods with all claims written, and the one node that those claims leave them
    (None if they leave several). Replacing only helps if the pod's own claims tie it to its node.
    """
    for pod, node_name in let_go:
        if not _owns_allocated(index, pod, managed):
            continue
        if node_name is not None:
            node = index.nodes.get(node_name)
            if node is None:
                yield _repair(pod, Reason.NODE_UNFIT, Fact(test="nodeGone", subject=node_name))
                continue
            fall = node_fall(pod.spec, node)
            if fall is not None:
                test, subject = fall
                fact = Fact(test=test, subject=subject, count=1, unit="nodes", available=node_name)
                yield _repair(pod, Reason.NODE_UNFIT, fact)
                continue
        since = _unschedulable_since(index, pod)
        if since is not None and (now - since).total_seconds() > patience:
            fact = Fact(
                test="unschedulable",
                subject=node_name or "",
                wanted=f"{patience}s",
                available=scheduler_says(pod)[:MOST_MESSAGE],
            )
            yield _repair(pod, Reason.NODE_UNFIT, fact)


def release_or_wait(claim: ResourceClaim, verdict: Verdict, users: Users) -> Iterator[Repair | Release]:
    """Take back a claim that only pods behind gates use; while others do, those behind gates wait."""
    if not users.bound and not users.let_go:
        yield Release(claim, verdict, tuple(users.gated))
        return
    for pod in users.gated:
        yield Repair(pod, verdict, False)


def idle_shared(
    pods: Collection[Pod], index: SnapshotIndex, users: ClaimUsers, managed: Managed
) -> list[ResourceClaim]:
    """Allocated claims that only these pods use, all behind gates, and not made for one of them alone.

    They were written for a place that the pods cannot have any more, as when a run of the controller ended
    half-way.
    """
    waiting = {pod.key for pod in pods if pod.gated}
    found: dict[Key, ResourceClaim] = {}
    for pod in pods:
        for key in claim_keys(pod):
            claim = index.claims.get(key)
            if claim is None or claim.status.allocation is None or owned_by(claim, pod) or not managed(claim):
                continue
            using = users.of(claim)
            if not using.bound and not using.let_go and all(other.key in waiting for other in using.gated):
                found[key] = claim
    return list(found.values())


def may_be_unused(claim: ResourceClaim) -> bool:
    """Whether a claim that is allocated and reserved for nobody is to be given back if no live pod names it.

    Kubernetes releases a claim when its last reservation goes, and deletes one whose pod is gone; a claim
    that is allocated but was never reserved is left to nobody else.
    """
    return not schedulers_own(claim) and claim.metadata.deletion_timestamp is None


def scheduler_says(pod: Pod) -> str:
    """What the scheduler last said of a pod that it found unschedulable; "" if it has not."""
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message if condition.reason == "Unschedulable" else ""
    return ""


def _owns_allocated(index: SnapshotIndex, pod: Pod, managed: Managed) -> bool:
    for key in claim_keys(pod):
        claim = index.claims.get(key)
        if claim is None or claim.status.allocation is None:
            continue
        if owned_by(claim, pod) and managed(claim):
            return True
    return False


def _unschedulable_since(index: SnapshotIndex, pod: Pod) -> datetime | None:
    """When the scheduler was last in a position to bind the pod and did not; None if it may yet.

    The condition's time does not move while its status stays False, so a pod that waited long for its devices
    is given its time from their allocation on. Without a time of allocation nothing can be said.
    """
    since: datetime | None = None
    for key in claim_keys(pod):
        claim = index.claims.get(key)
        if claim is not None and claim.status.allocation is not None:
            written = claim.status.allocation.allocation_timestamp
            if written is None:
                return None
            since = written if since is None else max(since, written)
    for condition in pod.status.conditions:
        if (
            condition.type == "PodScheduled"
            and condition.status == "False"
            and condition.reason == "Unschedulable"
        ):
            if condition.last_transition_time is None or since is None:
                return None
            return max(since, condition.last_transition_time)
    return None


def _repair(pod: Pod, reason: Reason, fact: Fact) -> Repair:
    replace = pod.metadata.controller is not None
    fix = None if replace else Fix(change="replacePod", subject=str(pod.ref))
    return Repair(pod, Verdict(reason=reason, facts=(fact,), fix=fix), replace)
