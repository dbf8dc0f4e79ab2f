"""The nearest change that would let a workload start, and who holds what is missing: the fewest."""

from collections.abc import Sequence
from fractions import Fraction

from aliquot.dra.pools import members
from aliquot.scheduling.accounts import Holding
from aliquot.scheduling.index import Key
from aliquot.scheduling.queues import Amount, Excess, QueueTree, shown
from aliquot.scheduling.requests import written
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.survey import NodeFinding
from aliquot.scheduling.verdicts import Fix

MAX_HOLDERS = 16
"""Holders named in a fix; when more would be needed the list ends there."""


def free_devices(state: ClusterState, near: Sequence[NodeFinding], holdings: Sequence[Holding]) -> Fix | None:
    """The node that lacks fewest devices, and who holds them there."""
    with_devices = [item for item in near if item.devices is not None]
    if not with_devices:
        return None
    best = min(
        with_devices,
        key=lambda item: (item.devices.short or 1 if item.devices is not None else 0, item.node),
    )
    assert best.devices is not None
    missing = best.devices.short or 1
    held: dict[Key, int] = {}
    for pool in state.devices.fleet.local_pools(best.node):
        usage = state.devices.usage.of_pool(pool)
        for index in members(pool.local.get(best.node, 0) & (usage.taken | usage.shared)):
            for claim, _ in usage.holders.get(index, {}):
                held[claim] = held.get(claim, 0) + 1
    holders: list[str] = []
    freed = 0
    for claim, number in sorted(held.items(), key=lambda item: (-item[1], item[0])):
        if freed >= missing or len(holders) >= MAX_HOLDERS:
            break
        holders.append(holder_of(state, claim))
        freed += number
    return Fix(
        change="freeDevices",
        subject=f"{best.devices.subject} on node {best.node}",
        amount=str(missing),
        holders=tuple(holders),
    )


def holder_of(state: ClusterState, key: Key) -> str:
    """Who has the claim: its first consumer, "pod/namespace/name"; the claim itself if nobody has."""
    consumers = tuple(state.claims.reservations.get(key, ()))
    claim = state.index.claims.get(key)
    if claim is not None and claim.status.reserved_for:
        consumers = claim.status.reserved_for
    for reference in consumers:
        kind = "pod" if reference.resource == "pods" else reference.resource
        return f"{kind}/{key[0]}/{reference.name}"
    return f"resourceclaim/{key[0]}/{key[1]}"


def free_resource(state: ClusterState, lacking: Sequence[NodeFinding]) -> Fix | None:
    """The node that lacks the smallest part of a resource, and whose requests there are largest."""
    best: tuple[float, str, NodeFinding] | None = None
    for item in lacking:
        if item.resource is None:
            continue
        _, wanted, free = item.resource
        part = (wanted - free) / wanted if wanted else 1.0
        if best is None or (part, item.node) < best[:2]:
            best = (part, item.node, item)
    if best is None or best[2].resource is None:
        return None
    item = best[2]
    resource, wanted, free = best[2].resource
    if resource == "hostPort":
        return Fix(change="freeHostPort", subject=f"{wanted} on node {item.node}")
    whole = state.table.whole[item.number].get(resource, 0)
    if whole < wanted:
        return Fix(change="addNode", subject=resource, amount=written(resource, wanted))
    return Fix(
        change="freeResource",
        subject=f"{resource} on node {item.node}",
        amount=written(resource, wanted - free),
    )


def raise_limit(tree: QueueTree, holdings: Sequence[Holding], excess: Excess, short: Amount) -> Fix:
    """Raise the limit by what is short, or have the fewest holders below the queue give it back."""
    inside = [
        (Fraction(item.charge.get(excess.resource, 0)), item.pod)
        for item in holdings
        if excess.queue in tree.path(item.queue) and item.charge.get(excess.resource)
    ]
    inside.sort(key=lambda item: (-item[0], item[1].key))
    holders: dict[str, None] = {}
    freed = Fraction(0)
    for number, pod in inside:
        if freed >= short or len(holders) >= MAX_HOLDERS:
            break
        holders[str(pod.ref)] = None
        freed += number
    return Fix(
        change="raiseLimit",
        subject=f"{excess.queue}/{excess.resource}",
        amount=shown(short),
        holders=tuple(holders),
    )
