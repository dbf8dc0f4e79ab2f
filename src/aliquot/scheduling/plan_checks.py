"""Proof that a plan is sound: what its snapshot looks like afterwards breaks no rule."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from aliquot.dra.checker import check_cluster
from aliquot.dra.usage import Usage
from aliquot.fractions.overuse import overuse
from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.resource import MAX_CONSUMERS
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.accounts import Charges, running_usage
from aliquot.scheduling.affinity import matches_node, node_fall
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.apply import apply
from aliquot.scheduling.claims import claim_keys, reserved_for
from aliquot.scheduling.facts import PodTraits
from aliquot.scheduling.interpod import PodNeighbours, anti_affinity_terms
from aliquot.scheduling.memory import Memory, gang_rules
from aliquot.scheduling.nodes import Demand, NodeTable
from aliquot.scheduling.plan import Placement, Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.served import ExtendedResources
from aliquot.workloads.gangs import gangs, group_key
from aliquot.workloads.grouping import Grouping
from aliquot.workloads.subgroups import lines, satisfied

_LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Breach(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rule that does not hold after a plan. rule: its name, CamelCase; subject: what breaks it."""

    rule: str
    subject: str
    detail: str = ""


def check_plan(snapshot: Snapshot, plan: Plan, policy: Policy) -> tuple[Breach, ...]:
    """Everything that a plan breaks; empty for a sound one.

    Checked from the snapshot alone: devices are given out once (dra.checker), so are those of device plugins
    and their parts (fractions.overuse), nodes are not filled beyond what they have, pods stand where their
    labels, taints and claims allow and apart from those they avoid, no gang and no subgroup is placed in
    part, no queue that was within its limit exceeds it, no claim has too many consumers. Once those who leave
    are gone, promised pods have room on their nodes beside whoever stays.
    """
    after = apply(snapshot, plan, _LATER)
    spots = {(spot.pod.namespace, spot.pod.name): spot for item in plan.decisions for spot in item.placements}
    found = [
        Breach(rule=item.rule, subject=item.subject, detail=item.detail)
        for item in check_cluster(after, kubernetes=policy.kubernetes)
    ]
    found += _places(after, spots)
    found += _nodes(snapshot, after, spots, policy)
    found += _parts(snapshot, after, spots)
    found += _neighbours(after, spots)
    found += _whole_gangs(snapshot, after, spots, policy)
    found += _limits(snapshot, after, spots, policy)
    found += _promises(snapshot, after, plan, policy)
    return tuple(found)


def _places(after: Snapshot, spots: Mapping[Key, Placement]) -> Iterator[Breach]:
    index = SnapshotIndex.of(after)
    for pod in after.pods:
        if pod.key not in spots:
            continue
        node = index.nodes.get(pod.spec.node_name)
        if node is None:
            yield Breach(rule="NodeMissing", subject=str(pod.ref), detail=pod.spec.node_name)
            continue
        fall = node_fall(pod.spec, node)
        if fall is not None:
            yield Breach(rule="NodeRefuses", subject=str(pod.ref), detail=" ".join((node.name, *fall)))
        for key in claim_keys(pod):
            claim = index.claims.get(key)
            if claim is None or claim.status.allocation is None:
                yield Breach(rule="ClaimNotAllocated", subject=str(pod.ref), detail="/".join(key))
            elif not matches_node(claim.status.allocation.node_selector, node):
                yield Breach(rule="ClaimElsewhere", subject=str(pod.ref), detail="/".join(key))
            elif not reserved_for(claim, pod):
                yield Breach(rule="ClaimNotReserved", subject=str(pod.ref), detail="/".join(key))
    for claim in after.resource_claims:
        if len(claim.status.reserved_for) > MAX_CONSUMERS:
            yield Breach(rule="TooManyConsumers", subject=str(claim.ref))


def _nodes(
    before: Snapshot, after: Snapshot, spots: Mapping[Key, Placement], policy: Policy
) -> Iterator[Breach]:
    """Resources that are overdrawn on nodes that got pods, unless they were before.

    What a device class stands for is no resource of a node whose device plugin does not offer it.
    """
    nodes = {spot.node for spot in spots.values()}
    for name, resource, left in _overdrawn(before, after, nodes, policy):
        yield Breach(rule="NodeOverdrawn", subject=name, detail=f"{resource} {left}")
    new = _table(after)
    for name in sorted(nodes & new.numbers.keys()):
        ports = new.ports[new.numbers[name]]
        if len(set(ports)) < len(ports):
            yield Breach(rule="PortTakenTwice", subject=name)


def _parts(before: Snapshot, after: Snapshot, spots: Mapping[Key, Placement]) -> Iterator[Breach]:
    """Parts of devices beyond what they have, on nodes where that was not so."""
    nodes = {node.name: node for node in after.nodes}
    changed = {spot.node for spot in spots.values()} & nodes.keys()
    there: tuple[dict[str, list[Pod]], ...] = ({}, {})
    for snapshot, found in zip((before, after), there, strict=True):
        for pod in snapshot.pods:
            if pod.spec.node_name in changed:
                found.setdefault(pod.spec.node_name, []).append(pod)
    for name in sorted(changed):
        old, new = (list(overuse(nodes[name], found.get(name, ()))) for found in there)
        if new and not old:
            yield Breach(rule="PartsOverdrawn", subject=name, detail="; ".join(new))


def _table(snapshot: Snapshot) -> NodeTable:
    table = NodeTable(snapshot.nodes)
    for pod in snapshot.pods:
        if pod.spec.node_name and not pod.finished:
            table.occupy(pod.spec.node_name, PodTraits.of(pod).demand)
    return table


