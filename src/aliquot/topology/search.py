"""In which domains to try a group, and in which order.

With a required level all of the group must be in one domain of it. With a preferred level the search begins
there and widens level by level: up to the required level, or to the whole cluster if nothing is required.
The lowest level goes first; within it tight domains before roomy ones, and that from the top down (the
tightest block, in it the tightest rack), so that large domains stay whole for large groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aliquot.dra.pools import members
from aliquot.topology.room import Need, Order, Room
from aliquot.topology.tree import Domain, Nodes, TopologyTree

_MANY = 4
"""A node looked at alone costs as much as so many domains among others."""

SCORES = 10
"""Nodes of the roomiest preferred domain score this much, those of tighter ones less."""


@dataclass(frozen=True, slots=True)
class Span:
    """The levels in which a group is searched for, by number: from `low`, the finest, up to `high`.

    required: the number of the required level, None if nothing is required. preferred: that of the preferred.
    """

    low: int
    high: int
    required: int | None
    preferred: int | None

    @staticmethod
    def of(tree: TopologyTree, required: str, preferred: str) -> "Span | None":
        """The span of a constraint; None if `findings.problem` has something to say, or if both are ""."""
        needed = tree.levels.number(required) if required else None
        wished = tree.levels.number(preferred) if preferred else None
        if (required and needed is None) or (preferred and wished is None):
            return None
        if needed is None:
            return None if wished is None else Span(wished, 0, None, wished)
        if wished is None:
            return Span(needed, needed, needed, None)
        if wished < needed and tree.strict:
            return None
        # What must share a rack shares its block, so a preferred level above the required adds nothing.
        return Span(max(needed, wished), needed, needed, max(needed, wished))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A domain to try, and which of its nodes may be used."""

    domain: Domain
    nodes: Nodes


def candidates(
    room: Room, span: Span, need: Need, within: Nodes | None = None, pinned: Nodes = 0
) -> Iterator[Candidate]:
    """The domains that may hold the group, in the order in which to try them.

    within: the nodes that may be used, all if None: for a subgroup those of its parent's domain. pinned:
    nodes where pods of the group run already; the others must join them in the required domain (in any of
    theirs, if they are spread over several). Where they need not join them, domains that they are in go first
    at every level, unless the tree is strict.

    Whatever was placed while a candidate was tried must be taken back before the next is asked for.
    """
    tree = room.tree
    usable = tree.root.nodes if within is None else within & tree.root.nodes
    top = _top(tree, span, usable)
    if not usable or top.level > span.low:
        return
    allowed = _joining(tree, span, pinned)
    levels = _inside(room, room.order(need.total), top, span.low, need)
    for level in range(span.low, max(span.high, top.level) - 1, -1):
        for number in _joined_first(tree, levels[level], pinned):
            domain = tree.domains[number]
            if allowed is not None and not domain.nodes & allowed:
                continue
            nodes = domain.nodes & usable
            if nodes != domain.nodes and not (nodes and room.holds_part(need, domain, nodes)):
                continue
            if level < span.low and _tried(tree, domain, level + 1):
                continue
            yield Candidate(domain, nodes)


def searched(
    tree: TopologyTree, span: Span, within: Nodes | None = None, pinned: Nodes = 0
) -> Iterator[tuple[int, tuple[tuple[Domain, Nodes], ...]]]:
    """Every level that `candidates` looks at, the finest first, with all its domains, fitting or not, and
    those of their nodes that may be used."""
    usable = tree.root.nodes if within is None else within & tree.root.nodes
    top = _top(tree, span, usable)
    allowed = _joining(tree, span, pinned)
    for level in range(span.low, max(span.high, top.level) - 1, -1):
        yield (
            level,
            tuple(
                (domain, domain.nodes & usable)
                for domain in tree.level(level)
                if domain.nodes & usable and (allowed is None or domain.nodes & allowed)
            ),
        )


