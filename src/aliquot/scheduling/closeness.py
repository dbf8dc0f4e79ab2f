"""Constraints on closeness, asked of the topologies of a cluster in its present state."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from aliquot.fractions.requests import GpuRequest, Kind
from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.scheduling.gang_state import Member
from aliquot.scheduling.requests import CPU, MEMORY
from aliquot.scheduling.state import MOST_TASKS, ClusterState
from aliquot.scheduling.topologies import Topologies
from aliquot.topology.findings import Shortfall, shortfalls
from aliquot.topology.room import Need, Room, Shape
from aliquot.topology.search import Span, candidates, node_scores
from aliquot.topology.tree import TopologyTree
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint

Bands = Sequence[int] | None
"""Sets of nodes, the better first; None where none is better."""


class Closeness:
    """The domains in which groups of pods may be placed."""

    def __init__(self, topologies: Topologies, state: ClusterState, honoured: bool) -> None:
        """honoured: whether constraints are honoured at all."""
        self._topologies = topologies
        self._state = state
        self._honoured = honoured
        self._rooms: dict[str, Room] = {}

    def concerns(self, group: SubGroup) -> bool:
        """Whether the group or a part of it has a constraint that counts."""
        if not self._honoured:
            return False
        return group.constraint is not None or any(self.concerns(child) for child in group.children)

    def domains(
        self,
        constraint: TopologyConstraint,
        members: Sequence[Member],
        within: int | None,
        pinned: int,
        bands: Bands,
    ) -> Iterator[tuple[int | None, Bands]]:
        """The sets of nodes to try for the members, one after the other, each with its better parts first.

        within: the nodes that may be used. pinned: those where the group runs already. bands: preferences
        that hold where the constraint has none.
        """
        tree = self._topologies.tree(constraint)
        if tree is None:
            if not constraint.topology and not constraint.required:
                yield within, bands
            return
        span = Span.of(tree, constraint.required, constraint.preferred)
        if span is None:
            if constraint.required or constraint.preferred:
                return
            yield within, bands
            return
        room = self._room(tree)
        need = self._rough_need(members) if tree.strict else self._need(members)
        if need is None:
            return
        groups: list[int] | None = None
        for candidate in candidates(room, span, need, within, pinned):
            if span.preferred is None:
                yield candidate.nodes, _confined(bands, candidate.nodes)
                continue
            if candidate.domain.level >= span.preferred:
                # All of it is in one domain of the preferred level.
                yield candidate.nodes, [candidate.nodes]
                continue
            if groups is None:
                scores = node_scores(room, span, need, within)
                groups = [nodes for _, nodes in scores.groups(within)] if scores is not None else []
            inside = [nodes & candidate.nodes for nodes in groups]
            rest = candidate.nodes
            for nodes in inside:
                rest &= ~nodes
            yield candidate.nodes, [nodes for nodes in (*inside, rest) if nodes]

    def whole_domains(self, constraint: TopologyConstraint) -> list[int]:
        """The nodes of each domain of the required level; none if that is not known."""
        tree = self._topologies.tree(constraint)
        level = None if tree is None else tree.levels.number(constraint.required)
        return [] if tree is None or level is None else [domain.nodes for domain in tree.level(level)]

    def shortfalls(
        self, constraint: TopologyConstraint, members: Sequence[Member], pinned: int
    ) -> tuple[TopologyTree, tuple[Shortfall, ...]] | None:
        """How near the domains of each level searched come to holding the members, the finest level first;
        None for a constraint that cannot be searched."""
        tree = self._topologies.tree(constraint)
        span = None if tree is None else Span.of(tree, constraint.required, constraint.preferred)
        if tree is None or span is None:
            return None
        need = self._rough_need(members) if tree.strict else self._need(members)
        if need is None:
            return None
        return tree, shortfalls(self._room(tree), span, need, None, pinned)

    def _room(self, tree: TopologyTree) -> Room:
        found = self._rooms.get(tree.name)
        if found is None:
            tasks = self._rough_tasks if tree.strict else self._state.tasks
            free = self._whole_free if tree.strict else self._free
            found = Room(tree, tasks, free, self._state.table.changes)
            self._rooms[tree.name] = found
        return found

    def _free(self, resource: str, number: int) -> int | Fraction:
        state = self._state
        if resource == GPU:
            return _in_thousandths(state.free_accelerators(number) + state.parts.free(number))
        return max(0, state.table.later(number, resource))

    def _need(self, members: Sequence[Member]) -> Need:
        """What the members want: how many of each shape, and together of each resource."""
        counts: dict[object, int] = {}
        totals: dict[str, int | Fraction] = {}
        for member in members:
            facts = member.facts
            assert facts is not None
            counts[self._state.shape_of(member)] = counts.get(self._state.shape_of(member), 0) + 1
            requests = facts.traits.demand.requests
            for resource in (CPU, MEMORY):
                if wanted := requests.get(resource, 0):
                    totals[resource] = totals.get(resource, 0) + wanted
            devices = self._state.wanted.charge(facts).get(GPU, 0)
            if devices and not self._state.slots.vary(facts):
                totals[GPU] = totals.get(GPU, 0) + _devices(devices)
        return Need(tuple(counts.items()), totals)

    def _rough_need(self, members: Sequence[Member]) -> Need | None:
        """What the members want as KAI-Scheduler judges it, on topologies that are read as it reads them: as
        often the largest of each amount as there are members, or, where only some want devices, the sums.

        Only whole devices and parts by size count. None for parts of different sizes, which it cannot
        compare, and so places nowhere.
        """
        totals: dict[str, int | Fraction] = {}
        largest: dict[str, int] = {CPU: 0, MEMORY: 0}
        asking: list[GpuRequest] = []
        for member in members:
            facts = member.facts
            assert facts is not None
            requests = facts.traits.demand.requests
            for resource in (CPU, MEMORY):
                wanted = requests.get(resource, 0)
                largest[resource] = max(largest[resource], wanted)
                totals[resource] = totals.get(resource, 0) + wanted
            gpus = facts.gpus
            if gpus is not None and gpus.kind in (Kind.WHOLE, Kind.PART) and gpus.devices:
                asking.append(gpus)
                devices = self._state.wanted.charge(facts).get(GPU, 0)
                totals[GPU] = totals.get(GPU, 0) + _devices(devices)
        if len({gpus.part for gpus in asking}) > 1:
            return None
        if asking and len(asking) < len(members):
            return Need((), totals)
        most = max(asking, key=lambda gpus: gpus.devices, default=None)
        shape = (largest[CPU], largest[MEMORY], most)
        return Need(((shape, len(members)),), totals, bounding=False)

    def _rough_tasks(self, shape: Shape, number: int) -> int:
        """How many pods of such a size a node holds; of a device that is shared already, one more part."""
        assert isinstance(shape, tuple)
        cpu, memory, gpus = shape
        state = self._state
        found = min(MOST_TASKS, state.table.later(number, PODS))
        for resource, wanted in ((CPU, cpu), (MEMORY, memory)):
            if wanted:
                found = min(found, state.table.later(number, resource) // wanted)
        if gpus is not None:
            rooms = state.parts.rooms(number, gpus) if gpus.shared else 0
            found = min(found, (int(state.free_accelerators(number)) + rooms) // gpus.devices)
        return max(0, found)

    def _whole_free(self, resource: str, number: int) -> int | Fraction:
        if resource == GPU:
            return _in_thousandths(self._state.free_accelerators(number))
        return max(0, self._state.table.later(number, resource))


PODS = "pods"


def _devices(amount: Amount) -> int | Fraction:
    """Billionths of devices as devices."""
    if type(amount) is int and amount % UNIT == 0:
        return amount // UNIT
    return Fraction(amount, UNIT)


def _in_thousandths(free: float) -> int | Fraction:
    """Free accelerators as a number with thousandths at most."""
    whole = int(free)
    return whole if whole == free else Fraction(free).limit_denominator(1000)


def _confined(bands: Bands, nodes: int) -> Bands:
    if bands is None:
        return [nodes]
    found = [band & nodes for band in bands]
    return [band for band in found if band]
