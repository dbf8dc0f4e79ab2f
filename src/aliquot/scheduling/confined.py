"""Gangs that would find room, were it not for the closeness that they require: which domain comes nearest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from aliquot.dra.pools import members as numbers_in
from aliquot.model.verdicts import Fact
from aliquot.scheduling.closeness import Closeness
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member, Status, leaf_groups
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.pod_placement import PodPlacement
from aliquot.scheduling.requests import CPU, MEMORY, written
from aliquot.topology.findings import Shortfall, facts
from aliquot.topology.tree import TopologyTree
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a required level leaves of the cluster for a group of pods.

    facts: the constraint, then the best domain of each level searched, the finest first, then the nearest
    coarser level that would hold the group, if one would. domain: the name of the best domain of the required
    level, with the numbers of its nodes; missing: how many pods it lacks room for, at least 1.
    """

    facts: tuple[Fact, ...]
    domain: str
    nodes: frozenset[int]
    missing: int


def confinement(placer: GangPlacer, crew: Crew, members: Sequence[Member]) -> Confinement | Failure | None:
    """Why members that could not be placed together would fit, if they need not be close. If they would not
    fit anyway, the failure to place them anywhere; None if nothing is required. The state is left as it is.
    """
    if not placer.closeness.concerns(crew.gang.root):
        return None
    anywhere = _anywhere(placer, members)
    if isinstance(anywhere, Failure):
        return anywhere
    nearest: tuple[SubGroup, Shortfall, tuple[Shortfall, ...], TopologyTree] | None = None
    for group in _constrained(crew.gang.root):
        own = _members_of(group, members)
        assert group.constraint is not None
        found = _shortfalls(placer.closeness, group.constraint, crew, group, own)
        if found is None:
            if own and not group.constraint.topology:
                level = Fact(test="topologyLevel", wanted=group.constraint.required)
                return Confinement((level,), "", frozenset(), len(own))
            continue
        tree, levels = found
        if nearest is None or (levels[-1].held < levels[-1].wanted and nearest[1].held >= nearest[1].wanted):
            nearest = (group, levels[-1], levels, tree)
    if nearest is None:
        return None
    group, last, levels, tree = nearest
    own = _members_of(group, members)
    assert group.constraint is not None
    constraint = Fact(
        test="topologyConstraint",
        subject=group.constraint.topology,
        count=len(own),
        unit="pods",
        wanted=tree.levels.name(last.level),
        available=group.name,
    )
    coarser = _coarser(placer.closeness, group.constraint, tree, last.level, own)
    told = (constraint, *map(_readable, facts(tree, levels)), *coarser)
    domain = last.domain
    if domain is None:
        return Confinement(told, "", frozenset(), len(own))
    missing = int(last.wanted - last.held) if not last.resource else 1
    name = f"{tree.levels.name(last.level)} {domain.name}"
    return Confinement(told, name, frozenset(numbers_in(domain.nodes)), max(1, missing))


def _anywhere(placer: GangPlacer, members: Sequence[Member]) -> list[PodPlacement] | Failure:
    """What comes of placing the members without regard to closeness."""
    state = placer.placer.state
    point = state.mark()
    found = placer.placer.place(members, When.EITHER)
    state.undo(point)
    return found


def _constrained(group: SubGroup) -> Iterator[SubGroup]:
    """The groups with something required, outer ones first."""
    if group.constraint is not None and group.constraint.required:
        yield group
    for child in group.children:
        yield from _constrained(child)


def _members_of(group: SubGroup, members: Sequence[Member]) -> list[Member]:
    names = {leaf.name for leaf in leaf_groups(group)}
    return [member for member in members if member.leaf.group.name in names]


def _shortfalls(
    closeness: Closeness, constraint: TopologyConstraint, crew: Crew, group: SubGroup, own: Sequence[Member]
) -> tuple[TopologyTree, tuple[Shortfall, ...]] | None:
    if not own:
        return None
    pinned = 0
    for leaf in leaf_groups(group):
        for member in crew.leaves[leaf.name].members:
            if member.status in (Status.RUNNING, Status.PLACED) and member.hold is not None:
                pinned |= 1 << member.hold.number
    found = closeness.shortfalls(constraint, own, pinned)
    return found if found is not None and found[1] else None


def _coarser(
    closeness: Closeness,
    constraint: TopologyConstraint,
    tree: TopologyTree,
    level: int,
    own: Sequence[Member],
) -> Iterator[Fact]:
    """The finest level above the required one of which some domain has room for the whole group."""
    for number in range(level - 1, 0, -1):
        wider = TopologyConstraint(constraint.topology, tree.levels.name(number), "")
        found = closeness.shortfalls(wider, own, 0)
        if found is not None and found[1] and found[1][-1].held >= found[1][-1].wanted:
            domain = found[1][-1].domain
            name = domain.name if domain is not None else ""
            yield Fact(test="coarserLevel", subject=tree.levels.name(number), available=name)
            return


def _readable(fact: Fact) -> Fact:
    """The fact with its amounts as quantities."""
    if fact.unit not in (CPU, MEMORY):
        return fact
    return replace(
        fact,
        wanted=written(fact.unit, int(fact.wanted)),
        available=written(fact.unit, int(fact.available)),
    )