class NodeScores:
    """How much each node is preferred, by the domain of the preferred level that it is in."""

    __slots__ = ("_level", "_ordered", "_ranks", "_tree")

    def __init__(self, tree: TopologyTree, level: int, ordered: Sequence[int]) -> None:
        """ordered: the domains of the level by number, the least preferred first."""
        self._tree = tree
        self._level = level
        self._ordered = ordered
        self._ranks: dict[int, int] | None = None

    def rank(self, node: int) -> int:
        """The rank of the node's domain, 1 for the least preferred, the number of domains for the most; 0 for
        a node outside the domains that were ranked."""
        if self._ranks is None:
            self._ranks = {number: rank for rank, number in enumerate(self._ordered, start=1)}
        domain = self._tree.domain_of(node, self._level)
        return 0 if domain is None else self._ranks.get(domain.number, 0)

    def of(self, node: int) -> int:
        """The rank in at most SCORES steps: the i-th of n domains scores floor(SCORES * i / n)."""
        count = len(self._ordered)
        return SCORES * self.rank(node) // count if count else 0

    def groups(self, within: Nodes | None = None) -> tuple[tuple[int, Nodes], ...]:
        """The nodes of each score, the highest first. within: none but these matter."""
        domains, ordered = self._tree.domains, self._ordered
        if within is not None and within.bit_count() * _MANY < len(ordered):
            return self._groups_of(within)
        found: list[tuple[int, Nodes]] = []
        end = len(ordered)
        for score in range(SCORES, -1, -1):
            # The first rank that scores as much, and so the place before it: of 25 domains ranks from 8 on
            # score 3 or more, for 10 * 7 < 3 * 25 <= 10 * 8.
            start = max(0, -(-score * len(ordered) // SCORES) - 1)
            if start < end:
                # Domains of one level have no node in common, so the sum is the union, and sooner had.
                found.append((score, sum([domains[number].nodes for number in ordered[start:end]])))
                end = start
        return tuple(found)

    def _groups_of(self, nodes: Nodes) -> tuple[tuple[int, Nodes], ...]:
        """The same for a few nodes, one by one."""
        found: dict[int, Nodes] = {}
        for node in members(nodes):
            if self.rank(node):
                score = self.of(node)
                found[score] = found.get(score, 0) | 1 << node
        return tuple(sorted(found.items(), reverse=True))


def node_scores(
    room: Room, span: Span, need: Need, within: Nodes | None = None, pinned: Nodes = 0
) -> NodeScores | None:
    """Which nodes to prefer while the group is placed in a candidate; None if no level is preferred.

    The roomiest domain of the preferred level is preferred most, so that the group touches as few as
    possible; before it, unless the tree is strict, come those in which pods of the group run already.
    """
    if span.preferred is None:
        return None
    tree = room.tree
    usable = tree.root.nodes if within is None else within & tree.root.nodes
    level = span.preferred
    tightest_first = _inside(room, room.order(need.total), _top(tree, span, usable), level, None)[level]
    ordered = _joined_first(tree, tightest_first[::-1], pinned)[::-1]
    return NodeScores(tree, level, ordered)


def _top(tree: TopologyTree, span: Span, usable: Nodes) -> Domain:
    """The domain to search inside: the smallest around all usable nodes, not below the levels searched.

    Strictly, only a preferred level stops the descent, so that a required level above what all usable nodes
    have in common is not searched at all.
    """
    limit = span.low if not tree.strict or span.preferred is not None else tree.levels.deepest - 1
    found = tree.around(usable)
    while found.level > limit:
        found = tree.domains[found.parent]
    return found


def _joining(tree: TopologyTree, span: Span, pinned: Nodes) -> Nodes | None:
    """The nodes of the required domains in which pods run; None if the group is free to go anywhere."""
    if not pinned or span.required is None:
        return None
    allowed: Nodes = 0
    left = pinned
    while left:
        first = (left & -left).bit_length() - 1
        domain = tree.domain_of(first, span.required)
        allowed |= 0 if domain is None else domain.nodes
        left &= ~(1 << first if domain is None else domain.nodes)
    return allowed


def _inside(room: Room, order: Order, top: Domain, low: int, need: Need | None) -> dict[int, list[int]]:
    """The domains of each level down to `low` inside another, the tightest first at every level on the way
    down; with a need only those that may hold it."""
    domains = room.tree.domains
    found = [top.number] if need is None else room.holds(need, [top.number])
    levels = {top.level: found}
    for level in range(top.level + 1, low + 1):
        found = order.inside(found, level)
        if need is not None:
            found = room.holds(need, found)
        levels[level] = [number for number in found if domains[number].level == level]
    return levels


def _joined_first(tree: TopologyTree, found: list[int], pinned: Nodes) -> list[int]:
    """The domains with pods of the group before the others, each in the order given."""
    if not pinned or tree.strict:
        return found
    return sorted(found, key=lambda number: not tree.domains[number].nodes & pinned)


def _tried(tree: TopologyTree, domain: Domain, level: int) -> bool:
    """Whether one domain of the level below has all the nodes, so that this one was tried as that."""
    if len(domain.children) != 1:
        return False
    return tree.domains[domain.children[0]].level == level
