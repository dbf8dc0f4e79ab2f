"""Devices with NoExecute taints (KEP-5055): who has to leave them, and when.

Kubernetes has a controller of its own for this where the feature is on. It acts at once, so a pod that is
still there a while later is one that nobody else evicts. Nobody in Kubernetes minds pods that are not bound
yet: their devices are given back here, before anybody starts on them.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from aliquot.dra.evictions import Eviction, eviction_of
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import PoolKey
from aliquot.model.core import Pod
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling.claims import schedulers_own
from aliquot.scheduling.repairs import Managed, Release, Repair, release_or_wait
from aliquot.scheduling.users import ClaimUsers

NO_EXECUTE = "NoExecute"


def tainted(
    claims: Iterable[ResourceClaim],
    fleet: Fleet,
    users: ClaimUsers,
    managed: Managed,
    now: datetime,
    patience: int | None,
) -> Iterator[Repair | Release]:
    """What becomes of pods on devices with a NoExecute taint that has run out of toleration.

    A pod on a node is evicted once Kubernetes has had `patience` seconds to do so (None: never); with or
    without an owner, as Kubernetes does. A pod that was let go and is not bound yet is replaced at once. Of
    pods behind gates the claim is taken back, unless others use it: then they wait until those are gone.
    claims: those that may hold such a device, in order.
    """
    for claim in claims:
        allocation = claim.status.allocation
        if allocation is None or not managed(claim):
            continue
        eviction = eviction_of(fleet, claim)
        if eviction is None or (eviction.due is not None and eviction.due > now):
            continue
        verdict = _verdict(eviction)
        using = users.of(claim)
        for pod in using.bound:
            since = _since(eviction, allocation, pod)
            if patience is not None and (since is None or (now - since).total_seconds() >= patience):
                yield Repair(pod, verdict, True)
        if schedulers_own(claim):
            continue
        for pod in using.let_go:
            yield Repair(pod, verdict, pod.metadata.controller is not None)
        yield from release_or_wait(claim, verdict, using)


def tainted_pools(fleet: Fleet) -> frozenset[PoolKey] | None:
    """The pools with devices that have NoExecute taints; None if a rule may put such a taint on any."""
    if any(rule.spec.taint.effect == NO_EXECUTE for rule in fleet.taints.rules):
        return None
    return frozenset(
        key
        for key, pool in fleet.pools.items()
        if any(taint.effect == NO_EXECUTE for taints in fleet.taints.of(pool).values() for taint in taints)
    )


def _since(eviction: Eviction, allocation: AllocationResult, pod: Pod) -> datetime | None:
    """When Kubernetes could first have evicted the pod; None if nothing tells."""
    times = [
        condition.last_transition_time
        for condition in pod.status.conditions
        if condition.type == "PodScheduled" and condition.status == "True"
    ]
    times += [eviction.due or eviction.taint.time_added, allocation.allocation_timestamp]
    return max((time for time in times if time is not None), default=None)


def _verdict(eviction: Eviction) -> Verdict:
    taint = eviction.taint
    text = f"{taint.key}={taint.value}" if taint.value else taint.key
    fact = Fact(test="deviceTaint", subject=eviction.device, available=f"{text}:{taint.effect}")
    fix = Fix(change="repairDevice", subject=eviction.device)
    return Verdict(reason=Reason.DEVICE_EVICTED, facts=(fact,), fix=fix)
