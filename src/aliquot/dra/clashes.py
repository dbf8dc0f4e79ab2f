"""What the allocations of all claims together must not do, counted afresh from the claims."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.fleet import Fleet
from aliquot.model.resource import DeviceRequestAllocationResult, ResourceClaim
from aliquot.model.snapshot import Snapshot

DeviceName = tuple[str, str, str]
"""(driver, pool, device)."""


class Violation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rule that does not hold.

    rule: its name, CamelCase. claims: "namespace/name" of the claims concerned. subject: the device
    ("driver/pool/device"), request or field. detail: the facts.
    """

    rule: str
    claims: tuple[str, ...] = ()
    subject: str = ""
    detail: str = ""


def check_cluster(
    snapshot: Snapshot, *, kubernetes: KubernetesVersion = (1, 36), features: Features | None = None
) -> tuple[Violation, ...]:
    """Everything wrong with the allocations of all claims together; empty if nothing is.

    No device is held whole by one claim and in any way by another, no share id is given twice, shares of a
    device do not add up to more than it has, and devices in use do not draw more on a counter than there
    is. Devices that are published no longer are only checked for being held twice. Allocations with
    adminAccess take nothing.
    """
    fleet = Fleet.of(
        snapshot.resource_slices,
        snapshot.device_classes,
        snapshot.device_taint_rules,
        kubernetes=kubernetes,
        features=features,
    )
    return tuple(clashes(fleet, snapshot.resource_claims))


def clashes(fleet: Fleet, claims: Iterable[ResourceClaim]) -> Iterator[Violation]:
    """Everything wrong with the allocations of these claims together."""
    held: dict[DeviceName, list[tuple[str, DeviceRequestAllocationResult]]] = {}
    for claim in claims:
        if claim.status.allocation is None:
            continue
        for result in claim.status.allocation.devices.results:
            if not result.admin_access:
                name = (result.driver, result.pool, result.device)
                held.setdefault(name, []).append((claim_name(claim), result))
    for name in sorted(held):
        yield from _clashes_of_device(fleet, name, held[name])
    yield from _overdrawn(fleet, held)


def _clashes_of_device(
    fleet: Fleet, name: DeviceName, holders: Sequence[tuple[str, DeviceRequestAllocationResult]]
) -> Iterator[Violation]:
    subject = "/".join(name)
    claims = tuple(sorted({claim for claim, _ in holders}))
    shares = [result.share_id for _, result in holders if result.share_id is not None]
    if len(holders) > 1 and len(shares) < len(holders):
        yield Violation(
            rule="DeviceHeldTwice", claims=claims, subject=subject, detail=f"{len(holders)} allocations"
        )
    if len(set(shares)) < len(shares):
        yield Violation(rule="ShareHeldTwice", claims=claims, subject=subject)
    found = fleet.find(*name)
    if found is None or not shares:
        return
    pool, index = found
    for capacity_name, capacity in sorted(pool.devices[index].capacity.items()):
        taken = sum(
            result.consumed_capacity[capacity_name].nano
            for _, result in holders
            if result.share_id is not None and capacity_name in result.consumed_capacity
        )
        if taken > capacity.value.nano:
            yield Violation(
                rule="CapacityExceeded",
                claims=claims,
                subject=subject,
                detail=f"{capacity_name}: {taken} of {capacity.value.nano} billionths",
            )


def _overdrawn(
    fleet: Fleet, held: dict[DeviceName, list[tuple[str, DeviceRequestAllocationResult]]]
) -> Iterator[Violation]:
    drawn: dict[tuple[str, str, str, str], int] = {}
    claims: dict[tuple[str, str, str, str], set[str]] = {}
    for name in sorted(held):
        found = fleet.find(*name)
        if found is None:
            continue
        pool, index = found
        for consumption in pool.devices[index].consumes_counters:
            for counter_name, counter in consumption.counters.items():
                counter_key = (pool.driver, pool.name, consumption.counter_set, counter_name)
                drawn[counter_key] = drawn.get(counter_key, 0) + counter.value.nano
                claims.setdefault(counter_key, set()).update(claim for claim, _ in held[name])
    for (driver, pool_name, set_name, counter_name), amount in sorted(drawn.items()):
        pool = fleet.pools[driver, pool_name]
        for item in pool.slices:
            for counter_set in item.spec.shared_counters:
                available = counter_set.counters.get(counter_name)
                if counter_set.name == set_name and available is not None and amount > available.value.nano:
                    yield Violation(
                        rule="CounterExceeded",
                        claims=tuple(sorted(claims[driver, pool_name, set_name, counter_name])),
                        subject=f"{driver}/{pool_name}/{set_name}/{counter_name}",
                        detail=f"{amount} of {available.value.nano} billionths",
                    )


def claim_name(claim: ResourceClaim) -> str:
    return f"{claim.metadata.namespace}/{claim.metadata.name}"
