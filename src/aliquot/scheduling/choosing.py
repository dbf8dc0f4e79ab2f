"""Which subgroups of a gang that can do without some are served, or given up, next.

A group that needs k of its n children gets k whole ones at once, and each of those what it needs itself;
beyond, one more child at a time, as a whole, and pods one by one. What it gives back goes in the reverse
order: pods beyond the minimum of their subgroup, then whole subgroups that their group can do without, then
the rest.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from fractions import Fraction

from aliquot.scheduling.gang_state import ALLOCATED, Crew, Leaf, Member, Status
from aliquot.workloads.subgroups import SubGroup, leaves, satisfied

MOST_CHOICES = 32
"""How many ways to serve a gang next are tried."""

Rank = Callable[[Member], tuple[object, ...]]
"""The order of members in their subgroup."""


def fill(allocated: int, minimum: int) -> Fraction:
    """How full a subgroup is: 0 below its minimum, then members to minimum."""
    if allocated < minimum:
        return Fraction(0)
    return Fraction(allocated, minimum) if minimum else Fraction(allocated + 1)


def ways(
    crew: Crew, rank: Rank, by_fill: bool, *, evicted: bool = False, without: Collection[int] = ()
) -> Iterator[list[Member]]:
    """The members that could be placed next, in one way after the other, the preferred first; of ways that
    differ only in which of equal subgroups they serve there is one. Options as of `chunks.next_members`."""
    choosing = _Choosing(crew, rank, by_fill, evicted, without)
    root = crew.gang.root
    if satisfied(root, crew.allocated_of):
        yield from choosing.extras(root)
    else:
        yield from choosing.completions(root)


class _Choosing:
    """What may be placed next of one gang as it is."""

    def __init__(
        self, crew: Crew, rank: Rank, by_fill: bool, evicted: bool, without: Collection[int]
    ) -> None:
        self._leaves = crew.leaves
        self._has = crew.allocated_of
        self._by_fill = by_fill
        self._todo: dict[str, list[Member]] = {}
        for name, leaf in crew.leaves.items():
            todo = [
                member
                for member in leaf.members
                if (member.status is Status.WAITING or (evicted and member.status is Status.EVICTED))
                and id(member) not in without
            ]
            todo.sort(key=rank)
            self._todo[name] = todo

    def completions(self, group: SubGroup) -> Iterator[list[Member]]:
        """The ways to complete a group that is not."""
        if not group.children:
            missing = group.minimum - self._has(group.name)
            if len(self._todo[group.name]) >= missing:
                yield self._todo[group.name][:missing]
            return
        need = group.minimum - sum(satisfied(child, self._has) for child in group.children)
        candidates = self._candidates(group)
        for chosen in self._choices(candidates, need):
            yield from self._together(chosen)

    def extras(self, group: SubGroup) -> Iterator[list[Member]]:
        """What could be given to a complete group: children that are not complete, as a whole each; then to
        those that are, the emptiest first."""
        if not group.children:
            seen: set[Hashable] = set()
            for member in self._todo[group.name]:
                kind = _shape(member)
                if kind not in seen:
                    seen.add(kind)
                    yield [member]
            return
        kinds: set[Hashable] = set()
        for child in self._candidates(group):
            kind = self._kind(child)
            if kind not in kinds:
                kinds.add(kind)
                yield from self.completions(child)
        complete = [child for child in group.children if satisfied(child, self._has)]
        for child in fullest_last(complete, self._has) if self._by_fill else complete:
            yield from self.extras(child)

    def _candidates(self, group: SubGroup) -> list[SubGroup]:
        """The children that are not complete and could be, those first of which something is there or was."""
        found = [
            child
            for child in group.children
            if not satisfied(child, self._has) and satisfied(child, self._could_have)
        ]
        found.sort(key=lambda child: not self._begun(child))
        return found

    def _could_have(self, name: str) -> int:
        return self._has(name) + len(self._todo[name])

    def _begun(self, group: SubGroup) -> bool:
        return any(
            self._has(leaf.name) or any(member.hold is not None for member in self._todo[leaf.name])
            for leaf in leaves(group)
        )

    def _choices(self, candidates: Sequence[SubGroup], need: int) -> Iterator[Sequence[SubGroup]]:
        """So many of the candidates, first those that come first, then for each number of every kind the
        first of that kind."""
        if len(candidates) < need:
            return
        yield candidates[:need]
        if len(candidates) == need:
            return
        kinds: dict[Hashable, list[SubGroup]] = {}
        for child in candidates:
            kinds.setdefault(self._kind(child), []).append(child)
        names = {child.name for child in candidates[:need]}
        first = [sum(child.name in names for child in alike) for alike in kinds.values()]
        for counts in _divisions([len(alike) for alike in kinds.values()], need):
            if counts != first:
                pairs = zip(kinds.values(), counts, strict=True)
                yield [child for alike, count in pairs for child in alike[:count]]

    def _together(self, chosen: Sequence[SubGroup]) -> Iterator[list[Member]]:
        """The ways to complete all of these."""
        if not chosen:
            yield []
            return
        for first in self.completions(chosen[0]):
            for rest in self._together(chosen[1:]):
                yield first + rest

    def _kind(self, group: SubGroup) -> Hashable:
        """Equal for groups of which one could be served as well as the other."""
        if group.children:
            return (group.minimum, group.constraint, tuple(self._kind(child) for child in group.children))
        if self._has(group.name):
            return group.name
        return (group.minimum, group.constraint, tuple(_shape(member) for member in self._todo[group.name]))


def beyond(crew: Crew, members: Sequence[Member]) -> list[Member]:
    """Who else of the gang waits and could have a place once these members have theirs."""
    has = {name: leaf.allocated + leaf.waiting for name, leaf in crew.leaves.items()}
    chosen = {id(member) for member in members}
    return [
        member
        for name, leaf in crew.leaves.items()
        if leaf.waiting and torn(crew, name, has.__getitem__) is None
        for member in leaf.members
        if member.status is Status.WAITING and id(member) not in chosen
    ]


def _shape(member: Member) -> Hashable:
    shape = None if member.facts is None else member.facts.shape
    # A pod that was on a node could keep its place there, which no other can.
    return id(member) if shape is None or member.hold is not None else shape


def _divisions(sizes: Sequence[int], total: int) -> Iterator[list[int]]:
    """All ways to take `total` things of kinds of which there are so many: [2, 1], 2 gives [2, 0], [1, 1]."""
    if not sizes:
        if not total:
            yield []
        return
    left = sum(sizes[1:])
    for count in range(min(sizes[0], total), max(0, total - left) - 1, -1):
        for rest in _divisions(sizes[1:], total - count):
            yield [count, *rest]


def fullest_last(groups: Iterable[SubGroup], has: Callable[[str], int]) -> list[SubGroup]:
    """Groups by how full they are: a leaf by its pods, an inner node by its complete children."""

    def fullness(group: SubGroup) -> Fraction:
        if not group.children:
            return fill(has(group.name), group.minimum)
        return fill(sum(satisfied(child, has) for child in group.children), group.minimum)

    return sorted(groups, key=fullness)


def given_up(
    crew: Crew,
    gone: Collection[int],
    rank: Rank,
    by_fill: bool,
    may_leave: Callable[[Member], bool],
) -> list[Member]:
    """The members to be taken away next, the last first. gone: ids of members taken away before."""
    counts = {name: _left(leaf, gone) for name, leaf in crew.leaves.items()}
    has = counts.__getitem__

    def able(group: SubGroup) -> list[Member]:
        found: list[Member] = []
        for leaf in leaves(group):
            own = [
                member
                for member in crew.leaves[leaf.name].members
                if may_leave(member) and id(member) not in gone
            ]
            own.sort(key=rank, reverse=True)
            found += own
        return found

    def spare(group: SubGroup) -> list[Member]:
        """What a complete group gives up first and remains complete."""
        if not group.children:
            return able(group)[:1] if has(group.name) > group.minimum else []
        # The reverse of the order in which they are served: of equal ones the last gives up first.
        order = fullest_last(group.children, has) if by_fill else list(group.children)
        order.reverse()
        complete = [child for child in order if satisfied(child, has)]
        if len(complete) >= group.minimum:
            for child in order:
                if child not in complete and (found := able(child)):
                    return found
        for child in complete:
            if found := spare(child):
                return found
        if len(complete) > group.minimum:
            for child in complete:
                if found := able(child):
                    return found
        return []

    root = crew.gang.root
    return (spare(root) if satisfied(root, has) else []) or able(root)


def _left(leaf: Leaf, gone: Collection[int]) -> int:
    return sum(1 for member in leaf.members if member.status in ALLOCATED and id(member) not in gone)


def torn(crew: Crew, leaf: str, has: Callable[[str], int]) -> SubGroup | None:
    """The largest group with a leaf, given by its name, that is not complete and so must have nothing; None
    if all are. Of a gang that can do without some subgroups."""
    assert crew.lines is not None
    return next((group for group in crew.lines[leaf] if not satisfied(group, has)), None)


def bundles(members: Sequence[Member]) -> list[list[Member]]:
    """Members of a gang that can do without some subgroups in parts that leave or stay together: all that it
    cannot do without; each subgroup that it can do without; each pod beyond the minimum of its subgroup.
    Those that are needed come last. members: in the order in which they are asked."""
    crew = members[0].crew
    there = {id(member) for member in members}
    counts = {
        name: sum(1 for item in leaf.members if item.status in ALLOCATED or id(item) in there)
        for name, leaf in crew.leaves.items()
    }
    has, root = counts.__getitem__, crew.gang.root
    core: list[Member] = []
    for place, member in enumerate(members):
        counts[member.leaf.group.name] -= 1
        if not satisfied(root, has):
            counts[member.leaf.group.name] += 1
            core = list(members[place:])
            break
    extra: dict[object, list[Member]] = {}
    for member in members[: len(members) - len(core)]:
        group = torn(crew, member.leaf.group.name, has)
        extra.setdefault(id(member) if group is None else group.name, []).append(member)
    return [*extra.values(), *([core] if core else [])]
