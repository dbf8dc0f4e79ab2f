"""Subgroups: the tree of parts that a gang consists of, and how much of each must be placed together."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from aliquot.workloads.subgroup_annotation import AnnotatedCloseness, AnnotatedGroup


@dataclass(frozen=True, slots=True)
class TopologyConstraint:
    """Members must be in one domain of the level `required` and should be in one of `preferred`.

    topology: the name of the Topology that has these levels, "" where any that knows them will do. A level is
    given by its name or its node label; "" means that nothing is asked for.
    """

    topology: str = ""
    required: str = ""
    preferred: str = ""


@dataclass(frozen=True, slots=True)
class SubGroup:
    """A node of the tree. The root's name is "".

    minimum: for a leaf (no children) how many pods must be placed together, 0 if each helps on its own; for
    an inner node how many of its children must be complete.
    """

    name: str
    minimum: int
    constraint: TopologyConstraint | None = None
    children: tuple["SubGroup", ...] = ()

    @property
    def least(self) -> int:
        """The smallest number of pods that makes the subgroup complete."""
        if not self.children:
            return self.minimum
        return sum(sorted(child.least for child in self.children)[: self.minimum])


ALONE = SubGroup("", 1)
"""The tree of a pod on its own."""


def leaves(root: SubGroup) -> Iterator[SubGroup]:
    """The leaves of the tree, in order; the root itself if it has no children."""
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if found.children:
            waiting += reversed(found.children)
        else:
            yield found


Has = Callable[[str], int]
"""How many pods of a leaf are there, by its name."""


def selective(group: SubGroup) -> bool:
    """Whether the group, or one below it, can do without some of its children."""
    return group.minimum < len(group.children) or any(selective(child) for child in group.children)


def satisfied(group: SubGroup, has: Has) -> bool:
    """Whether the group is complete: a leaf with its minimum of pods, an inner node with as many complete
    children as it needs."""
    if not group.children:
        return has(group.name) >= group.minimum
    return sum(satisfied(child, has) for child in group.children) >= group.minimum


def lacking(group: SubGroup, has: Has) -> int:
    """The fewest pods that would make the group complete.

    Two of three subgroups are needed; they have 1 of 4, 0 of 2 and 3 of 4 pods: 0 + 2 of the second and 1 of
    the third make 3.
    """
    if not group.children:
        return max(0, group.minimum - has(group.name))
    return sum(sorted(lacking(child, has) for child in group.children)[: group.minimum])


def surplus(group: SubGroup, has: Has) -> bool:
    """Whether a complete group has pods that it can do without."""
    if not group.children:
        return has(group.name) > group.minimum
    complete = [child for child in group.children if satisfied(child, has)]
    if len(complete) > group.minimum or any(surplus(child, has) for child in complete):
        return True
    return len(complete) == group.minimum and any(
        has(leaf.name) for child in group.children if child not in complete for leaf in leaves(child)
    )


def lines(root: SubGroup) -> dict[str, tuple[SubGroup, ...]]:
    """For each leaf, by name, the groups from the root down to it."""
    found: dict[str, tuple[SubGroup, ...]] = {}
    waiting: list[tuple[SubGroup, ...]] = [(root,)]
    while waiting:
        line = waiting.pop()
        if not line[-1].children:
            found[line[-1].name] = line
        waiting += [(*line, child) for child in line[-1].children]
    return found


def together(leaves: Iterable[SubGroup], constraint: TopologyConstraint | None = None) -> SubGroup:
    """A root that needs all of these subgroups."""
    children = tuple(leaves)
    return SubGroup("", len(children), constraint, children)


def constrained(required: str = "", preferred: str = "", topology: str = "") -> TopologyConstraint | None:
    """A constraint, or None if nothing is asked for."""
    return TopologyConstraint(topology, required, preferred) if required or preferred else None


def without(root: SubGroup, finished: Mapping[str, int]) -> SubGroup:
    """The tree where members that ended well have played their part. finished: how many, by leaf."""
    if not finished:
        return root
    if not root.children:
        done = finished.get(root.name, 0)
        return replace(root, minimum=max(0, root.minimum - done)) if done else root
    return replace(root, children=tuple(without(child, finished) for child in root.children))


def with_extra_leaves(root: SubGroup, names: Iterable[str]) -> SubGroup:
    """A tree of several parts with a leaf for each of these names that it lacks; such leaves need nobody."""
    known = {leaf.name for leaf in leaves(root)}
    extra = tuple(SubGroup(name, 0) for name in sorted(set(names) - known))
    if not extra:
        return root
    needed = root.minimum + len(extra)
    return replace(root, minimum=needed, children=(*root.children, *extra))


def spelt_out(group: AnnotatedGroup) -> SubGroup:
    """The tree that the annotation `aliquot.dev/subgroups` describes."""
    children = tuple(spelt_out(child) for child in group.children)
    minimum = group.minimum if group.minimum is not None else len(children)
    return SubGroup(group.name, minimum, _closeness(group.topology), children)


def _closeness(found: AnnotatedCloseness | None) -> TopologyConstraint | None:
    return None if found is None else constrained(found.required, found.preferred, found.topology)
