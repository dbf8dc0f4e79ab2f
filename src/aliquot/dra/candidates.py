"""Which nodes could serve claims at all, and which of them to try first.

For every demand asked about, the free devices of each node are counted once and again when something on the
node is taken or given back. That more than the wanted number is free is necessary, not sufficient: the
allocator decides. Sets of nodes are integers with one bit per node number.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from aliquot.dra.demand import Demand
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.requests import Alternative, blueprint
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim

Nodes: TypeAlias = int
"""A set of nodes: bit i stands for node number i."""


class Count:
    """The free devices that match one demand, on every node.

    by_node: free devices of the node's own pools. having: for each number of devices the nodes that have
    exactly so many. shares: some of the devices can serve several requests.
    """

    __slots__ = ("by_node", "demand", "having", "seen", "shares")

    def __init__(self, demand: Demand) -> None:
        """Nothing is counted yet."""
        self.demand = demand
        self.seen = 0
        self.shares = demand.admin
        self.by_node: list[int] = []
        self.having: dict[int, Nodes] = {}

    @staticmethod
    def of(demand: Demand, index: "NodeIndex") -> "Count":
        """The devices that are free now."""
        found = Count(demand)
        found._take(index)
        return found

    def _take(self, index: "NodeIndex") -> None:
        demand = self.demand
        self.seen = len(index.usage.changes)
        bits: dict[int, bytearray] = {}
        for number, node in enumerate(index.nodes):
            count = index.count(demand, node.metadata.name)
            self.by_node.append(count)
            marks = bits.get(count)
            if marks is None:
                marks = bits[count] = bytearray(len(index.nodes) // 8 + 1)
            marks[number >> 3] |= 1 << (number & 7)
        for count, marks in bits.items():
            self.having[count] = int.from_bytes(marks, "little")
        for pool in index.fleet.pools.values():
            if pool.shareable and demand.eligible(pool).eligible & pool.shareable:
                self.shares = True
                break

    def copy(self) -> "Count":
        """A count that can go its own way, for a usage without changes."""
        twin = Count(self.demand)
        twin.shares = self.shares
        twin.by_node, twin.having = self.by_node.copy(), self.having.copy()
        return twin

    def recount(self, number: int, count: int) -> None:
        before = self.by_node[number]
        if before == count:
            return
        bit = 1 << number
        self.by_node[number] = count
        left = self.having[before] ^ bit
        if left:
            self.having[before] = left
        else:
            del self.having[before]
        self.having[count] = self.having.get(count, 0) | bit

    def at_least(self, count: int) -> Nodes:
        found = 0
        for number, nodes in self.having.items():
            if number >= count:
                found |= nodes
        return found


class NodeIndex:
    """Counts of free devices on a fixed list of nodes, kept up to date with a usage.

    Node number i is `nodes[i]`.
    """

    def __init__(self, fleet: Fleet, usage: Usage, nodes: Sequence[Node]) -> None:
        self.fleet = fleet
        self.usage = usage
        self.nodes = tuple(nodes)
        self.everything: Nodes = (1 << len(self.nodes)) - 1
        self._numbers = {node.metadata.name: number for number, node in enumerate(self.nodes)}
        self._counts: dict[Demand, Count] = {}
        self._reached = self._network() if fleet.network else {}

    @staticmethod
    def of(
        fleet: Fleet, usage: Usage, nodes: Sequence[Node], previous: "NodeIndex | None" = None
    ) -> "NodeIndex":
        """The index of these nodes. previous: an earlier one, whose counts are kept where nothing changed."""
        index = NodeIndex(fleet, usage, nodes)
        if (
            previous is not None
            and previous.fleet.demands is fleet.demands
            and [node.metadata.name for node in previous.nodes] == [node.metadata.name for node in nodes]
        ):
            changed = usage.differing(previous.usage)
            names = {name for pool in changed for name in pool.local}
            numbers = sorted(index._numbers[name] for name in names if name in index._numbers)
            current = set(fleet.demands.values())
            for demand, count in previous._counts.items():
                if demand not in current:
                    continue
                kept = index._counts[demand] = count.copy()
                kept.seen = len(usage.changes)
                for number in numbers:
                    kept.recount(number, index.count(demand, index.nodes[number].metadata.name))
                kept.shares |= any(
                    pool.shareable & demand.eligible(pool).eligible
                    for pool in changed
                    if fleet.pools.get(pool.key) is pool
                )
        return index

    def number(self, node_name: str) -> int | None:
        """The number of a node; None for one that is not among them."""
        return self._numbers.get(node_name)

    def _network(self) -> "dict[tuple[tuple[Pool, Devices], ...], Nodes]":
        """The nodes by what they see of devices that are not tied to one node."""
        reached: dict[tuple[tuple[Pool, Devices], ...], Nodes] = {}
        for number, node in enumerate(self.nodes):
            shared = tuple(
                (pool, devices & ~pool.local.get(node.metadata.name, 0))
                for pool, devices in self.fleet.reach(node)
                if pool.ubiquitous or pool.selected
            )
            if shared:
                reached[shared] = reached.get(shared, 0) | 1 << number
        return reached

    def count(self, demand: Demand, node_name: str) -> int:
        """Free devices of a node's own pools."""
        count = 0
        for pool in self.fleet.local_pools(node_name):
            devices = pool.local[node_name]
            if devices and not pool.problem:
                count += (demand.free(pool, self.usage.of_pool(pool)) & devices).bit_count()
        return count

    def free(self, demand: Demand) -> Count:
        """The count of a demand, up to date."""
        count = self._counts.get(demand)
        changes = self.usage.changes
        if count is None:
            count = self._counts[demand] = Count.of(demand, self)
        elif count.seen < len(changes):
            for name in {name for change in changes[count.seen :] for name in _touched(*change)}:
                number = self._numbers.get(name)
                if number is not None:
                    count.recount(number, self.count(demand, name))
            count.seen = len(changes)
        return count

    def possible(self, claims: Sequence[ResourceClaim], among: Nodes | None = None) -> Nodes:
        """Those of the nodes on which each request finds enough free devices, taken by itself.

        Claims that are not valid are possible everywhere: the allocator says what is wrong with them.
        """
        found = self.everything if among is None else among
        wanted: dict[Demand, int] = {}
        for alternatives in self._requests(claims):
            if len(alternatives) == 1:
                (only,) = alternatives
                least = 1 if only.count is None else only.count
                if self.free(only.demand).shares:
                    wanted[only.demand] = max(least, wanted.get(only.demand, 0))
                else:
                    wanted[only.demand] = least + wanted.get(only.demand, 0)
            else:
                any_of = 0
                for each in alternatives:
                    any_of |= self._having(each.demand, 1 if each.count is None else each.count)
                found &= any_of
        for demand, least in wanted.items():
            found &= self._having(demand, least)
        return found

    def candidates(self, claims: Sequence[ResourceClaim], among: Nodes | None = None) -> Iterator[int]:
        """Numbers of the possible nodes, those with the fewest devices to spare first."""
        found = self.possible(claims, among)
        if not found:
            return
        leading = max(
            (each for alternatives in self._requests(claims) for each in alternatives),
            key=lambda each: each.count or 0,
            default=None,
        )
        if leading is not None:
            having = self.free(leading.demand).having
            for count in sorted(having):
                nodes = found & having[count]
                found &= ~nodes
                yield from members(nodes)
        yield from members(found)

    def _requests(self, claims: Sequence[ResourceClaim]) -> Iterator[tuple[Alternative, ...]]:
        for claim in claims:
            ready = blueprint(self.fleet, claim)
            if ready.problem is None:
                for request in ready.requests:
                    if all(each.demand.matcher.fault is None for each in request.alternatives):
                        yield request.alternatives

    def _having(self, demand: Demand, least: int) -> Nodes:
        """The nodes with at least so many free devices, their own and those of the network."""
        if least <= 0:
            return self.everything
        count = self.free(demand)
        found = count.at_least(least)
        for shared, nodes in self._reached.items():
            extra = sum(
                (demand.free(pool, self.usage.of_pool(pool)) & devices).bit_count()
                for pool, devices in shared
                if not pool.problem
            )
            if extra:
                found |= nodes & count.at_least(least - extra)
        return found


def _touched(pool: Pool, index: int) -> Sequence[str]:
    """The nodes whose counts a change of one device may alter."""
    if len(pool.local) == 1 or pool.drawing:
        return tuple(pool.local)
    home = pool.home(index)
    return () if home is None else (home,)
