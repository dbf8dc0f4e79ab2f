"""Placing members of a gang along its subgroups, each in a domain that is close enough together."""

from collections.abc import Iterable, Sequence

from aliquot.queues.amounts import Charge, total
from aliquot.scheduling.choosing import torn
from aliquot.scheduling.closeness import Closeness
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Member, Status, leaf_groups
from aliquot.scheduling.placing import Failure, Placer, When
from aliquot.scheduling.pod_placement import PodPlacement
from aliquot.scheduling.policy import Policy
from aliquot.workloads.subgroups import SubGroup


class GangPlacer:
    """Places members of gangs: all of those asked for, or none."""

    def __init__(self, placer: Placer, closeness: Closeness, policy: Policy) -> None:
        self.placer = placer
        self.policy = policy
        self.closeness = closeness

    def rank(self, member: Member) -> tuple[object, ...]:
        """The order of members in their subgroup: of those that are to be placed; those that run keep theirs,
        whether somebody has found out about them or not."""
        if not self.policy.largest_first or member.facts is None or member.status is Status.RUNNING:
            return (member.rank,)
        facts = member.facts
        devices = sum(len(claim.spec.devices.requests) for claim in facts.wanted)
        requests = facts.traits.demand.requests
        return (not facts.held, -devices, -requests.get("cpu", 0), -requests.get("memory", 0), member.rank)

    def place(
        self,
        crew: Crew,
        members: Sequence[Member],
        when: When,
        bands: Sequence[int] | None = None,
        *,
        first: int | None = None,
        joins: bool = True,
        beyond: Sequence[Member] = (),
    ) -> list[PodPlacement] | Failure:
        """Place the members. bands: the nodes to which the choice is confined, None for all. joins: whether
        they must join members that have their place already where a constraint says so. beyond: members that
        will want a place later: domains that hold those, too, come before others."""
        if not members:
            return []
        root = crew.gang.root
        if not self.closeness.concerns(root):
            return self.placer.place(_in_tree_order(crew, members), when, bands, first=first)
        within = None
        if bands is not None:
            within = 0
            for band in bands:
                within |= band
        return self._group(crew if joins else None, root, members, when, within, None, beyond)

    def _group(
        self,
        crew: Crew | None,
        group: SubGroup,
        members: Sequence[Member],
        when: When,
        within: int | None,
        bands: Sequence[int] | None,
        beyond: Sequence[Member],
    ) -> list[PodPlacement] | Failure:
        """Place the members of a subgroup in one of the domains that its constraint leaves. crew: the gang
        whose other members they must join; None: they need join nobody."""
        failure: Failure | None = None
        state = self.placer.state
        domains: Iterable[tuple[int | None, Sequence[int] | None]] = [(within, bands)]
        if group.constraint is not None:
            if not group.children and self.placer.nowhere(members[0]):
                return Failure(members[0])
            pins = _pins(crew, group) if crew is not None else 0
            domains = self.closeness.domains(group.constraint, members, within, pins, bands)
            if beyond:
                domains = self._roomy_first(crew, group, [*members, *beyond], when, domains)
        for nodes, preferred in domains:
            start = state.mark()
            found = self._inside(crew, group, members, when, nodes, preferred, beyond)
            if not isinstance(found, Failure):
                return found
            state.undo(start)
            if failure is None or len(found.placed) > len(failure.placed):
                failure = found
        return failure or Failure(members[0])

    def _roomy_first(
        self,
        crew: Crew | None,
        group: SubGroup,
        everybody: Sequence[Member],
        when: When,
        domains: Iterable[tuple[int | None, Sequence[int] | None]],
    ) -> Iterable[tuple[int | None, Sequence[int] | None]]:
        """The domains, those first that hold everybody."""
        state = self.placer.state
        tight: list[tuple[int | None, Sequence[int] | None]] = []
        for nodes, preferred in domains:
            start = state.mark()
            found = self._inside(crew, group, everybody, when, nodes, preferred, ())
            state.undo(start)
            if isinstance(found, Failure):
                tight.append((nodes, preferred))
            else:
                yield nodes, preferred
        yield from tight

    def _inside(
        self,
        crew: Crew | None,
        group: SubGroup,
        members: Sequence[Member],
        when: When,
        within: int | None,
        bands: Sequence[int] | None,
        beyond: Sequence[Member],
    ) -> list[PodPlacement] | Failure:
        if not group.children:
            confined = bands if bands is not None else None if within is None else [within]
            return self.placer.place(members, when, confined)
        placed: list[PodPlacement] = []
        # Subgroups that are divided themselves come first: they are the harder ones to place.
        for child in sorted(group.children, key=lambda item: not item.children):
            names = {leaf.name for leaf in leaf_groups(child)}
            own = [member for member in members if member.leaf.group.name in names]
            if not own:
                continue
            more = [member for member in beyond if member.leaf.group.name in names]
            found = self._group(crew, child, own, when, within, bands, more)
            if isinstance(found, Failure):
                found.placed = (*placed, *found.placed)
                return found
            placed += found
        return placed

    def wanted(self, members: Sequence[Member]) -> Charge:
        """What members will count for in their queue, as far as that is known before they have nodes: those
        that were evicted, as before."""
        state = self.placer.state
        charges: list[Charge] = []
        for member in members:
            if member.status is Status.EVICTED and member.hold is not None:
                charges.append(member.hold.charge)
            elif member.facts is not None:
                charges.append(state.wanted.charge(member.facts))
        return total(charges)


def promise_all(crew: Crew, members: Sequence[Member]) -> bool:
    """Whether members that could start now have to wait, because others that their subgroup needs must.
    members: those that were given a place just now."""
    if crew.lines is not None:
        names = {member.leaf.group.name for member in members}
        return any(torn(crew, name, lambda leaf: crew.leaves[leaf].placed) is not None for name in names)
    return any(
        leaf.placed < leaf.minimum and any(member.status is Status.PROMISED for member in leaf.members)
        for leaf in crew.leaves.values()
    )


def _in_tree_order(crew: Crew, members: Sequence[Member]) -> Sequence[Member]:
    """Members subgroup by subgroup, in the order in which they come in each."""
    if len(crew.leaves) == 1:
        return members
    places = {leaf.name: number for number, leaf in enumerate(_leaves(crew.gang.root))}
    return sorted(members, key=lambda member: places.get(member.leaf.group.name, 0))


def _leaves(group: SubGroup) -> list[SubGroup]:
    if not group.children:
        return [group]
    ordered = sorted(group.children, key=lambda item: not item.children)
    return [leaf for child in ordered for leaf in _leaves(child)]


def _pins(crew: Crew, group: SubGroup) -> int:
    """The nodes where members of the subgroup have their place already, or were promised one."""
    found = 0
    for leaf in leaf_groups(group):
        for member in crew.leaves[leaf.name].members:
            hold = member.moved or member.hold
            if member.status in ALLOCATED and hold is not None:
                found |= 1 << hold.number
    return found
