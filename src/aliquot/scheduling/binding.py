"""Binding conditions (KEP-5007): devices that have to be made ready on a node before a pod is bound to it.

The scheduler waits with binding until all binding conditions of the claim's devices are true. When a failure
condition is true or the time is over it takes its reservation back and would clear the allocation, which is
not its to clear; so that is done here, and the pod is placed anew.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from aliquot.model.resource import AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.claims import reserved_for, schedulers_own
from aliquot.scheduling.repairs import Managed, Release, Repair, release_or_wait
from aliquot.scheduling.users import ClaimUsers


def failed(
    claims: Iterable[ResourceClaim],
    users: ClaimUsers,
    managed: Managed,
    now: datetime,
    timeout: int,
    patience: int,
) -> Iterator[Repair | Release]:
    """What becomes of claims whose devices were not made ready.

    Pods that run hold their claim whatever its conditions say. A pod that was let go has lost its reservation
    once the scheduler has given up on it, and cannot be bound with the devices as they are: then they are
    taken back under it. While it is reserved the scheduler may still be at it; a pod for which that lasts
    longer than `patience` seconds is replaced. timeout: seconds from the allocation on.
    """
    for claim in claims:
        allocation = claim.status.allocation
        if allocation is None or not any(result.binding_conditions for result in allocation.devices.results):
            continue
        found = problem(claim, now, timeout)
        if found is None or schedulers_own(claim) or not managed(claim):
            continue
        using = users.of(claim)
        if using.bound:
            continue
        fact, since = found
        verdict = Verdict(reason=Reason.BINDING_FAILED, facts=(fact,))
        busy = [pod for pod in using.let_go if reserved_for(claim, pod)]
        if not busy:
            yield Release(claim, verdict, (*using.let_go, *using.gated))
            continue
        late = since is not None and (now - since).total_seconds() > patience
        for pod in using.let_go:
            yield Repair(pod, verdict, late and pod.metadata.controller is not None)
        yield from release_or_wait(claim, verdict, using)


def problem(claim: ResourceClaim, now: datetime, timeout: int) -> tuple[Fact, datetime | None] | None:
    """Why the claim's devices do not become ready, with the time when that was known; None while they may.

    As the scheduler sees it: device by device, failure conditions count before binding conditions, and
    devices without binding conditions are ready.
    """
    allocation = claim.status.allocation
    assert allocation is not None
    for result in allocation.devices.results:
        if not result.binding_conditions:
            continue
        name = f"{result.driver}/{result.pool}/{result.device}"
        status = _status(claim, result)
        conditions = {item.type: item for item in status.conditions} if status is not None else {}
        for kind in result.binding_failure_conditions:
            condition = conditions.get(kind)
            if condition is not None and condition.status == "True":
                told = condition.message or condition.reason or condition.type
                fact = Fact(test="bindingFailure", subject=name, wanted=condition.type, available=told[:200])
                return fact, condition.last_transition_time
        if all(
            kind in conditions and conditions[kind].status == "True" for kind in result.binding_conditions
        ):
            continue
        written = allocation.allocation_timestamp
        if written is None or written + timedelta(seconds=timeout) >= now:
            return None
        missing = next(
            kind
            for kind in result.binding_conditions
            if kind not in conditions or conditions[kind].status != "True"
        )
        fact = Fact(test="bindingTimeout", subject=name, wanted=f"{timeout}s", available=missing)
        return fact, written + timedelta(seconds=timeout)
    return None


def _status(claim: ResourceClaim, result: DeviceRequestAllocationResult) -> AllocatedDeviceStatus | None:
    for item in claim.status.devices:
        if (item.driver, item.pool, item.device, item.share_id) == (
            result.driver,
            result.pool,
            result.device,
            result.share_id,
        ):
            return item
    return None
