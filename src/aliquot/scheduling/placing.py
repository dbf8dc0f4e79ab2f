"""Placing pods together: every pod that must be there finds a node, or none is placed.

Pods are placed one after the other, each on the first node of its ranking that takes it. When one finds no
node, earlier ones are moved to their next node, within a budget; the first way to place all of them is best
fit without any move. Moving a pod of the same shape cannot help, so a gang of equal pods fails at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from aliquot.fractions.parts import Choice
from aliquot.fractions.requests import Kind
from aliquot.model.core import Node
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Charge, total
from aliquot.queues.tree import Excess
from aliquot.scheduling.affinity import matches_node
from aliquot.scheduling.allocating import DeviceFall
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.gang_state import Hold, Member, Status
from aliquot.scheduling.holdings import pod_charge
from aliquot.scheduling.hosts import Hosts
from aliquot.scheduling.joint import Choice as DeviceChoice
from aliquot.scheduling.joint import JointChoice, Mates
from aliquot.scheduling.node_orders import NodeOrders, with_first
from aliquot.scheduling.pod_placement import OtherDevices, PodPlacement
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.topologies import DeviceLevel, Topologies

LIMIT_TRIES = 16
"""Nodes tried after a queue's limit refused a place: elsewhere the same claim may count for less."""


class When(Enum):
    """Which room may be given: only what is free NOW; that, or else what will be free LATER; or LATER only,
    as in weighing what would become of a cluster if some pods left."""

    NOW = "now"
    EITHER = "either"
    LATER = "later"


@dataclass(slots=True)
class Failure:
    """Why a pod found no node.

    excess: the limit in the way, if one was. full_claim: a claim that takes no more consumers. placed:
    members that had found a node when this one did not.
    """

    member: Member
    excess: Excess | None = None
    placed: tuple[PodPlacement, ...] = ()
    full_claim: ResourceClaim | None = None

    @property
    def facts(self) -> PodFacts:
        assert self.member.facts is not None
        return self.member.facts


