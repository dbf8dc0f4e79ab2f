"""Placing a gang: every pod that must be there finds a node, or none is placed.

Pods are placed one after the other, each on the first node of its ranking that takes it. When one finds no
node, earlier ones are moved to their next node, within a budget; the first way to place all of them is best
fit without any move. Moving a pod of the same shape cannot help, so a gang of equal pods fails at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from aliquot.model.core import Node
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.tree import Charge, Excess, total
from aliquot.scheduling.affinity import matches_node, named_node, node_fall
from aliquot.scheduling.allocating import DeviceFall
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.holdings import pod_charge
from aliquot.scheduling.ranking import Ranking, RankKey
from aliquot.scheduling.room import part_wanted
from aliquot.scheduling.state import ClusterState, PodPlacement

LIMIT_TRIES = 16
"""Nodes tried after a queue's limit refused a place: elsewhere the same claim may count for less."""


@dataclass(frozen=True, slots=True)
class StaticFit:
    """Which nodes take pods of one set of constraints by labels and taints: numbers, and why others do not
    (test and subject by node number)."""

    numbers: tuple[int, ...]
    falls: dict[int, tuple[str, str]]

    @staticmethod
    def of(facts: PodFacts, nodes: Sequence[Node]) -> "StaticFit":
        numbers: list[int] = []
        falls: dict[int, tuple[str, str]] = {}
        for number, node in enumerate(nodes):
            fall = node_fall(facts.pod.spec, node)
            if fall is None:
                numbers.append(number)
            else:
                falls[number] = fall
        return StaticFit(tuple(numbers), falls)


@dataclass(slots=True)
class Failure:
    """Why a pod found no node.

    excess: the limit in the way, if one was. full_claim: a claim that takes no more consumers. placed:
    members that had found a node when this one did not.
    """

    facts: PodFacts
    excess: Excess | None = None
    placed: tuple[PodPlacement, ...] = ()
    full_claim: ResourceClaim | None = None


