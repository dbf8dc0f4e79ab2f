"""Choosing devices for a pod together with those of its gang that got theirs on the same node.

Devices are chosen pod by pod, and what suits the first can strand the second: of GPUs 0 and 1 on one PCIe
root and 2 to 4 on another, a pod that wants two may be given 2 and 3, and one that wants three on one root
finds none. Before the node is given up, the claims of all of them are allocated together (kubernetes#138765
tells what happens otherwise). Where a gang must stay within a PCIe root or a NUMA node, its devices on the
node are always chosen so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aliquot.dra.attributes import elements
from aliquot.dra.constraints import Held, Together
from aliquot.dra.requests import blueprint
from aliquot.model.core import Node
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Charge
from aliquot.scheduling.allocating import DeviceAllocator, DeviceFall
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.pod_placement import OtherDevices, PodPlacement
from aliquot.scheduling.state import ClusterState, moved_key
from aliquot.scheduling.topologies import DeviceLevel, Topologies

Allocated = tuple[tuple[ResourceClaim, AllocationResult], ...]

Charging = Callable[[PodFacts, int, Node, Allocated], Charge]
"""What a pod counts for with these devices on that node."""


class Mates:
    """Members of one gang that this decision has given devices, by the number of their node."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._by_node: dict[int, list[Member]] = {}
        self._fresh: set[int] = set()
        for member in crew.members:
            if member.status is Status.PLACED or member.status is Status.PROMISED:
                hold = member.moved or member.hold
                if hold is not None and hold.claims:
                    self._by_node.setdefault(hold.number, []).append(member)

    def add(self, placement: PodPlacement) -> None:
        """One more has been placed."""
        if placement.allocated and placement.member.crew is self.crew:
            self._by_node.setdefault(placement.number, []).append(placement.member)
            self._fresh.add(id(placement.member))

    def drop(self, placement: PodPlacement) -> None:
        """The last one placed on the node has lost its place again."""
        if placement.allocated and placement.member.crew is self.crew:
            self._by_node[placement.number].pop()
            self._fresh.discard(id(placement.member))

    def on(self, number: int) -> Sequence[Member]:
        return self._by_node.get(number, ())

    def later(self, number: int) -> list[Member]:
        """Those on a node that may be told to wait: they have been already, or have just been placed."""
        return [
            member
            for member in self.on(number)
            if member.status is Status.PROMISED or id(member) in self._fresh
        ]


@dataclass(frozen=True, slots=True)
class Choice:
    """Devices for a pod, whether they are free now, and other devices for mates."""

    allocations: tuple[AllocationResult, ...]
    now: bool
    others: tuple[OtherDevices, ...] = ()


