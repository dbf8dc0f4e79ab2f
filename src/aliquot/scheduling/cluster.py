"""A cluster as decisions find it, brought from one snapshot to the next at the cost of what changed.

Everything here follows from the snapshot alone: a cluster that was brought up to a snapshot decides as one
that was made from it. What one decision does is taken back before the next. When anything changes but pods,
claims, what owns pods, and the status of queues and nodes, it is made afresh.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from aliquot.dra.usage import Usage
from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.accounts import Charges, Holding
from aliquot.scheduling.affinity import is_ready
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.closeness import Closeness
from aliquot.scheduling.devices_wanted import DevicesWanted
from aliquot.scheduling.evicting import tainted_pools
from aliquot.scheduling.expected_ends import Ending
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.links import ClaimLinks
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.mix import Mix
from aliquot.scheduling.node_orders import NodeOrders
from aliquot.scheduling.nodes import NodeTable
from aliquot.scheduling.occupants import Occupants
from aliquot.scheduling.outlook import Numbers, Outlook
from aliquot.scheduling.parts import PartsInUse
from aliquot.scheduling.pending import Portion, may_be_short, sort_out
from aliquot.scheduling.pending_amounts import PendingAmounts
from aliquot.scheduling.placing import Placer
from aliquot.scheduling.policy import Goal, Policy
from aliquot.scheduling.repairs import may_be_unused
from aliquot.scheduling.requests import CPU, MEMORY
from aliquot.scheduling.served import ExtendedResources
from aliquot.scheduling.stakes import Stakes
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.topologies import Topologies
from aliquot.workloads.gang import Gang
from aliquot.workloads.grouping import Grouping, difference
from aliquot.workloads.labels import ADMITTED_AT
from aliquot.workloads.sources.source import GroupKey

MOST_CHANGES = 2_000_000
"""After so many changes of nodes a cluster is made afresh, so that the list of them stays bounded."""

MOST_SHAPES = 1_000
"""So many shapes of pods have their order of nodes kept."""


_Placed = TypeVar("_Placed", bound=tuple[Pod, str | None])


@dataclass(frozen=True, slots=True)
class Share:
    """What a gang is in the cluster. gang: None where none of its pods counts any more. numbers: of the nodes
    of the pods that are placed, None for nodes that are not there. holdings: what counts in its queue.
    running: some pod of it that has not ended is bound to a node."""

    portion: Portion
    gang: Gang
    numbers: tuple[int | None, ...]
    holdings: tuple[Holding, ...]
    running: bool


class Cluster:
    """Make one with a snapshot's index and tree; `follow` brings it to another snapshot.

    shares: by gang. todo: the gangs with pods to be decided, in order; let_go, in_flight, troubled: those
    with such pods, and with pods of which something is wrong. running: the gangs with pods on nodes, by
    queue; restless: those that may have too few members; calm: of these, those that turned out to have
    enough. under_way: those with pods that were let go and are not bound yet. crews: members with their
    state, of gangs that somebody asked about. ending: gangs that may say when they end. occupants: who is
    on which node. leaving: pods that are being deleted on nodes. pending: what gangs wait for. state: what
    decisions change, and take back.
    """

    def __init__(self, index: SnapshotIndex, tree: QueueTree, policy: Policy, memory: Memory) -> None:
        snapshot = index.snapshot
        self.index = index
        self.tree = tree
        self.policy = policy
        self._memory = memory
        self.fleet = memory.fleet(snapshot, policy)
        self.managed = memory.manager(snapshot, policy)
        self.links = ClaimLinks()
        self.resources = ExtendedResources(index, policy.kubernetes, self.links.special)
        self.shares: dict[GroupKey, Share] = {}
        self.todo: list[GroupKey] = []
        self.let_go: set[GroupKey] = set()
        self.in_flight: set[GroupKey] = set()
        self.troubled: set[GroupKey] = set()
        self.running: dict[str, set[GroupKey]] = {}
        self.restless: set[GroupKey] = set()
        self.calm: set[GroupKey] = set()
        self.under_way: set[GroupKey] = set()
        self.stakes = Stakes()
        self.ending = Ending()
        self.leaving: dict[Key, Pod] = {}
        self.crews: dict[GroupKey, Crew] = {}
        self.gangs: Grouping = memory.gangs(index, tree, policy)[0]
        self._table = NodeTable(snapshot.nodes)
        self._parts = PartsInUse.of(self._table, policy)
        neighbours = PodNeighbours(index.namespaces, index.nodes)
        self.occupants = Occupants(self._table, self._parts, neighbours, memory.traits)
        usage = Usage(self.fleet)
        devices = DeviceAllocator(self.fleet, usage, policy, self._table.nodes)
        ledger = Ledger(tree)
        if not policy.fair_shares:
            ledger.waive()
        self.pending = PendingAmounts(ledger)
        self._charges = Charges(index, memory.traits, devices, policy)
        self.state = ClusterState(
            index, self._table, neighbours, devices, ledger, self._parts, self.links.users
        )
        self._pools = tainted_pools(self.fleet)
        expecting = any(item.goal is Goal.EXPECTED_CAPACITY for item in policy.placement)
        self._mix = Mix(memory.traits, memory.claim_shapes) if expecting else None
        self._learnt: object = None
        self._wanted = DevicesWanted(self.state, policy.uncounted_drivers)
        for claim in snapshot.resource_claims:
            self._add_claim(claim)
        for pod in snapshot.pods:
            self.links.add_pod(pod)
        self.topologies = Topologies(
            memory.topologies(snapshot, self.fleet, policy.strict_topology),
            snapshot.nodes,
            self.fleet,
            honoured=policy.topology,
            strict=policy.strict_topology,
        )
        self._enter_all(list(self.gangs.groups()))
        self.placer = self._new_placer()
        self.capacity = self._capacity()

    def gangs_on(self, number: int) -> set[GroupKey]:
        """The gangs of which a pod is on a node, by its number."""
        keys = self.gangs.keys
        return {keys[key] for key in self.occupants.keys(number) if key in keys}

    def follows(self, index: SnapshotIndex, tree: QueueTree, policy: Policy) -> bool:
        """Whether `follow` can bring the cluster to this snapshot; otherwise a new one has to be made."""
        if tree is not self.tree or policy != self.policy or len(self._table.changes) > MOST_CHANGES:
            return False
        before, after = self.index.snapshot, index.snapshot
        return all(getattr(before, field) is getattr(after, field) for field in _FIXED) and not any(
            group.spec.resource_claims for group in index.pod_groups.values()
        )

    def follow(self, index: SnapshotIndex) -> None:
        """Bring the cluster to this snapshot, whatever was decided before taken back."""
        self.state.restore()
        before = self.index
        self.index = self.state.index = index
        self.resources = ExtendedResources(index, self.policy.kubernetes, self.links.special)
        _, changed = self._memory.gangs(index, self.tree, self.policy)
        links, gangs = self.links, self.gangs
        touched: set[Key] = set()
        pods: set[Key] = set()
        claims_gone, claims_come = difference(before.snapshot.resource_claims, index.snapshot.resource_claims)
        for pod in changed.gone:
            touched.update(links.drop_pod(pod))
        for claim in claims_gone:
            touched.add(claim.key)
            pods.update(links.drop_claim(claim))
        self._give_back(claims_gone, claims_come)
        for claim in claims_come:
            touched.add(claim.key)
            self._add_claim(claim)
        for pod in changed.come:
            touched.update(links.add_pod(pod))
        for key in touched:
            pods.update(links.pods_of(key))
        dirty = changed.dirty | {gangs.keys[key] for key in pods if key in gangs.keys}
        self._enter_all(dirty)
        placer = self.placer.placer
        if max(placer.orders.count, len(placer.surveys)) > MOST_SHAPES:
            self.placer = self._new_placer()
        elif self._mix is not None and self._mix.read().essence != self._learnt:
            placer.orders.expect(self._outlook_of(self._mix))

    def holdings(self, queue: str) -> Iterator[Holding]:
        """What counts in a queue and in those below it."""
        for share in self.shares.values():
            for holding in share.holdings:
                if queue in self.tree.path(holding.queue):
                    yield holding

    def pods_in(
        self, keys: Iterable[GroupKey], part: Callable[[Portion], Iterable[_Placed]]
    ) -> list[_Placed]:
        """A part of the portions of some gangs, in the order of the pods."""
        found = [item for key in keys for item in part(self.shares[key].portion)]
        return sorted(found, key=lambda item: item[0].key)

    def claims_at_risk(self) -> Iterable[ResourceClaim]:
        """Claims that may hold devices with NoExecute taints, in order."""
        if self._pools is None:
            return self.index.snapshot.resource_claims
        if not self._pools:
            return ()
        keys = {key for pool in self._pools for key in self.state.devices.usage.claims_of(pool)}
        return [self.links.claims[key] for key in sorted(keys)]

    def unused(self) -> list[ResourceClaim]:
        """Allocated claims that nobody has reserved and no live pod names, in order."""
        links = self.links
        return [
            claim
            for key, claim in sorted(links.unreserved.items())
            if may_be_unused(claim)
            and self.managed(claim)
            and not links.users.get(key)
            and not links.owner_lives(claim)
        ]

    def _enter_all(self, keys: Iterable[GroupKey]) -> None:
        """Work out anew what these gangs are."""
        dirty = set(keys)
        for key in dirty:
            self._retract(key)
            self.crews.pop(key, None)
        for key in dirty:
            if self.gangs.has(key):
                self._enter(key)
        self.occupants.settle()
        self.state.settle()

    def _retract(self, key: GroupKey) -> None:
        self.pending.drop(key)
        share = self.shares.pop(key, None)
        if share is None:
            return
        if self._mix is not None:
            self._mix.retract(key)
        portion, gang = share.portion, share.gang
        for (pod, _, _), number in zip(portion.placed, share.numbers, strict=True):
            if number is not None:
                self.occupants.leave(number, pod)
            self.leaving.pop(pod.key, None)
        for holding in share.holdings:
            self.state.queues.remove(holding.queue, holding.charge, gang.preemptible)
        place = bisect_left(self.todo, key)
        if place < len(self.todo) and self.todo[place] == key:
            del self.todo[place]
        for keys in (
            self.let_go,
            self.in_flight,
            self.troubled,
            self.restless,
            self.calm,
            self.under_way,
        ):
            keys.discard(key)
        if share.running:
            self.running[gang.queue].discard(key)
        self.stakes.retract(key)
        self.ending.retract(key)

    def _enter(self, key: GroupKey) -> None:
        gangs, table = self.gangs, self._table
        pods = gangs.pods(key)
        if self._mix is not None:
            self._mix.enter(key, pods, self.index)
        portion = sort_out(
            pods,
            self.index,
            self._memory,
            self.managed,
            self.policy.every_pod,
            self.resources,
            self.links.unbound_users,
        )
        gang = gangs.gang(key)
        numbers: list[int | None] = []
        for pod, node, demand in portion.placed:
            number = table.numbers.get(node)
            numbers.append(number)
            if number is not None:
                self.occupants.enter(number, pod, demand)
                if pod.metadata.deletion_timestamp is not None:
                    self.leaving[pod.key] = pod
        holdings: tuple[Holding, ...] = ()
        if gang.queue and self.tree.queues:
            links = self.links
            holdings = tuple(self._charges.of(gang.queue, portion.placed, pods, links.pods, links.meant_for))
            for holding in holdings:
                self.state.queues.add(holding.queue, holding.charge, gang.preemptible)
        running = gangs.is_on_nodes(key)
        self.shares[key] = Share(portion, gang, tuple(numbers), holdings, running)
        if gang.queue and (holdings or running):
            self.stakes.enter(key, gang, pods, portion.placed, numbers, holdings)
        if running:
            self.running.setdefault(gang.queue, set()).add(key)
            self.ending.enter(key, [pod for pod, _, _ in portion.placed])
        if (running or portion.todo) and may_be_short(gang, portion, pods):
            self.restless.add(key)
        if gang.minimum > 1 and any(
            ADMITTED_AT in pod.metadata.annotations and not pod.spec.node_name for pod in gang.members
        ):
            self.under_way.add(key)
        if portion.todo:
            insort(self.todo, key)
        if portion.let_go:
            self.let_go.add(key)
        if portion.in_flight:
            self.in_flight.add(key)
        if portion.misplaced or portion.blocked:
            self.troubled.add(key)

    def _add_claim(self, claim: ResourceClaim) -> None:
        self.links.add_claim(claim)
        allocation = claim.status.allocation
        usage = self.state.devices.usage
        if allocation is not None and usage.holdings.get(claim.key) is not allocation:
            usage.take(claim.key, allocation)
            self._touch(claim)

    def _give_back(self, gone: Iterable[ResourceClaim], come: Iterable[ResourceClaim]) -> None:
        """Release what claims held that hold it no more."""
        usage = self.state.devices.usage
        now = {claim.key: claim.status.allocation for claim in come}
        for claim in gone:
            if claim.key in usage.holdings and now.get(claim.key) is not usage.holdings[claim.key]:
                usage.release(claim.key)
                self._touch(claim)

    def _touch(self, claim: ResourceClaim) -> None:
        """The devices of a claim are taken, or free again: its nodes have changed."""
        table = self._table
        allocation = claim.status.allocation
        assert allocation is not None
        for result in allocation.devices.results:
            pool = self.fleet.pools.get((result.driver, result.pool))
            if pool is None:
                continue
            if pool.ubiquitous or pool.selected:
                table.changes.extend(range(len(table.nodes)))
                return
            for name in pool.local:
                number = table.numbers.get(name)
                if number is not None:
                    table.changes.append(number)

    def _new_placer(self) -> GangPlacer:
        static = self._memory.static_fits(self.index.snapshot.nodes)
        orders = NodeOrders(self.state, static, self.policy)
        if self._mix is not None:
            orders.expect(self._outlook_of(self._mix))
        placer = Placer(self.state, orders, self.policy, self.topologies)
        return GangPlacer(placer, Closeness(self.topologies, self.state, self.policy.topology), self.policy)

    def _outlook_of(self, mix: Mix) -> Callable[[Numbers], Outlook]:
        """What makes the outlook of the mix as it is now, once the placer needs it."""
        reading = mix.read()
        self._learnt = reading.essence
        shapes = self._memory.claim_shapes
        return lambda numbers: Outlook(self.state, reading, self._wanted, numbers, shapes)

    def _capacity(self) -> dict[str, Amount]:
        """What there is to share: accelerators, CPU and memory of the nodes that are in working order."""
        found: dict[str, Amount] = {GPU: 0, CPU: 0, MEMORY: 0}
        for number, node in enumerate(self._table.nodes):
            if not is_ready(node):
                continue
            whole = self._table.whole[number]
            found[GPU] += self.state.capacity(number, slices_as_devices=self.policy.slices_as_devices)
            found[CPU] += whole.get(CPU, 0) * (UNIT // 1000)
            found[MEMORY] += whole.get(MEMORY, 0) * UNIT
        return found


def follow(memory: Memory, snapshot: Snapshot, policy: Policy) -> Cluster:
    """The cluster of a snapshot: the one that the memory has, brought up to it, or a new one."""
    index = memory.index(memory.steady(snapshot))
    tree = memory.tree(snapshot.queues)
    cluster, memory.cluster = memory.cluster, None
    # If anything goes wrong from here on, the next decision begins with a new one.
    if cluster is not None and cluster.follows(index, tree, policy):
        cluster.follow(index)
    else:
        cluster = Cluster(index, tree, policy, memory)
    memory.cluster = cluster
    return cluster


_FIXED = (
    "config_maps",
    "namespaces",
    "nodes",
    "device_classes",
    "resource_slices",
    "device_taint_rules",
    "topologies",
    "kueue_topologies",
    "kai_topologies",
    "priority_classes",
)
