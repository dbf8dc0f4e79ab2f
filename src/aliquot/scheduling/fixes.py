"""The nearest change that would let a workload start, and who holds what is missing: the fewest."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from aliquot.dra.pools import members
from aliquot.fractions.requests import GpuRequest, gpu_request
from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Fix
from aliquot.queues.tree import Amount, Excess, shown
from aliquot.scheduling.accounts import Holding
from aliquot.scheduling.requests import written
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.survey import Group, part_phrase

MAX_HOLDERS = 16
"""Holders named in a fix; when more would be needed the list ends there."""


def free_devices(state: ClusterState, near: Sequence[Group], own: frozenset[Key], pods: int) -> Fix | None:
    """How many devices are missing where fewest are, and who holds them there.

    own: claims of the gang itself, which are no one to ask. pods: how many equal pods have no place yet; with
    several, devices of several nodes are counted.
    """
    by_short: dict[int, list[Group]] = {}
    for group in near:
        if group.finding.devices is not None:
            by_short.setdefault(group.finding.devices.short or 1, []).append(group)
    if not by_short:
        return None
    short = min(by_short)
    group = min(by_short[short], key=lambda item: item.first)
    devices = group.finding.devices
    assert devices is not None
    node = state.table.names[group.first]
    missing = short + (pods - 1) * max(1, devices.wanted)
    holders: list[str] = []
    freed = 0
    for name in _by_shortage(state, by_short) if pods > 1 else (node,):
        if freed >= missing or len(holders) >= MAX_HOLDERS:
            break
        for claim, number in _held_at(state, name, own):
            if freed >= missing or len(holders) >= MAX_HOLDERS:
                break
            holders.append(holder_of(state, claim))
            freed += number
    subject = devices.subject if pods > 1 else f"{devices.subject} on node {node}"
    return Fix(change="freeDevices", subject=subject, amount=str(missing), holders=tuple(holders))


def _by_shortage(state: ClusterState, by_short: Mapping[int, Sequence[Group]]) -> Iterator[str]:
    """Names of nodes, those with the smallest shortage first."""
    for short in sorted(by_short):
        nodes = 0
        for group in by_short[short]:
            nodes |= group.nodes
        for number in members(nodes):
            yield state.table.names[number]


def free_part(state: ClusterState, reachable: Sequence[Group], part: GpuRequest) -> Fix | None:
    """The pod that has the smallest part of a device that is large enough, and where."""
    found: list[tuple[Amount, str, str, str]] = []
    for group in reachable:
        devices = group.finding.devices
        if devices is None or devices.test != "partInUse":
            continue
        for number in members(group.nodes):
            wanted, node = state.parts.charge(number, part), state.table.names[number]
            for pod in state.neighbours.pods_on(node):
                held = gpu_request(pod)
                if isinstance(held, GpuRequest) and held.shared:
                    amount = state.parts.charge(number, held)
                    if amount >= wanted:
                        found.append((amount, node, str(pod.ref), devices.subject))
    if not found:
        return Fix(change="freePart", amount=part_phrase(part))
    _, node, holder, amount_text = min(found)
    return Fix(change="freePart", subject=node, amount=amount_text, holders=(holder,))


def _held_at(state: ClusterState, node: str, own: frozenset[Key]) -> list[tuple[Key, int]]:
    """Claims that hold devices of a node with how many, those with most first, shares last."""
    held: dict[Key, int] = {}
    shared: set[Key] = set()
    for pool in state.devices.fleet.local_pools(node):
        usage = state.devices.usage.of_pool(pool)
        for index in members(pool.local.get(node, 0) & (usage.taken | usage.shared)):
            for claim, share in usage.holders.get(index, {}):
                if claim not in own:
                    held[claim] = held.get(claim, 0) + 1
                    if share is not None:
                        shared.add(claim)
    return sorted(held.items(), key=lambda item: (item[0] in shared, -item[1], item[0]))


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


def free_resource(
    state: ClusterState,
    lacking: Sequence[Group],
    own_pods: frozenset[Key],
    requests: Callable[[Pod], Mapping[str, int]],
) -> Fix | None:
    """The node that lacks the smallest part of a resource, among those that have enough in all, and who has
    most of it there. own_pods: members of the gang itself. requests: what a pod takes of its node."""
    best: tuple[float, int, tuple[str, int, int]] | None = None
    for group in lacking:
        if group.finding.resource is None:
            continue
        name, wanted, free = group.finding.resource
        part = (wanted - free) / wanted if wanted else 1.0
        if best is not None and part > best[0]:
            continue
        for number in members(group.nodes):
            if name == "hostPort" or state.table.whole[number].get(name, 0) >= wanted:
                if best is None or (part, number) < best[:2]:
                    best = (part, number, group.finding.resource)
                break
    if best is None:
        return None
    _, number, (resource, wanted, free) = best
    node = state.table.names[number]
    if resource == "hostPort":
        return Fix(change="freeHostPort", subject=f"{wanted} on node {node}")
    return Fix(
        change="freeResource",
        subject=f"{resource} on node {node}",
        amount=written(resource, wanted - free),
        holders=_largest(state, node, resource, wanted - free, own_pods, requests),
    )


def _largest(
    state: ClusterState,
    node: str,
    resource: str,
    missing: int,
    own_pods: frozenset[Key],
    requests: Callable[[Pod], Mapping[str, int]],
) -> tuple[str, ...]:
    """The fewest pods on a node that have as much of a resource as is missing."""
    found: list[tuple[int, Key]] = []
    for pod in state.neighbours.pods_on(node):
        number = requests(pod).get(resource, 0)
        if number and (not own_pods or pod.key not in own_pods):
            found.append((-number, pod.key))
    found.sort()
    holders: list[str] = []
    for less, (namespace, name) in found:
        if missing <= 0 or len(holders) >= MAX_HOLDERS:
            break
        holders.append(str(ObjectRef(kind="Pod", namespace=namespace, name=name)))
        missing += less
    return tuple(holders)


def raise_limit(holdings: Callable[[str], Iterable[Holding]], excess: Excess, short: Amount) -> Fix:
    """Raise the limit (or quota) by what is short, or have the fewest holders below the queue give it back.

    holdings: what counts in a queue and below it. No holders are named where even all hold too little.
    """
    if excess.term == "quota":
        subject = f"{excess.queue}/{excess.resource}"
        return Fix(change="raiseQuota", subject=subject, amount=shown(short, excess.resource))
    inside = [
        (Fraction(item.charge.get(excess.resource, 0)), item.pod)
        for item in holdings(excess.queue)
        if item.charge.get(excess.resource)
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
        amount=shown(short, excess.resource),
        holders=tuple(holders) if freed >= short else (),
    )
