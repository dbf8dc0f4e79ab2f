"""What is free in each domain, kept up to date as nodes fill and empty.

Per node the caller knows how many tasks of a shape it could take and how much of each resource it has left;
here are the sums over domains. A sum costs one look at every node when it is first asked for, and after that
one look at every node that changed.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.dra.pools import members
from aliquot.topology.tree import Domain, Nodes, TopologyTree

Amount = int | Fraction
"""Exact, in any unit as long as what is wanted and what is free of a resource have the same."""

Shape = Hashable
"""Tasks of one shape need the same of a node."""

_OF_ALL = ("cpu", "memory")

KEPT_ORDERS = 64
"""Orders of domains that are remembered; the one not used for longest goes first."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a (sub)group wants to have together.

    counts: how many tasks of each shape. total: what they take together, by resource; it says how tight a
    domain is. bounding: a domain must have the total free.

    A domain may hold the group if it holds the tasks of every shape, each shape taken alone, and has the
    total where that is bounding. All this is necessary, not sufficient: whether the group fits is found out
    by placing it. (A task of 3 GPUs and one of 4 pass in a domain of two nodes with 5 and 2 free, and do not
    fit.)
    """

    counts: tuple[tuple[Shape, int], ...]
    total: Mapping[str, Amount]
    bounding: bool = True

    @staticmethod
    def of(tasks: Iterable[tuple[Shape, Mapping[str, Amount]]]) -> "Need":
        """The need of these tasks, each with its shape and what it takes."""
        counts: dict[Shape, int] = {}
        total: dict[str, Amount] = {}
        for shape, takes in tasks:
            counts[shape] = counts.get(shape, 0) + 1
            for resource, amount in takes.items():
                total[resource] = total.get(resource, 0) + amount
        return Need(tuple(counts.items()), total)

    @staticmethod
    def rough(tasks: Sequence[Mapping[str, Amount]]) -> "Need":
        """The need of these tasks as KAI-Scheduler judges it, each given by what it takes.

        If all take the same kinds of resources (every task takes CPU and memory), a domain must hold as many
        tasks of the largest amounts as there are tasks; otherwise only the sums count. The shape is then the
        largest amounts as (resource, amount) pairs, sorted.
        """
        total: dict[str, Amount] = {}
        largest: dict[str, Amount] = {}
        takers: dict[str, int] = {}
        for takes in tasks:
            for resource, amount in takes.items():
                if amount > 0:
                    total[resource] = total.get(resource, 0) + amount
                    largest[resource] = max(largest.get(resource, 0), amount)
                    takers[resource] = takers.get(resource, 0) + 1
        if any(count < len(tasks) for resource, count in takers.items() if resource not in _OF_ALL):
            return Need((), total)
        return Need(((tuple(sorted(largest.items())), len(tasks)),), total, bounding=False)


class DomainSums:
    """A number of each node, summed over domains; `values` by the number of the domain."""

    __slots__ = ("_amount", "_changes", "_seen", "_tree", "by_node", "values")

    def __init__(self, tree: TopologyTree, amount: Callable[[int], Amount], changes: Sequence[int]) -> None:
        self._tree = tree
        self._amount = amount
        self._changes = changes
        self._seen = len(changes)
        self.by_node: list[Amount] = [amount(node) for node in range(len(tree.paths))]
        self.values: list[Amount] = [0] * len(tree.domains)
        for node, path in enumerate(tree.paths):
            if path:
                self.values[path[-1]] = self.by_node[node]
        # Parents come before children, so from the end every domain is complete when it is passed on.
        values = self.values
        for domain in reversed(tree.domains):
            if domain.number:
                values[domain.parent] += values[domain.number]

    def catch_up(self) -> list[Amount]:
        """The sums, after a look at the nodes that changed."""
        changes = self._changes
        if self._seen < len(changes):
            paths, values, by_node = self._tree.paths, self.values, self.by_node
            for node in set(changes[self._seen :]):
                amount = self._amount(node)
                difference = amount - by_node[node]
                if difference:
                    by_node[node] = amount
                    for number in paths[node]:
                        values[number] += difference
            self._seen = len(changes)
        return self.values

    def of(self, domain: Domain, within: Nodes | None = None) -> Amount:
        """The sum over a domain, or over those of its nodes that are in `within`."""
        values = self.catch_up()
        if within is None or not domain.nodes & ~within:
            return values[domain.number]
        by_node = self.by_node
        return sum(by_node[node] for node in members(domain.nodes & within))


class Order:
    """The domains inside each domain, the tightest first: the one of whose scarcest free resource the wanted
    amounts would take most; then by id.

    The order is the same for multiples of the amounts, so one order serves groups of any size with the same
    tasks.
    """

    __slots__ = ("_changes", "_keys", "_lists", "_numbers", "_seen", "_tree", "_wanted")

    def __init__(
        self, tree: TopologyTree, wanted: Sequence[tuple[DomainSums, Amount]], changes: Sequence[int]
    ) -> None:
        self._tree = tree
        self._wanted = [(sums, float(amount)) for sums, amount in wanted]
        self._changes = changes
        self._seen = len(changes)
        self._lists: dict[int, list[_Rank]] = {}
        self._numbers: dict[int, list[int]] = {}
        self._keys: dict[int, _Rank] = {}
        for sums, _ in self._wanted:
            sums.catch_up()

    def inside(self, outer: Iterable[int], level: int) -> list[int]:
        """The domains right inside these, by number, those of the first before those of the next; those of
        them that are of this level or a finer one themselves."""
        self._catch_up()
        domains, numbers, found = self._tree.domains, self._numbers, list[int]()
        for number in outer:
            if domains[number].level >= level:
                found.append(number)
            else:
                found += numbers.get(number) or self._sorted(number)
        return found

    def _sorted(self, domain: int) -> list[int]:
        ranks = [self._rank(child) for child in self._tree.domains[domain].children]
        ranks.sort()
        self._keys.update((rank[2], rank) for rank in ranks)
        self._lists[domain] = ranks
        found = self._numbers[domain] = [rank[2] for rank in ranks]
        return found

    def _rank(self, number: int) -> "_Rank":
        ratio = 0.0
        for sums, wanted in self._wanted:
            free = sums.values[number]
            ratio = max(ratio, wanted / float(free) if free > 0 else math.inf)
        return (-ratio, self._tree.domains[number].id, number)

    def _catch_up(self) -> None:
        changes = self._changes
        if self._seen == len(changes):
            return
        for sums, _ in self._wanted:
            sums.catch_up()
        domains, keys, lists, numbers = self._tree.domains, self._keys, self._lists, self._numbers
        touched = {
            number
            for node in set(changes[self._seen :])
            for number in self._tree.paths[node]
            if number in keys
        }
        for number in touched:
            old, new = keys[number], self._rank(number)
            if new != old:
                parent = domains[number].parent
                ranks, order = lists[parent], numbers[parent]
                place = bisect_left(ranks, old)
                del ranks[place], order[place]
                place = bisect_left(ranks, new)
                ranks.insert(place, new)
                order.insert(place, number)
                keys[number] = new
        self._seen = len(changes)


_Rank = tuple[float, tuple[str, ...], int]


class Room:
    """Free places and amounts in the domains of one tree.

    tasks: how many tasks of a shape a node could take (on what is free and what is being given back).
    free: how much of a resource a node has, free and being given back. changes: numbers of nodes in the order
    in which they changed, only ever appended to; taking a change back is a change.
    """

    def __init__(
        self,
        tree: TopologyTree,
        tasks: Callable[[Shape, int], int],
        free: Callable[[str, int], Amount],
        changes: Sequence[int],
    ) -> None:
        self.tree = tree
        self._tasks = tasks
        self._free = free
        self._changes = changes
        self._by_shape: dict[Shape, DomainSums] = {}
        self._by_resource: dict[str, DomainSums] = {}
        self._orders: dict[tuple[tuple[str, Amount], ...], Order] = {}

    def tasks(self, shape: Shape) -> DomainSums:
        """How many tasks of this shape each domain holds, none of any other."""
        found = self._by_shape.get(shape)
        if found is None:
            tasks = self._tasks
            found = DomainSums(self.tree, lambda node: tasks(shape, node), self._changes)
            self._by_shape[shape] = found
        return found

    def free(self, resource: str) -> DomainSums:
        """How much of a resource each domain has."""
        found = self._by_resource.get(resource)
        if found is None:
            free = self._free
            found = DomainSums(self.tree, lambda node: free(resource, node), self._changes)
            self._by_resource[resource] = found
        return found

    def order(self, total: Mapping[str, Amount]) -> Order:
        """The order in which domains are filled by groups that take these amounts."""
        key = _proportions(total)
        found = self._orders.pop(key, None)
        if found is None:
            found = Order(self.tree, [(self.free(name), amount) for name, amount in key], self._changes)
            while len(self._orders) >= KEPT_ORDERS:
                del self._orders[next(iter(self._orders))]
        self._orders[key] = found
        return found

    def holds(self, need: Need, domains: Iterable[int]) -> list[int]:
        """Those of the domains, in the order given, that may hold the group."""
        found = list(domains)
        for shape, count in need.counts:
            places = self.tasks(shape).catch_up()
            found = [number for number in found if places[number] >= count]
        for resource, amount in need.total.items() if need.bounding else ():
            free = self.free(resource).catch_up()
            found = [number for number in found if free[number] >= amount]
        return found

    def holds_part(self, need: Need, domain: Domain, within: Nodes) -> bool:
        """Whether the part of a domain that is in `within` may hold the group."""
        if any(self.tasks(shape).of(domain, within) < count for shape, count in need.counts):
            return False
        return not need.bounding or all(
            self.free(resource).of(domain, within) >= amount for resource, amount in need.total.items()
        )


def _proportions(total: Mapping[str, Amount]) -> tuple[tuple[str, Amount], ...]:
    """The amounts, sorted by resource and divided by what they have in common."""
    items = sorted((name, amount) for name, amount in total.items() if amount > 0)
    whole = [amount for _, amount in items if isinstance(amount, int)]
    if len(whole) < len(items):
        return tuple(items)
    divisor = math.gcd(*whole) or 1
    return tuple((name, amount // divisor) for name, amount in items)
