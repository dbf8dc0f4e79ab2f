"""Whose work is next, and whose work goes first when room is made: level by level down the tree.

At each level the queue goes first whose sort key (`aliquot.queues.criteria`) is smallest, judged by the best
work below it. Only what changed is looked at again: queues whose work or whose amounts in the ledger changed,
and those above them.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.criteria import Key, Standing, Work
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import TOP

T = TypeVar("T")

_Entry = tuple[Any, int, T, Work, bool]
"""Sort key, place in the order of entering, item, what it wants, and whether a feed gave it."""

_SLACK = 64
"""How many outdated entries a heap may keep besides one per queue before it is cleared of them."""


class _Order(Generic[T]):
    """A heap of work per queue and a heap of queues per level.

    Places in the tree: a queue's number, and for work right in a queue that has queues below it, that number
    plus the number of queues, as if there were one more queue below. A heap of queues may hold outdated
    entries; an entry counts if it holds the very key that is in `_keys`.
    """

    def __init__(
        self,
        shares: FairShares,
        ledger: Ledger,
        order: Sequence[str] | None,
        standing: Standing | None,
        *,
        reverse: bool,
    ) -> None:
        tree = shares.tree
        self._tree = tree
        self._standing = Standing(shares, ledger, order, reverse=reverse) if standing is None else standing
        self._leaves_only = shares.rules.leaves_only
        self._size = size = len(tree.names)
        self._parents = [*tree.parents, *range(size)]
        self._keys: list[Key | None] = [None] * (2 * size)
        self._best: list[Work | None] = [None] * (2 * size)
        self._items: dict[int, list[_Entry[T]]] = {}
        self._feeds: dict[int, Iterator[tuple[Any, T, Charge]]] = {}
        self._heaps: dict[int, list[tuple[Key, int]]] = {
            number: [] for number, below in tree.below.items() if below or number == TOP
        }
        self._entered = 0
        self._ledger = ledger
        self._changed = ledger.watch()
        self._dirty: set[int] = set()

    def push(self, queue: str, item: T, charge: Charge, sort_key: Any) -> bool:
        """Put work in its queue: what it wants (or, of a victim, holds), and its place among the work of the
        queue; smaller keys first, of equal ones what was put in first. False, and nothing is put in, if work
        cannot be in that queue."""
        place = self._place(queue)
        if place is None:
            return False
        self._enter(place, item, charge, sort_key, fed=False)
        self._dirty.add(place)
        return True

    def feed(self, queue: str, work: Iterable[tuple[Any, T, Charge]]) -> bool:
        """Put work in its queue that is sorted already: sort key, item and charge, smaller keys first.

        It is read one by one as it is needed, so this costs next to nothing however much there is. One feed
        per queue; it may be used together with `push`.
        """
        place = self._place(queue)
        if place is None:
            return False
        self._feeds[place] = iter(work)
        self._draw(place)
        return True

    def peek(self) -> T | None:
        """The next work, left where it is; None when there is none."""
        place = self._next()
        return None if place is None else self._items[place][0][2]

    def pop(self) -> T | None:
        """The next work, taken out; None when there is none."""
        place = self._next()
        if place is None:
            return None
        _, _, item, work, fed = heappop(self._items[place])
        if fed:
            self._draw(place)
        self._dirty.add(place)
        self._popped(place, work)
        return item

    def drop(self, queue: str) -> None:
        """Take all work out of a queue."""
        place = self._place(queue)
        if place is not None:
            self._items.pop(place, None)
            self._feeds.pop(place, None)
            self._dirty.add(place)

    def close(self) -> None:
        """Stop following the ledger. An order that is done with and not closed costs the ledger time."""
        self._ledger.unwatch(self._changed)

    def _place(self, queue: str) -> int | None:
        number = self._tree.numbers.get(queue)
        if number is None or number not in self._heaps:
            return number
        return None if self._leaves_only else number + self._size

    def _enter(self, place: int, item: T, charge: Charge, sort_key: Any, *, fed: bool) -> None:
        self._entered += 1
        entry = (sort_key, self._entered, item, self._standing.work(charge), fed)
        heappush(self._items.setdefault(place, []), entry)

    def _draw(self, place: int) -> None:
        """Read the next work of a feed."""
        for sort_key, item, charge in self._feeds[place]:
            self._enter(place, item, charge, sort_key, fed=True)
            break
        self._dirty.add(place)

    def _popped(self, place: int, work: Work) -> None:
        raise NotImplementedError

    def _weighed(self, place: int, work: Work) -> Work:
        raise NotImplementedError

    def _next(self) -> int | None:
        amounts_changed = bool(self._changed)
        if amounts_changed:
            self._dirty.update(self._changed)
            self._changed.clear()
        if self._dirty:
            self._settle(amounts_changed)
        place = TOP
        while (heap := self._heaps.get(place)) is not None:
            top = self._top(heap)
            if top is None:
                return None
            place = top
        return place

    def _top(self, heap: list[tuple[Key, int]]) -> int | None:
        """The first queue of a level, outdated entries thrown away."""
        keys = self._keys
        while heap:
            key, place = heap[0]
            if keys[place] is key:
                return place
            heappop(heap)
        return None

    def _settle(self, amounts_changed: bool) -> None:
        """Sort anew what changed and what is above it, from below: numbers grow downwards. amounts_changed:
        whether anybody holds another amount than before."""
        if len(self._dirty) == 1:
            self._climb(self._dirty.pop(), amounts_changed)
            return
        affected: set[int] = set()
        for place in self._dirty:
            while place != TOP and place not in affected:
                affected.add(place)
                if place + self._size in self._items:
                    affected.add(place + self._size)
                place = self._parents[place]
        self._dirty.clear()
        for place in sorted(affected, reverse=True):
            self._sort(place, self._best_of(place))

    def _climb(self, place: int, amounts_changed: bool) -> None:
        """Sort anew one place and those above it, as far as it matters."""
        while place != TOP:
            own = place + self._size
            if own in self._items:
                self._sort(own, self._best_of(own))
            best = self._best_of(place)
            if not amounts_changed and best is not None and best == self._best[place]:
                # Work that wants the same is as urgent, for whoever is above it, too.
                return
            self._sort(place, best)
            place = self._parents[place]

    def _best_of(self, place: int) -> Work | None:
        """The next work below a place, None if there is none."""
        heap = self._heaps.get(place)
        if heap is not None:
            top = self._top(heap)
            return None if top is None else self._best[top]
        items = self._items.get(place)
        return self._weighed(place, items[0][3]) if items else None

    def _sort(self, place: int, best: Work | None) -> None:
        """Give a place its sort key among its siblings."""
        keys, above = self._keys, self._parents[place]
        self._best[place] = best
        if best is None:
            keys[place] = None
            return
        key = self._standing.key(place if place < self._size else above, best)
        if key == keys[place]:
            return
        keys[place] = key
        heap = self._heaps[above]
        heappush(heap, (key, place))
        if len(heap) > 2 * len(self._tree.below[above]) + _SLACK:
            heap[:] = [entry for entry in heap if keys[entry[1]] is entry[0]]
            heapify(heap)


class WorkOrder(_Order[T]):
    """Waiting work in the order in which queues are to be served.

    Pushing costs the logarithm of the work in the queue; popping a sort key per level and the logarithm of
    the queues of each.
    """

    def __init__(
        self,
        shares: FairShares,
        ledger: Ledger,
        order: Sequence[str] | None = None,
        standing: Standing | None = None,
    ) -> None:
        """order: the criteria; those of the rules if None. standing: made before of the same shares and
        ledger, instead of `order`; it can serve many. Raises ValueError for a criterion that does
        not exist."""
        super().__init__(shares, ledger, order, standing, reverse=False)

    def _popped(self, place: int, work: Work) -> None:
        pass

    def _weighed(self, place: int, work: Work) -> Work:
        return work


class VictimOrder(_Order[T]):
    """Running work in the order in which it is given up: queues in reverse order, the most over first.

    What was popped of a queue counts as gone from it when its next work is weighed, whether or not the ledger
    says so; above it, only what was popped of the queue itself is subtracted, as the reference does. The sort
    key says which work of a queue goes first: give up the least important with the smallest key.
    """

    def __init__(
        self,
        shares: FairShares,
        ledger: Ledger,
        order: Sequence[str] | None = None,
        standing: Standing | None = None,
    ) -> None:
        """order: the criteria; those of the rules if None. standing: made before of the same shares and
        ledger, with reverse, instead of `order`; it can serve many. Raises ValueError for a criterion that
        does not exist."""
        super().__init__(shares, ledger, order, standing, reverse=True)
        self._taken: dict[int, list[Amount]] = {}

    def _popped(self, place: int, work: Work) -> None:
        taken = self._taken.setdefault(place, [0] * len(work))
        for index, amount in enumerate(work):
            taken[index] += amount

    def _weighed(self, place: int, work: Work) -> Work:
        taken = self._taken.get(place)
        if taken is None:
            return tuple([-amount for amount in work])
        return tuple([-amount - gone for amount, gone in zip(work, taken)])