class Placer:
    """Places pods in a ClusterState and remembers, for one decision, what did not fit."""

    def __init__(
        self,
        state: ClusterState,
        static: dict[bytes, StaticFit],
        gang_search: int,
    ) -> None:
        self.state = state
        self._static = static
        self._gang_search = gang_search
        self._rankings: dict[tuple[bytes, bytes], Ranking] = {}

    def static_fit(self, facts: PodFacts) -> StaticFit:
        key = facts.traits.constraints
        known = self._static.get(key)
        if known is None:
            known = self._static[key] = StaticFit.of(facts, self.state.table.nodes)
        return known

    def place(
        self, pods: Sequence[PodFacts], queue: str, first: int | None = None
    ) -> list[PodPlacement] | Failure:
        """Place all of the pods or none. What is placed is taken in the state.

        first: the number of the node to try before all others for the first pod.
        """
        start = self.state.mark()
        self.state.settle()
        placed: list[PodPlacement] = []
        options: list[Iterator[PodPlacement]] = []
        points = []
        failures: list[Failure] = []
        failure: Failure | None = None
        moves = 0
        while len(placed) < len(pods):
            depth = len(placed)
            facts = pods[depth]
            if len(options) == depth:
                points.append(self.state.mark())
                failures.append(Failure(facts))
                options.append(self._options(facts, queue, failures[depth], None if depth else first))
            option = next(options[depth], None)
            if option is not None:
                self.state.take(option, queue)
                placed.append(option)
                continue
            options.pop()
            points.pop()
            latest = failures.pop()
            if failure is None or len(failure.placed) < depth:
                latest.placed = tuple(placed)
                failure = latest
            keep = depth
            while keep and self._alike(pods[keep - 1], facts):
                keep -= 1
            moves += 1
            if not keep or moves > self._gang_search:
                self.state.undo(start)
                return failure
            self.state.undo(points[keep - 1])
            del placed[keep - 1 :], options[keep:], points[keep:], failures[keep:]
        return placed

    def meeting_point(self, pods: Sequence[PodFacts]) -> int | None:
        """A node for the first of the pods such that all of them find a place; None if there is none.

        The state is left as it is, and limits of queues are not looked at.
        """
        start = self.state.mark()
        found = self.place(pods, "")
        self.state.undo(start)
        return None if isinstance(found, Failure) else found[0].number

    def _options(
        self, facts: PodFacts, queue: str, failure: Failure, first: int | None
    ) -> Iterator[PodPlacement]:
        """Places for a pod in the present state, the best first. What is in the way goes into `failure`."""
        state = self.state
        held = list(facts.held)
        wanted: list[ResourceClaim] = []
        unreserved = list(facts.unreserved)
        for claim in facts.wanted:
            decided = state.claims.allocation(claim)
            if decided is None:
                wanted.append(claim)
            else:
                held.append((claim, decided))
                unreserved.append(claim)
        for claim in (*unreserved, *wanted):
            if not state.claims.has_room(claim, facts.consumer(claim)):
                failure.full_claim = claim
                return
        ranking = self._ranking(facts) if facts.claims_shape is not None else None
        possible = state.devices.possible(wanted) if wanted else -1
        if ranking is not None:
            numbers = ranking.numbers()
        else:
            numbers = self._ranked_alone(facts, held, tuple(wanted), possible)
        if first is not None:
            numbers = chain((first,), (number for number in numbers if number != first))
        refused = 0
        for number in numbers:
            if not possible >> number & 1:
                if ranking is not None:
                    state.drop(ranking, number)
                continue
            node = state.table.nodes[number]
            if not self._takes(facts, number, node, held):
                continue
            allocations: tuple[AllocationResult, ...] = ()
            if wanted:
                found = state.devices.allocate(node, wanted)
                if isinstance(found, DeviceFall):
                    if ranking is not None:
                        state.drop(ranking, number)
                    if found.fatal:
                        return
                    continue
                allocations = found
            allocated = tuple(zip(wanted, allocations, strict=True))
            charge = self._charge(facts, node, allocated) if queue else {}
            if queue:
                excess = state.queues.excess(queue, charge)
                if excess is not None:
                    failure.excess = failure.excess or excess
                    refused += 1
                    if not wanted or refused > LIMIT_TRIES:
                        return
                    continue
            yield PodPlacement(facts, number, node.metadata.name, allocated, tuple(unreserved), charge)

    def _takes(
        self,
        facts: PodFacts,
        number: int,
        node: Node,
        held: Sequence[tuple[ResourceClaim, AllocationResult]],
    ) -> bool:
        state = self.state
        if not state.table.fits(number, facts.traits.demand):
            return False
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
        node: Node,
        allocated: tuple[tuple[ResourceClaim, AllocationResult], ...],
    ) -> Charge:
        charges = [pod_charge(facts.traits.demand.requests, node)]
        charges += [self.state.devices.charge(claim, allocation) for claim, allocation in allocated]
        return charges[0] if len(charges) == 1 else total(charges)

    def _ranking(self, facts: PodFacts) -> Ranking:
        """The order of nodes for the pod's constraints and claims, kept for all pods with equal ones."""
        assert facts.claims_shape is not None
        key = (facts.traits.constraints, facts.claims_shape)
        known = self._rankings.get(key)
        if known is None:
            state = self.state
            numbers = self.static_fit(facts).numbers
            known = self._rankings[key] = Ranking(self._rank_key(facts.wanted), numbers, state.table.changes)
        return known

    def _rank_key(self, wanted: tuple[ResourceClaim, ...]) -> Callable[[int], RankKey]:
        part = part_wanted(wanted)
        room = self.state.room
        if part is None:
            return room.rank
        return lambda number: room.rank_part(number, part)

    def _ranked_alone(
        self,
        facts: PodFacts,
        held: Sequence[tuple[ResourceClaim, AllocationResult]],
        wanted: tuple[ResourceClaim, ...],
        possible: int,
    ) -> Iterator[int]:
        """The order of nodes for a pod that is like no other."""
        numbers = self.static_fit(facts).numbers
        for _, allocation in held:
            named = named_node(allocation.node_selector)
            if named is not None:
                only = self.state.table.numbers.get(named)
                return iter((only,) if only in numbers else ())
        key = self._rank_key(wanted)
        return iter(sorted((number for number in numbers if possible >> number & 1), key=key))

    def _alike(self, one: PodFacts, other: PodFacts) -> bool:
        """Whether moving one to another node cannot make room for the other."""
        shape: Shape | None = one.shape
        return shape is not None and shape == other.shape and not self.state.neighbours.concerns(one.pod)
