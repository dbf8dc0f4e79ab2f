"""The cluster as one decision changes it: what is free on nodes, of devices and in queues; with undo.

There are two views of what is free. *Now* is free today. *Later* is free once everything that leaves is gone,
less what was promised of that. What is placed takes from both; what is promised takes from the second only.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from aliquot.dra.usage import ClaimKey, Mark
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import GPU, UNIT, Amount, exact
from aliquot.queues.ledger import Ledger
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.claims import ClaimBook, claim_keys
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_state import Crew, Hold, Member, Status
from aliquot.scheduling.idle import IdleAccelerators
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.kinds import Kinds
from aliquot.scheduling.nodes import NodeTable
from aliquot.scheduling.parts import PartsInUse
from aliquot.scheduling.pod_placement import OtherDevices, PodPlacement
from aliquot.scheduling.room import DeviceRoom
from aliquot.scheduling.slots import Slots
from aliquot.scheduling.wanted import Wanted

MOST_TASKS = 10_000
"""More pods than this, no node is asked to hold."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point to which a ClusterState can be taken back."""

    nodes: int
    neighbours: int
    devices: Mark
    later: Mark | None
    claims: int
    queues: int
    parts: int
    members: int
    users: int


class ClusterState:
    """Everything that placing and evicting pods changes; `restore` undoes what one decision did."""

    def __init__(
        self,
        index: SnapshotIndex,
        table: NodeTable,
        neighbours: PodNeighbours,
        devices: DeviceAllocator,
        queues: Ledger,
        parts: PartsInUse,
        users: dict[ClaimKey, int],
    ) -> None:
        """users: how many pods use each claim, those that leave left out; it is changed, and changed back."""
        self.index = index
        self.table = table
        self.neighbours = neighbours
        self.devices = devices
        self.queues = queues
        self.parts = parts
        self.claims = ClaimBook()
        self.room = DeviceRoom(devices.fleet, devices.usage, table)
        self._later: DeviceAllocator | None = None
        self._room_later = self.room
        self._users = users
        self._users_log: list[tuple[ClaimKey, int]] = []
        self._changed_facts: list[tuple[Member, PodFacts]] = []
        self._idle = IdleAccelerators(
            lambda number: self.free_accelerators(number) + parts.free(number),
            table.changes,
            len(table.nodes),
        )
        self._left: list[int] = []
        self._members: list[tuple[Member, Status, Hold | None, Hold | None, Hold | None]] = []
        self._by_shape: dict[Hashable, PodFacts] = {}
        self.kinds = Kinds()
        self.slots = Slots(parts, table.nodes)
        self.wanted = Wanted(devices, parts, self.slots)

    @property
    def later(self) -> DeviceAllocator:
        """Devices as they are once everything that leaves is gone."""
        return self._later or self.devices

    def look_ahead(self) -> None:
        """Keep account of devices later apart from now. Only where nothing will be undone past this point."""
        if self._later is None and self.devices.fleet.pools:
            self._later = self.devices.twin(self.table.nodes)
            self._room_later = DeviceRoom(self._later.fleet, self._later.usage, self.table)

    def take_devices(self, key: ClaimKey, allocation: AllocationResult) -> None:
        """Count devices as taken, now and later."""
        self.devices.usage.take(key, allocation)
        if self._later is not None:
            self._later.usage.take(key, allocation)

    def let_leave(self, pod: Pod) -> None:
        """Count what a pod that is being deleted holds through claims as free later. Nothing may be undone
        past this point."""
        for key in claim_keys(pod):
            if not self._users.get(key):
                self._free_later(key)
        if pod.spec.resource_claims:
            self._changes_later(pod.spec.node_name)

    def let_go_back(self, claim: ResourceClaim) -> None:
        """Count what a claim holds that Kubernetes is about to take back as free later. Nothing may be undone
        past this point."""
        self._free_later(claim.key)
        allocation = claim.status.allocation
        self._changes_later(named_node(None if allocation is None else allocation.node_selector))

    def _free_later(self, claim: ClaimKey) -> None:
        self.look_ahead()
        if self._later is not None and claim in self._later.usage.holdings:
            self._later.usage.release(claim)

    def _changes_later(self, node: str | None) -> None:
        number = self.table.numbers.get(node or "")
        if number is not None:
            self._left.append(number)
            self.table.changes.append(number)

    def capacity(self, number: int, *, slices_as_devices: bool = False) -> Amount:
        """The accelerators of a node, in billionths; slices_as_devices: see `extended_devices`."""
        whole = self.slots.devices(number, self.table.whole[number], slices_as_devices)
        return exact((whole + self.room.most(number)) * UNIT)

    def accelerators(self, number: int) -> float:
        """How many accelerators a node has."""
        return float(self.capacity(number) / UNIT)

    def shape_of(self, member: Member) -> Hashable:
        """Equal for members that need the same of a node, as far as `tasks` is concerned."""
        facts = member.facts
        assert facts is not None
        shape: Hashable = facts.shape or member.key
        self._by_shape.setdefault(shape, facts)
        return shape

    def tasks(self, shape: Hashable, number: int) -> int:
        """At most how many pods of a shape there is room for on a node later."""
        facts = self._by_shape[shape]
        table = self.table
        found = MOST_TASKS
        for resource, wanted in facts.traits.demand.items:
            if wanted:
                found = min(found, table.later(number, resource) // wanted)
        devices = self.wanted.charge(facts).get(GPU, 0)
        if found > 0 and facts.wanted and devices:
            free = self._room_later.devices(number)
            found = min(found, int(free * UNIT / devices + 1e-6))
        if found > 0 and facts.device_part is not None and devices:
            free = self.free_accelerators(number) + self.parts.free(number)
            found = min(found, int(free * UNIT / devices + 1e-6))
            if not self.parts.fits_later(number, facts.device_part):
                found = 0
        return max(0, found)

    def idle_accelerators(self) -> IdleAccelerators:
        """The accelerators that are idle later; good until something changes."""
        return self._idle.catch_up()

    def free_accelerators(self, number: int, *, slices_as_devices: bool = False) -> float:
        """How many accelerators of a node are idle later; slices_as_devices: see `extended_devices`."""
        free = self.slots.devices(number, self.table.free[number], slices_as_devices)
        if (leaving := self.table.leaving[number]) is not None:
            free += self.slots.devices(number, leaving, slices_as_devices)
        return float(free) + self._room_later.devices(number)

    def touched(self) -> Iterable[Crew]:
        """The gangs of which a member was given something, or made to leave, and that was not taken back."""
        return {id(entry[0].crew): entry[0].crew for entry in self._members}.values()

    @property
    def changes(self) -> int:
        """Grows with whatever was done and not taken back."""
        return len(self._members)

    def settle(self) -> None:
        """What was done up to now stays: it is what `restore` leads back to."""
        self.table.settle()
        self.devices.usage.settle()
        self.queues.settle()
        self.parts.settle()

    def restore(self) -> None:
        """Take back everything since the last `settle`."""
        self._later = None
        self._room_later = self.room
        self.table.changes.extend(self._left)
        self._left.clear()
        self.undo(_START)
        while self._changed_facts:
            member, facts = self._changed_facts.pop()
            member.facts = facts
        self.settle()

    def change_facts(self, member: Member, facts: PodFacts) -> None:
        """Take the member for another pod, until the end of this decision."""
        assert member.facts is not None
        self._changed_facts.append((member, member.facts))
        member.facts = facts

    def mark(self) -> Point:
        later = self._later
        return Point(
            self.table.mark(),
            self.neighbours.mark(),
            self.devices.usage.mark(),
            None if later is None else later.usage.mark(),
            self.claims.mark(),
            self.queues.mark(),
            self.parts.mark(),
            len(self._members),
            len(self._users_log),
        )

    def undo(self, point: Point) -> None:
        """Take back everything done since the mark."""
        members = self._members
        while len(members) > point.members:
            member, status, hold, moved, origin = members.pop()
            member.become(status)
            member.hold, member.moved, member.origin = hold, moved, origin
            member.crew.touched -= 1
        while len(self._users_log) > point.users:
            key, step = self._users_log.pop()
            self._users[key] -= step
        self.devices.usage.undo(point.devices)
        if self._later is not None and point.later is not None:
            self._later.usage.undo(point.later)
        self.claims.undo(point.claims)
        self.queues.undo(point.queues)
        self.neighbours.undo(point.neighbours)
        self.parts.undo(point.parts)
        self.table.undo(point.nodes)

    def place(self, placement: PodPlacement) -> None:
        """Give the pod its place, or the promise of one."""
        member, facts = placement.member, placement.facts
        if placement.stays:
            self._stay(member)
            return
        for other in placement.others:
            self.exchange(other)
        demand = facts.traits.demand
        moving = member.status is Status.EVICTED
        self._note(member)
        for claim, allocation in placement.allocated:
            key = moved_key(claim) if moving else claim.key
            self.devices.usage.take(key, allocation)
            if self._later is not None:
                self._later.usage.take(key, allocation)
            if not moving:
                self.claims.allocate(claim, allocation)
                self.claims.reserve(claim, facts.consumer(claim))
        for claim in placement.reserved:
            self.claims.reserve(claim, facts.consumer(claim))
        number = placement.number
        if placement.promised:
            self.table.promise(number, demand)
        else:
            self.table.take(number, demand)
        groups: tuple[str, ...] = ()
        if placement.choice is not None:
            groups = self.parts.take(number, placement.choice, member.key, promised=placement.promised)
        self.neighbours.add(facts.pod, placement.node)
        gang = member.crew.gang
        if gang.queue:
            self.queues.add(gang.queue, placement.charge, preemptible=gang.preemptible)
        status = Status.PROMISED if placement.promised else Status.PLACED
        hold = Hold(number, placement.node, demand, placement.allocated, groups, placement.charge, status)
        if moving:
            member.moved = hold
        else:
            member.hold = hold
        member.become(status)

    def exchange(self, other: OtherDevices) -> None:
        """Take from a member the devices that this decision gave it, and give it others on its node."""
        member = other.member
        moving = member.moved is not None
        hold = member.moved or member.hold
        assert hold is not None
        self._note(member)
        usages = [self.devices.usage] if self._later is None else [self.devices.usage, self._later.usage]
        for usage in usages:
            # All is given back first: one claim may get what another had.
            for claim, _ in hold.claims:
                usage.release(moved_key(claim) if moving else claim.key)
        for claim, allocation in other.allocated:
            for usage in usages:
                usage.take(moved_key(claim) if moving else claim.key, allocation)
            if not moving:
                self.claims.allocate(claim, allocation)
        gang = member.crew.gang
        if gang.queue:
            self.queues.remove(gang.queue, hold.charge, preemptible=gang.preemptible)
            self.queues.add(gang.queue, other.charge, preemptible=gang.preemptible)
        changed = replace(hold, claims=other.allocated, charge=other.charge)
        if moving:
            member.moved = changed
        else:
            member.hold = changed
        if other.waits:
            self.defer(member)

    def defer(self, member: Member) -> None:
        """Turn a place into the promise of one."""
        hold = member.hold
        assert hold is not None
        assert member.facts is not None
        self._note(member)
        self.table.defer(hold.number, hold.demand)
        if hold.groups:
            self.parts.defer(hold.number, member.key)
        member.hold = replace(hold, given=Status.PROMISED)
        member.become(Status.PROMISED)

    def withdraw(self, member: Member) -> None:
        """Take back for good what this decision gave a member that it evicted again: the member waits, or
        has the place that it was promised instead. One that ran before is evicted from where it ran."""
        hold = member.hold
        assert hold is not None
        self._note(member)
        if hold.given is Status.PLACED:
            self.table.shift(hold.number, hold.demand, 1, -1)
            if hold.groups:
                self.parts.finish(hold.number, member.key)
        member.hold, member.moved = member.moved, None
        if member.hold is None and member.origin is not None:
            member.hold, member.origin = member.origin, None
        elif member.hold is None:
            member.become(Status.WAITING)

    def evict(self, member: Member) -> None:
        """Have a pod leave: what it holds is free later, and no longer its queue's. One that was promised
        room counts as there and leaving: what it gives up is not idle, others look elsewhere first."""
        hold = member.hold
        assert hold is not None
        self.lend(member)
        if hold.given is Status.PROMISED:
            self.table.shift(hold.number, hold.demand, -1, 1)
        gang = member.crew.gang
        if gang.queue:
            self.queues.remove(gang.queue, hold.charge, preemptible=gang.preemptible)
        member.become(Status.EVICTED)

    def lend(self, member: Member) -> None:
        """Count what a member holds as free later: it will be gone in time."""
        hold = member.hold
        assert hold is not None
        self._note(member)
        self.table.leave(hold.number, hold.demand)
        if hold.groups and hold.given is Status.PROMISED:
            self.parts.forgo(hold.number, member.key)
        elif hold.groups:
            self.parts.leave(hold.number, member.key)
        for claim, _ in hold.claims:
            left = self._count_user(claim.key, -1)
            if not left and self._later is not None and claim.key in self._later.usage.holdings:
                self._later.usage.release(claim.key)

    def can_stay(self, member: Member) -> bool:
        """Whether what an evicted pod held is still there for it."""
        hold = member.hold
        if hold is None or not self.table.fits_later(hold.number, hold.demand):
            return False
        if hold.groups and not self.parts.may_stay(hold.number, member.key):
            return False
        if self._later is None:
            return True
        usage = self._later.usage
        for claim, allocation in hold.claims:
            if claim.key not in usage.holdings and not usage.is_free(allocation):
                return False
        return True

    def _stay(self, member: Member) -> None:
        hold = member.hold
        assert hold is not None
        self._note(member)
        here = int(hold.given is Status.PROMISED)
        self.table.shift(hold.number, hold.demand, here, -1 - here)
        if hold.groups:
            self.parts.stay(hold.number, member.key)
        for claim, allocation in hold.claims:
            self._count_user(claim.key, 1)
            if self._later is not None and claim.key not in self._later.usage.holdings:
                self._later.usage.take(claim.key, allocation)
        gang = member.crew.gang
        if gang.queue:
            self.queues.add(gang.queue, hold.charge, preemptible=gang.preemptible)
        member.become(hold.given)

    def _count_user(self, claim: ClaimKey, step: int) -> int:
        """How many pods use the claim after one more (1) or one fewer (-1) does."""
        left = self._users.get(claim, 1) + step
        self._users[claim] = left
        self._users_log.append((claim, step))
        return left

    def _note(self, member: Member) -> None:
        self._members.append((member, member.status, member.hold, member.moved, member.origin))
        member.crew.touched += 1


_START = Point(0, 0, Mark(0), None, 0, 0, 0, 0, 0)


def moved_key(claim: ResourceClaim) -> ClaimKey:
    """The key under which devices are counted that a claim will hold when its pod is made anew elsewhere: the
    claim that is made for the new pod has no name yet. No object's name ends so."""
    return (claim.metadata.namespace, f"{claim.metadata.name}\x00moved")