class Placer:
    """Places pods in a ClusterState and remembers, for one decision, what did not fit."""

    def __init__(
        self,
        state: ClusterState,
        orders: NodeOrders,
        policy: Policy,
        topologies: Topologies | None = None,
    ) -> None:
        self.state = state
        self.policy = policy
        self.orders = orders
        self.surveys: dict[Shape, object] = {}
        self.hosts = Hosts(state, orders.static_fit)
        self._joint = JointChoice(state, topologies, self._charge)

    def place(
        self,
        members: Sequence[Member],
        when: When = When.EITHER,
        bands: Sequence[int] | None = None,
        *,
        first: int | None = None,
        limits: bool = True,
    ) -> list[PodPlacement] | Failure:
        """Place all of the members or none. What is placed is taken in the state.

        bands: sets of nodes to which the choice is confined, the better first. first: the number of the node
        to try before all others for the first pod. limits: honour those of queues.
        """
        state = self.state
        start = state.mark()
        placed: list[PodPlacement] = []
        options: list[Iterator[PodPlacement]] = []
        points = []
        failures: list[Failure] = []
        failure: Failure | None = None
        moves = 0
        mates = Mates(members[0].crew) if members else None
        exchanged = False
        while len(placed) < len(members):
            depth = len(placed)
            member = members[depth]
            if len(options) == depth:
                points.append(state.mark())
                failures.append(Failure(member))
                favourite = None if depth else first
                options.append(self._options(member, failures[depth], when, bands, favourite, limits, mates))
            option = next(options[depth], None)
            if option is not None:
                state.place(option)
                placed.append(option)
                assert mates is not None
                mates.add(option)
                exchanged = exchanged or bool(option.others)
                continue
            options.pop()
            points.pop()
            latest = failures.pop()
            if failure is None or len(failure.placed) < depth:
                latest.placed = tuple(placed)
                failure = latest
            keep = depth
            while keep and self._alike(members[keep - 1], member):
                keep -= 1
            moves += 1
            if not keep or moves > self.policy.gang_search:
                state.undo(start)
                return failure
            state.undo(points[keep - 1])
            assert mates is not None
            for lost in reversed(placed[keep - 1 :]):
                mates.drop(lost)
            del placed[keep - 1 :], options[keep:], points[keep:], failures[keep:]
        return [_as_it_is(item) for item in placed] if exchanged else placed

    def meeting_point(self, members: Sequence[Member]) -> int | None:
        """A node for the first of the pods such that all of them find a place; None if there is none.

        The state is left as it is, and limits of queues are not looked at.
        """
        start = self.state.mark()
        found = self.place(members, When.NOW, limits=False)
        self.state.undo(start)
        return None if isinstance(found, Failure) else found[0].number

    def _options(
        self,
        member: Member,
        failure: Failure,
        when: When,
        bands: Sequence[int] | None,
        first: int | None,
        limits: bool,
        mates: Mates | None,
    ) -> Iterator[PodPlacement]:
        """Places for a pod in the present state, the best first. What is in the way goes into `failure`."""
        state = self.state
        facts = member.facts
        assert facts is not None
        gang = member.crew.gang
        evicted = member.status is Status.EVICTED
        held = list(facts.held)
        wanted: list[ResourceClaim] = []
        unreserved = list(facts.unreserved)
        for claim in facts.wanted:
            decided = None if evicted else state.claims.allocation(claim)
            if decided is None:
                wanted.append(claim)
            else:
                held.append((claim, decided))
                unreserved.append(claim)
        for claim in () if evicted else (*unreserved, *wanted):
            if not state.claims.has_room(claim, facts.consumer(claim)):
                failure.full_claim = claim
                return
        shape = facts.shape
        ranking = self.orders.of_shape(facts, shape) if shape is not None else None
        if ranking is not None:
            numbers: Iterable[int] = ranking.numbers(bands)
        else:
            numbers = self.orders.of_one(facts, held, bands)
        favourite = self.orders.favourite(member) if first is None else first
        if favourite is not None:
            numbers = with_first(favourite, numbers)
        possible = state.devices.possible(wanted) if wanted and when is not When.LATER else -1
        possible_later = -1
        if wanted and when is not When.NOW:
            possible_later = possible if state.later is state.devices else state.later.possible(wanted)
            if possible_later == -1 and when is When.LATER:
                possible_later = state.later.possible(wanted)
        levels = self._joint.levels(member) if wanted else ()
        if not wanted or (mates is not None and mates.crew is not member.crew):
            mates = None
        demand, part = facts.traits.demand, facts.device_part
        charged = limits and bool(gang.queue)
        refused = 0
        alike_everywhere = not wanted and part is None and not state.slots.vary(facts)
        for number in numbers:
            node = state.table.nodes[number]
            own = member.hold if evicted else None
            if own is not None and number == own.number and self._stays(member, own):
                charge = own.charge
                if charged and state.queues.excess(gang.queue, charge, preemptible=gang.preemptible):
                    continue
                yield PodPlacement(member, number, node.metadata.name, (), (), charge, stays=True)
                continue
            joint = mates is not None and (bool(levels) or self._may_help(member, mates, number))
            may = joint or possible >> number & 1 == 1
            now = when is not When.LATER and may and state.table.fits(number, demand)
            if not now and (
                when is When.NOW
                or not (joint or possible_later >> number & 1)
                or not state.table.fits_later(number, demand)
            ):
                continue
            if not self._allowed(facts, number, node, held):
                continue
            if own is not None and _turns_back(member, number) and self._stays(member, own):
                yield PodPlacement(member, own.number, own.node, (), (), own.charge, stays=True)
                continue
            choice: Choice | None = None
            if part is not None:
                choice = state.parts.choose(number, part, now=now, later=when is not When.NOW)
                if choice is None:
                    continue
                now = choice.now
            allocations: tuple[AllocationResult, ...] = ()
            others: tuple[OtherDevices, ...] = ()
            if wanted:
                found = self._devices(
                    member, node, number, wanted, now, when, mates if joint else None, levels
                )
                if isinstance(found, DeviceFall):
                    if ranking is not None and not levels:
                        ranking.strike(number)
                    if found.fatal:
                        return
                    continue
                allocations, now, others = found.allocations, found.now, found.others
            allocated = tuple(zip(wanted, allocations, strict=True))
            charge = self._charge(facts, number, node, allocated) if gang.queue else {}
            if charged:
                excess = self._excess(member, charge, others)
                if excess is not None:
                    failure.excess = failure.excess or excess
                    refused += 1
                    if alike_everywhere or refused > LIMIT_TRIES:
                        return
                    continue
            yield PodPlacement(
                member,
                number,
                node.metadata.name,
                allocated,
                tuple(unreserved),
                charge,
                promised=not now,
                choice=choice,
                others=others,
            )

    def nowhere(self, member: Member) -> bool:
        """Whether it is known without trying that no node has room for a pod without claims, now or later."""
        facts = member.facts
        if facts is None or facts.shape is None or facts.wanted or facts.unreserved or facts.held:
            return False
        return self.orders.of_shape(facts, facts.shape).empty

    def _may_help(self, member: Member, mates: Mates, number: int) -> bool:
        near = mates.on(number)
        return bool(near) and self._joint.may_help(member, near)

    def _excess(self, member: Member, charge: Charge, others: Sequence[OtherDevices]) -> Excess | None:
        """The limit that a place would exceed, with other devices for mates."""
        state, gang = self.state, member.crew.gang
        start = state.mark() if others else None
        for other in others:
            state.exchange(other)
        excess = state.queues.excess(gang.queue, charge, preemptible=gang.preemptible)
        if start is not None:
            state.undo(start)
        return excess

    def _stays(self, member: Member, own: Hold) -> bool:
        """Whether an evicted pod finds the room that it had; of shared devices, in the very same ones."""
        state = self.state
        if own.groups and own.given is Status.PROMISED:
            return False
        if own.groups:
            assert member.facts is not None
            part = member.facts.device_part
            choice = None if part is None else state.parts.choose(own.number, part, now=False, later=True)
            if choice is None or choice.fresh or choice.joined != own.groups:
                return False
        return state.can_stay(member)

    def _devices(
        self,
        member: Member,
        node: Node,
        number: int,
        wanted: Sequence[ResourceClaim],
        now: bool,
        when: When,
        mates: Mates | None,
        levels: Sequence[DeviceLevel],
    ) -> DeviceChoice | DeviceFall:
        """Devices for the claims on the node; mates: whose devices there may be chosen again, or None."""
        state = self.state
        fall: DeviceFall | None = None
        for free_now in (True, False):
            if (free_now and not now) or (not free_now and when is When.NOW):
                continue
            if not free_now and fall is not None and state.later is state.devices:
                continue
            if not levels:
                found = (state.devices if free_now else state.later).allocate(node, wanted)
                if not isinstance(found, DeviceFall):
                    return DeviceChoice(found, free_now)
                fall = found
                if fall.fatal or mates is None:
                    continue
            assert mates is not None
            chosen = self._joint.choose(member, node, number, wanted, mates, levels, now=free_now)
            if not isinstance(chosen, DeviceFall):
                return chosen
            fall = chosen
        assert fall is not None
        return fall

    def _allowed(
        self,
        facts: PodFacts,
        number: int,
        node: Node,
        held: Sequence[tuple[ResourceClaim, AllocationResult]],
    ) -> bool:
        """Whether claims that have their devices, and other pods, permit the node."""
        state = self.state
        if any(state.table.whole[number].get(name) for name in facts.barred):
            return False
        for _, allocation in held:
            if allocation.node_selector is not None and not matches_node(allocation.node_selector, node):
                return False
        if not state.neighbours.concerns(facts.pod):
            return True
        return state.neighbours.fall(facts.pod, node.metadata.name) is None

    def _charge(
        self,
        facts: PodFacts,
        number: int,
        node: Node,
        allocated: tuple[tuple[ResourceClaim, AllocationResult], ...],
    ) -> Charge:
        state = self.state
        plain = facts.gpus is None or facts.gpus.kind in (Kind.WHOLE, Kind.PART)
        if plain and not facts.wanted and not state.slots.vary(facts):
            return state.wanted.charge(facts)
        gpus = 0 if facts.gpus is None else state.parts.charge(number, facts.gpus)
        charges = [pod_charge(facts.traits.demand.requests, gpus)]
        charges += [state.devices.charge(claim, allocation) for claim, allocation in allocated]
        return charges[0] if len(charges) == 1 else total(charges)

    def _alike(self, one: Member, other: Member) -> bool:
        """Whether moving one to another node cannot make room for the other."""
        assert one.facts is not None
        assert other.facts is not None
        shape: Shape | None = one.facts.shape
        return (
            shape is not None and shape == other.facts.shape and not self.state.neighbours.concerns(one.pod)
        )


def _turns_back(member: Member, number: int) -> bool:
    """Whether a pod that is moved would be where it came from. It keeps what it was promised instead, if that
    is still there."""
    origin = member.origin
    return origin is not None and number == origin.number and not origin.groups and not origin.claims


def _as_it_is(placement: PodPlacement) -> PodPlacement:
    """A placement as later ones have left it."""
    member = placement.member
    hold = member.moved or member.hold
    if placement.stays or not placement.allocated or hold is None:
        return placement
    promised = member.status is Status.PROMISED
    return replace(placement, allocated=hold.claims, charge=hold.charge, promised=promised, others=())
