"""Orders in which nodes are tried for pods of one shape, kept up to date as nodes fill and empty."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence

Score = Callable[[int], float | None]
"""The merit of a node, by number, for pods of the shape; None if it has no room for them, now or later."""

_Key = tuple[float, int]


class Ranking:
    """The nodes with room for pods of one shape, those of the highest score first, then by number.

    Nodes that changed are looked at again when the order is next asked for. A node whose devices turned out
    not to do is struck off until it changes.
    """

    def __init__(self, score: Score, numbers: Iterable[int], changes: list[int]) -> None:
        self._score = score
        self._changes = changes
        self._seen = len(changes)
        self._keys: dict[int, _Key | None] = {}
        for number in numbers:
            found = score(number)
            self._keys[number] = None if found is None else (-found, number)
        self._order: list[_Key] = sorted(key for key in self._keys.values() if key is not None)

    def numbers(self, bands: Sequence[int] | None = None) -> Iterator[int]:
        """Node numbers, the best first; what is placed while iterating does not change the order given.

        bands: sets of nodes to which the choice is confined, those of the first band before all of the next.
        """
        self._catch_up()
        if bands is None:
            for _, number in self._order.copy():
                yield number
            return
        for band in bands:
            if band.bit_count() * 4 < len(self._order):
                yield from self._few(band)
            else:
                for _, number in self._order.copy():
                    if band >> number & 1:
                        yield number

    @property
    def empty(self) -> bool:
        """Whether no node has room."""
        self._catch_up()
        return not self._order

    def strike(self, number: int) -> None:
        """Leave the node out until it changes."""
        key = self._keys.get(number)
        if key is not None:
            self._keys[number] = None
            del self._order[bisect_left(self._order, key)]

    def _few(self, band: int) -> Iterator[int]:
        found: list[_Key] = []
        while band:
            low = band & -band
            key = self._keys.get(low.bit_length() - 1)
            if key is not None:
                found.append(key)
            band ^= low
        found.sort()
        for _, number in found:
            yield number

    def _catch_up(self) -> None:
        changes, seen = self._changes, self._seen
        if seen == len(changes):
            return
        keys, order, score = self._keys, self._order, self._score
        changed = changes[seen:] if len(changes) - seen < 4 else set(changes[seen:])
        for number in changed:
            if number not in keys:
                continue
            old = keys[number]
            found = score(number)
            new = None if found is None else (-found, number)
            if new == old:
                continue
            if old is not None:
                del order[bisect_left(order, old)]
            if new is not None:
                insort(order, new)
            keys[number] = new
        self._seen = len(changes)