class JointChoice:
    """Chooses devices in one state of a cluster."""

    def __init__(self, state: ClusterState, topologies: Topologies | None, charge: Charging) -> None:
        self._state = state
        self._topologies = topologies
        self._charge = charge
        self._demands: dict[bytes, object] = {}

    def levels(self, member: Member) -> tuple[DeviceLevel, ...]:
        """Within what of a node the devices of the member's subgroup must stay."""
        root = member.crew.gang.root
        if self._topologies is None or (root.constraint is None and not root.children):
            return ()
        return self._topologies.levels(root).get(member.leaf.group.name, ())

    def may_help(self, member: Member, mates: Iterable[Member]) -> bool:
        """Whether it can make a difference which devices mates have: not if all of them and the member want
        any devices of one kind, whole and without constraints."""
        only = self._demand(member)
        return only is None or any(self._demand(mate) is not only for mate in mates)

    def _demand(self, member: Member) -> object | None:
        """The demand that every device of the member has to meet, if that is all there is to say."""
        facts = member.facts
        if facts is None or not facts.claims_shape:
            return None
        shape = facts.claims_shape
        if shape not in self._demands:
            self._demands[shape] = self._find_demand(facts)
        return self._demands[shape]

    def _find_demand(self, facts: PodFacts) -> object | None:
        devices = self._state.devices
        found: set[object] = set()
        for claim in facts.wanted:
            ready = blueprint(devices.fleet, claim)
            if ready.constraints or not devices.takes_whole(claim):
                return None
            found.update(request.alternatives[0].demand for request in ready.requests)
        return found.pop() if len(found) == 1 else None

    def choose(
        self,
        member: Member,
        node: Node,
        number: int,
        wanted: Sequence[ResourceClaim],
        mates: Mates,
        levels: Sequence[DeviceLevel],
        *,
        now: bool,
    ) -> Choice | DeviceFall:
        """Devices on the node for the claims and, if need be, other ones for mates. now: free now."""
        state = self._state
        allocator = state.devices if now else state.later
        others = [mate for mate in (mates.on(number) if now else mates.later(number)) if _movable(mate, node)]
        holds = [_claims(mate) for mate in others]
        claims = [claim for held in holds for claim, _ in held]
        usage = allocator.usage
        start = usage.mark()
        for mate, held in zip(others, holds, strict=True):
            for claim, _ in held:
                usage.release(moved_key(claim) if mate.moved is not None else claim.key)
        found: tuple[AllocationResult, ...] | DeviceFall
        wishes = [level for level in levels if not level.required]
        for kept in (levels, [level for level in levels if level.required]) if wishes else (levels,):
            together = [
                self._together(level, member, number, wanted, others, holds, allocator) for level in kept
            ]
            found = allocator.allocate(node, (*claims, *wanted), together=together)
            if not isinstance(found, DeviceFall):
                break
        usage.undo(start)
        if isinstance(found, DeviceFall):
            return found
        given = list(found)
        changed: list[OtherDevices] = []
        for mate, held in zip(others, holds, strict=True):
            got = tuple((claim, given.pop(0)) for claim, _ in held)
            before = {claim.key: allocation for claim, allocation in held}
            waits = not now and mate.status is Status.PLACED
            if waits or any(before[claim.key].devices != result.devices for claim, result in got):
                assert mate.facts is not None
                changed.append(OtherDevices(mate, got, self._charge(mate.facts, number, node, got), waits))
        return Choice(tuple(given), now, tuple(changed))

    def _together(
        self,
        level: DeviceLevel,
        member: Member,
        number: int,
        wanted: Sequence[ResourceClaim],
        others: Sequence[Member],
        holds: Sequence[Allocated],
        allocator: DeviceAllocator,
    ) -> Together:
        claims: set[int] = set()
        place = 0
        for mate, held in zip(others, holds, strict=True):
            if mate.leaf.group.name in level.leaves:
                claims.update(range(place, place + len(held)))
            place += len(held)
        claims.update(range(place, place + len(wanted)))
        chosen = {id(mate) for mate in (*others, member)}
        settled = [
            mate
            for mate in member.crew.members
            if mate.leaf.group.name in level.leaves
            and id(mate) not in chosen
            and mate.status in (Status.RUNNING, Status.PLACED, Status.PROMISED)
        ]
        return Together(
            level.attributes, frozenset(claims), _shared(settled, number, level.attributes, allocator)
        )


def _movable(mate: Member, node: Node) -> bool:
    """Whether a mate's devices may be chosen again: whoever else uses its claims is alike in this."""
    return mate.facts is not None and mate.facts.claims_shape is not None


def _claims(mate: Member) -> Allocated:
    hold = mate.moved or mate.hold
    return () if hold is None else hold.claims


def _shared(
    members: Iterable[Member], number: int, attributes: tuple[str, ...], allocator: DeviceAllocator
) -> Held | None:
    """What the devices that members have on a node share."""
    held: Held | None = None
    for member in members:
        hold = member.moved or member.hold
        if hold is None or hold.number != number:
            continue
        for _, allocation in hold.claims:
            for result in allocation.devices.results:
                pool = allocator.fleet.pools.get((result.driver, result.pool))
                index = None if pool is None else pool.names.get(result.device)
                if pool is None or index is None:
                    continue
                name = next((each for each in attributes if pool.groups(each)), None)
                value = None if name is None else pool.attribute(name)[index]
                if value is not None:
                    kind, content = elements(value)
                    held = (kind, content if held is None else held[1] & content)
    return held
