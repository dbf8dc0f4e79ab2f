"""Accelerators that are idle, node by node and counted over all nodes, kept up to date as nodes change."""

from collections.abc import Callable, Sequence


class IdleAccelerators:
    """by_node: how many of each node, with what is left of shared ones. nodes: on how many nodes it is how
    many. some: the nodes on which there are any, as a set of bits.

    All is as it was at the last `catch_up`.
    """

    __slots__ = ("_changes", "_free", "_seen", "by_node", "nodes", "some")

    def __init__(self, free: Callable[[int], float], changes: Sequence[int], count: int) -> None:
        """free: how many of a node. changes: numbers of nodes in the order in which they changed, only ever
        appended to. count: of nodes."""
        self._free = free
        self._changes = changes
        self._seen = -1
        self.by_node = [0.0] * count
        self.nodes: dict[float, int] = {0.0: count} if count else {}
        self.some = 0

    def catch_up(self) -> "IdleAccelerators":
        """Look at the nodes that changed."""
        changes, seen = self._changes, self._seen
        if seen == len(changes):
            return self
        numbers = range(len(self.by_node)) if seen < 0 else set(changes[seen:])
        self._seen = len(changes)
        by_node, nodes, free = self.by_node, self.nodes, self._free
        for number in numbers:
            before, after = by_node[number], free(number)
            if before == after:
                continue
            by_node[number] = after
            nodes[after] = nodes.get(after, 0) + 1
            nodes[before] -= 1
            if not nodes[before]:
                del nodes[before]
            if (after > 0) != (before > 0):
                self.some ^= 1 << number
        return self

    def total(self) -> float:
        """How many there are in all."""
        return sum(amount * count for amount, count in self.nodes.items())

    def most(self) -> float:
        """The most of any node."""
        return max(self.nodes, default=0.0)
