"""Orders in which nodes are tried for pods of one shape, kept up to date as nodes fill."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator

RankKey = tuple[float, ...]
"""The node with the smallest key is tried first; its last part is the node's number, so no two are equal."""


class Ranking:
    """Nodes in order of a key. Nodes that changed are ranked anew when the order is next asked for.

    A node where the shape was found not to fit is dropped: nothing is given back within a decision, except
    by undoing, and whoever undoes restores what was dropped since.
    """

    def __init__(self, key: Callable[[int], RankKey], numbers: Iterable[int], changes: list[int]) -> None:
        self._key = key
        self._changes = changes
        self._seen = len(changes)
        self._keys: dict[int, RankKey] = {number: key(number) for number in numbers}
        self._order: list[RankKey] = sorted(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def numbers(self) -> Iterator[int]:
        """Node numbers, the best first; what is placed while iterating does not change the order given."""
        self._catch_up()
        for key in self._order.copy():
            yield int(key[-1])

    def drop(self, number: int) -> None:
        key = self._keys.pop(number, None)
        if key is not None:
            del self._order[bisect_left(self._order, key)]

    def restore(self, number: int) -> None:
        if number not in self._keys:
            key = self._keys[number] = self._key(number)
            insort(self._order, key)

    def _catch_up(self) -> None:
        changes = self._changes
        if self._seen == len(changes):
            return
        keys, order = self._keys, self._order
        for number in set(changes[self._seen :]):
            old = keys.get(number)
            if old is None:
                continue
            new = self._key(number)
            if new != old:
                del order[bisect_left(order, old)]
                insort(order, new)
                keys[number] = new
        self._seen = len(changes)
