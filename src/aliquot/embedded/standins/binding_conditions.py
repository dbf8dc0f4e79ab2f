"""Whether the devices of a claim are ready for its pod to be bound (KEP-5007)."""

from __future__ import annotations

from enum import Enum

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import parse_time

#: How long kube-scheduler waits for binding conditions, in seconds from the allocation on.
BINDING_TIMEOUT = 600.0


class Readiness(Enum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


def readiness(claim: Object, now: float) -> Readiness:
    """Device by device: one that has failed counts before one that is not ready, and what is behind the first
    of them is not looked at. Time runs out for the claim as a whole.
    """
    status = claim.get("status") or {}
    allocation = status.get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or ():
        wanted = result.get("bindingConditions") or ()
        if not wanted:
            continue
        true = _true_conditions(status, result)
        if true & set(result.get("bindingFailureConditions") or ()):
            return Readiness.FAILED
        if not set(wanted) <= true:
            end = binding_end(claim)
            return Readiness.FAILED if end is not None and end < now else Readiness.WAITING
    return Readiness.READY


def binding_end(claim: Object) -> float | None:
    """When the time for making the claim's devices ready is over; None where nobody noted the start."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    start = parse_time(allocation.get("allocationTimestamp"))
    return None if start is None else start + BINDING_TIMEOUT


def _true_conditions(status: Object, result: Object) -> set[str]:
    keys = ("driver", "pool", "device", "shareID")
    for device in status.get("devices") or ():
        if all(device.get(key) == result.get(key) for key in keys):
            return {one["type"] for one in device.get("conditions") or () if one.get("status") == "True"}
    return set()
