"""The rules of the search for domains, written down naively: every domain is a group of rows with equal
values, every sum is added up anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.topology.room import Need

Values = tuple[str, ...]
INFINITE = Fraction(10**9)


@dataclass(frozen=True)
class Group:
    level: int
    id: Values
    nodes: frozenset[int]


@dataclass(frozen=True)
class World:
    """values: of each node at the levels, "" for none; free: its GPUs; cpus: its CPUs. A node is a level of
    its own."""

    values: Sequence[Values]
    names: Sequence[str]
    free: Sequence[int]
    cpus: Sequence[int]
    strict: bool

    def depth(self) -> int:
        return len(self.values[0])

    def path(self, node: int) -> Values | None:
        """The node's values up to the first that is missing; None for a node that does not take part."""
        values = self.values[node]
        kept = values[: values.index("")] if "" in values else values
        return None if self.strict and len(kept) < len(values) else kept

    def everyone(self) -> frozenset[int]:
        return frozenset(node for node in range(len(self.values)) if self.path(node) is not None)

    def groups(self, level: int) -> list[Group]:
        if level == 0:
            return [Group(0, (), self.everyone())]
        found: dict[Values, set[int]] = {}
        for node in self.everyone():
            path = self.path(node)
            assert path is not None
            if level == self.depth() + 1:
                found[(*path, self.names[node])] = {node}
            elif len(path) >= level:
                found.setdefault(path[:level], set()).add(node)
        return [Group(level, key, frozenset(nodes)) for key, nodes in found.items()]

    def around(self, nodes: frozenset[int], deepest: int) -> Group:
        for level in range(deepest, 0, -1):
            for group in self.groups(level):
                if nodes and nodes <= group.nodes:
                    return group
        return Group(0, (), self.everyone())

    def ratio(self, nodes: frozenset[int], need: Need) -> Fraction:
        found = Fraction(0)
        for resource, wanted in need.total.items():
            free = self.sum(resource, nodes)
            if wanted:
                found = max(found, Fraction(wanted) / free if free else INFINITE)
        return found

    def sum(self, resource: str, nodes: frozenset[int]) -> int:
        return sum({"gpu": self.free, "cpu": self.cpus}[resource][node] for node in nodes)

    def holds(self, nodes: frozenset[int], need: Need) -> bool:
        for shape, count in need.counts:
            assert isinstance(shape, int)
            if sum(self.free[node] // shape for node in nodes) < count:
                return False
        return not need.bounding or all(
            self.sum(resource, nodes) >= amount for resource, amount in need.total.items()
        )

    def rank(self, group: Group, need: Need) -> tuple[tuple[Fraction, Values], ...]:
        """Tightness and id of every group around this one, from the top, and of itself."""
        around = {
            other
            for level in range(1, group.level + 1)
            for other in self.groups(level)
            if other.nodes >= group.nodes and other.id == group.id[: len(other.id)]
        }
        return tuple(
            (-self.ratio(other.nodes, need), other.id) for other in sorted(around, key=lambda one: one.level)
        )


def candidates(
    world: World,
    span: tuple[int, int, int | None, int | None],
    need: Need,
    within: frozenset[int],
    pinned: frozenset[int],
) -> list[tuple[Values, frozenset[int]]]:
    low, high, required, preferred = span
    usable = within & world.everyone()
    if not usable:
        return []
    deepest = world.depth() if world.strict and preferred is None else low
    top = world.around(usable, deepest)
    if top.level > low:
        return []
    # Above what all usable nodes have in common, every domain offers the same nodes again.
    high = max(high, top.level)
    found = []
    for level in range(low, high - 1, -1):
        below = {group.nodes for group in world.groups(level + 1)} if level < low else set()
        fitting = []
        for group in world.groups(level):
            if group.nodes in below:
                continue
            if pinned and required is not None:
                joined = [one for one in world.groups(required) if one.nodes & pinned]
                if not any(group.nodes <= one.nodes for one in joined):
                    continue
            nodes = group.nodes & usable
            if nodes and world.holds(group.nodes, need) and world.holds(nodes, need):
                fitting.append(group)
        fitting.sort(key=lambda group: world.rank(group, need))
        if not world.strict:
            fitting.sort(key=lambda group: not group.nodes & pinned)
        found += [(group.id, group.nodes & usable) for group in fitting]
    return found


def node_scores(
    world: World,
    span: tuple[int, int, int | None, int | None],
    need: Need,
    within: frozenset[int],
    pinned: frozenset[int],
) -> Mapping[int, int]:
    low, _, _, preferred = span
    assert preferred is not None
    top = world.around(within & world.everyone(), low)
    groups = [group for group in world.groups(preferred) if group.nodes <= top.nodes]
    groups.sort(key=lambda group: world.rank(group, need))
    if not world.strict:
        groups.sort(key=lambda group: bool(group.nodes & pinned))
    return {
        node: 10 * rank // len(groups) for rank, group in enumerate(groups, start=1) for node in group.nodes
    }
