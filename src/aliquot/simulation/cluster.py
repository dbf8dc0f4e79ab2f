"""The cluster of a simulation: its objects, and a Snapshot of them whenever one is asked for.

An object that does not change is the same Python object in one snapshot and the next, and so is the tuple of
a kind of which nothing changed: `decide` remembers what it derived from them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from msgspec.structs import replace

from aliquot.model.core import Node, Pod
from aliquot.model.index import Key
from aliquot.model.meta import KubernetesObject
from aliquot.model.queue import Queue
from aliquot.model.resource import ResourceClaim, ResourceSlice
from aliquot.model.snapshot import Snapshot

T = TypeVar("T", bound=KubernetesObject)

MANY = 8
"""When more than one object in so many changed, sorting all anew costs less."""


class Shelf(Generic[T]):
    """Objects of one kind by key. A change costs nothing at once; the tuple after some changes costs a search
    for each of them, and a copy."""

    __slots__ = ("_changed", "_items", "_keys", "_list", "_tuple")

    def __init__(self, items: Iterable[T]) -> None:
        self._items: dict[Key, T] = {item.key: item for item in items}
        self._keys: list[Key] = sorted(self._items)
        self._list: list[T] = [self._items[key] for key in self._keys]
        self._changed: set[Key] = set()
        self._tuple: tuple[T, ...] | None = None

    def get(self, key: Key) -> T | None:
        return self._items.get(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.sorted())

    def put(self, item: T) -> None:
        """Add an object, or put it in place of the one with its key."""
        key = item.key
        self._items[key] = item
        self._changed.add(key)

    def remove(self, key: Key) -> T | None:
        """Take an object away; None if it is not there."""
        found = self._items.pop(key, None)
        if found is not None:
            self._changed.add(key)
        return found

    def sorted(self) -> tuple[T, ...]:
        """All objects by key; the same tuple as before where nothing changed."""
        if self._changed:
            self._catch_up()
            self._tuple = None
        if self._tuple is None:
            self._tuple = tuple(self._list)
        return self._tuple

    def _catch_up(self) -> None:
        items, keys, ordered = self._items, self._keys, self._list
        if len(self._changed) * MANY > len(keys):
            self._keys = sorted(items)
            self._list = [items[key] for key in self._keys]
            self._changed = set()
            return
        for key in self._changed:
            place = bisect_left(keys, key)
            known = place < len(keys) and keys[place] == key
            item = items.get(key)
            if item is not None and known:
                ordered[place] = item
            elif item is not None:
                keys.insert(place, key)
                ordered.insert(place, item)
            elif known:
                del keys[place], ordered[place]
        self._changed.clear()


class Cluster:
    """What is there. The kinds that a simulation changes have shelves; everything else stays as it was."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.pods: Shelf[Pod] = Shelf(snapshot.pods)
        self.claims: Shelf[ResourceClaim] = Shelf(snapshot.resource_claims)
        self.nodes: Shelf[Node] = Shelf(snapshot.nodes)
        self.slices: Shelf[ResourceSlice] = Shelf(snapshot.resource_slices)
        self.queues: Shelf[Queue] = Shelf(snapshot.queues)
        self._rest = snapshot

    def snapshot(self) -> Snapshot:
        """The cluster as it stands."""
        return replace(
            self._rest,
            pods=self.pods.sorted(),
            resource_claims=self.claims.sorted(),
            nodes=self.nodes.sorted(),
            resource_slices=self.slices.sorted(),
            queues=self.queues.sorted(),
        )