def _overdrawn(
    before: Snapshot, after: Snapshot, nodes: Iterable[str], policy: Policy
) -> Iterator[tuple[str, str, int]]:
    """What of some nodes is overdrawn that was not, or less: node, resource, and what is left."""
    resources = ExtendedResources(SnapshotIndex.of(after), policy.kubernetes)
    old, new = _table(before), _table(after)
    for name in sorted(nodes):
        number = new.numbers.get(name)
        if number is None:
            continue
        for resource, left in new.free[number].items():
            if resources.by_class({resource: 1}, name):
                continue
            if left < 0 and left < old.free[number].get(resource, 0):
                yield name, resource, left


def _promises(before: Snapshot, after: Snapshot, plan: Plan, policy: Policy) -> Iterator[Breach]:
    """Nodes that would be overdrawn by promised pods once everybody who leaves is gone, and nodes that refuse
    them. Pods that are made anew elsewhere are among the promised; the node that they are tied to now is not
    held against them."""
    spots = {(spot.pod.namespace, spot.pod.name): spot for item in plan.decisions for spot in item.promised}
    if not spots:
        return
    index = SnapshotIndex.of(before)
    known = {pod.key: pod for pod in before.pods}
    stay = {pod.key for pod in after.pods}
    pods = [
        pod
        for pod in after.pods
        if pod.key not in spots and not (pod.spec.node_name and pod.metadata.deletion_timestamp is not None)
    ]
    for key, spot in spots.items():
        pod = known[key]
        node = index.nodes.get(spot.node)
        fall = None if node is None or key not in stay else node_fall(pod.spec, node)
        if node is None or fall is not None:
            detail = " ".join((spot.node, *(fall or ("missing",))))
            yield Breach(rule="PromiseRefused", subject=str(pod.ref), detail=detail)
        pods.append(msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=spot.node)))
    later = msgspec.structs.replace(after, pods=tuple(pods))
    for name, resource, left in _overdrawn(before, later, {spot.node for spot in spots.values()}, policy):
        yield Breach(rule="PromiseOverdrawn", subject=name, detail=f"{resource} {left}")


def _neighbours(after: Snapshot, spots: Mapping[Key, Placement]) -> Iterator[Breach]:
    """Placed pods that stand beside pods they avoid or that avoid them."""
    placed = [(pod, pod.spec.node_name) for pod in after.pods if pod.spec.node_name and not pod.finished]
    if not any(anti_affinity_terms(pod) for pod, _ in placed):
        return
    index = SnapshotIndex.of(after)
    for pod, node in placed:
        if pod.key in spots:
            others = [item for item in placed if item[0] is not pod]
            if PodNeighbours(index.namespaces, index.nodes, others).kept_apart(pod, node):
                yield Breach(rule="PodsTooClose", subject=str(pod.ref), detail=node)


def _whole_gangs(
    before: Snapshot, after: Snapshot, spots: Mapping[Key, Placement], policy: Policy
) -> Iterator[Breach]:
    index = SnapshotIndex.of(before)
    tree = QueueTree.of(before.queues)
    keys = {group_key(pod, index) for pod in before.pods if pod.key in spots}
    grouped = {
        key: [pod for pod in before.pods if group_key(pod, index) == key] for key in keys if key[0] != "Pod"
    }
    gone = {pod.key for pod in before.pods} - {pod.key for pod in after.pods}
    for gang in gangs(index, tree, grouped, policy.default_queue):
        running = [
            pod
            for pod in gang.members
            if pod.key in spots or (live(pod) and pod.key not in gone and not pod.gated)
        ]
        if len(running) < gang.minimum:
            detail = f"{len(running)} of {gang.minimum}"
            yield Breach(rule="GangInPart", subject=str(gang.ref), detail=detail)
        elif gang.root.children:
            there = Counter(gang.leaf_of.get(pod.key, "") for pod in running)
            for leaf, line in lines(gang.root).items():
                placed = any(pod.key in spots and gang.leaf_of.get(pod.key) == leaf for pod in running)
                torn = [group.name for group in line if not satisfied(group, there.__getitem__)]
                if placed and torn:
                    yield Breach(rule="SubgroupInPart", subject=str(gang.ref), detail=torn[0])


def _limits(
    before: Snapshot, after: Snapshot, spots: Mapping[Key, Placement], policy: Policy
) -> Iterator[Breach]:
    memory = Memory()
    usages = []
    for snapshot in (before, after):
        index = SnapshotIndex.of(snapshot)
        tree = QueueTree.of(snapshot.queues)
        fleet = memory.fleet(snapshot, policy)
        usage = Usage.of(fleet, snapshot.resource_claims)
        devices = DeviceAllocator(fleet, usage, policy, snapshot.nodes)
        placed = [
            (pod, pod.spec.node_name, Demand.of(pod))
            for pod in snapshot.pods
            if pod.spec.node_name and not pod.finished
        ]
        gangs_of = Grouping.of(index, tree, gang_rules(policy))

        def terms(pod: Pod, gangs_of: Grouping = gangs_of) -> tuple[str, bool]:
            gang = gangs_of.gang_of_pod(pod)
            return gang.queue, gang.preemptible

        charges = Charges(index, memory.traits, devices, policy)
        usages.append(running_usage(index, tree, charges, placed, terms))
    old, new = usages
    for name in new.tree.paths:
        for resource, used in new.of(name).items():
            limit = new.tree.limit(name, resource)
            if limit is not None and used > limit and used > old.of(name).get(resource, 0):
                yield Breach(rule="QueueOverLimit", subject=name, detail=f"{resource} {used} of {limit}")
