"""When device taints end the use of a claim (KEP-5055, effect NoExecute)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from aliquot.dra.fleet import Fleet
from aliquot.dra.taints import tolerates
from aliquot.model.resource import (
    DeviceRequestAllocationResult,
    DeviceTaint,
    DeviceTaintRule,
    DeviceToleration,
    ResourceClaim,
)


class Eviction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The pods of a claim have to go.

    device: "driver/pool/device"; taint: what is wrong with it. due: when at the latest; None means at once.
    """

    device: str
    taint: DeviceTaint
    due: datetime | None = None


def eviction_of(fleet: Fleet, claim: ResourceClaim) -> Eviction | None:
    """The earliest eviction that taints of the claim's devices demand, or None.

    What was tolerated when the devices were allocated counts: the tolerations in the allocation, not those
    in the claim's spec. A taint is tolerated for as long as the shortest of the tolerations that cover it
    says, from the time it was added. Rules hold for devices that are published no longer, too.
    """
    allocation = claim.status.allocation
    earliest: Eviction | None = None
    for result in () if allocation is None else allocation.devices.results:
        for taint in _taints(fleet, result):
            if taint.effect != "NoExecute":
                continue
            evicts, due = _due(taint, result.tolerations)
            if evicts and (earliest is None or _before(due, earliest.due)):
                name = f"{result.driver}/{result.pool}/{result.device}"
                earliest = Eviction(device=name, taint=taint, due=due)
    return earliest


def _taints(fleet: Fleet, result: DeviceRequestAllocationResult) -> tuple[DeviceTaint, ...]:
    found = fleet.find(result.driver, result.pool, result.device)
    if found is not None:
        pool, index = found
        return fleet.taints.of(pool).get(index, ())
    return tuple(rule.spec.taint for rule in fleet.taints.rules if _selects(rule, result))


def _selects(rule: DeviceTaintRule, result: DeviceRequestAllocationResult) -> bool:
    selector = rule.spec.device_selector
    return (
        selector is not None
        and selector.driver in (None, result.driver)
        and selector.pool in (None, result.pool)
        and selector.device in (None, result.device)
    )


def _due(taint: DeviceTaint, tolerations: Iterable[DeviceToleration]) -> tuple[bool, datetime | None]:
    """Whether a taint evicts at all, and when; None for at once."""
    covering = [each for each in tolerations if tolerates(each, taint)]
    if not covering:
        return True, None
    limits = [each.toleration_seconds for each in covering if each.toleration_seconds is not None]
    if not limits:
        return False, None
    if min(limits) <= 0 or taint.time_added is None:
        return True, None
    return True, taint.time_added + timedelta(seconds=min(limits))


def _before(due: datetime | None, other: datetime | None) -> bool:
    return other is not None and (due is None or due < other)
