"""The cluster of a simulation: its objects, and a Snapshot of them whenever one is asked for.

An object that does not change is the same Python object in one snapshot and the next, and so is the tuple of
a kind of which nothing changed: `decide` remembers what it derived from them.
"""

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


class Shelf(Generic[T]):
    """Objects of one kind by key. A change costs nothing; the tuple after changes costs its length once."""

    __slots__ = ("_fresh", "_items", "_keys", "_new", "_tuple", "_unsorted")

    def __init__(self, items: Iterable[T]) -> None:
        self._items: dict[Key, T] = {item.key: item for item in items}
        self._keys: list[Key] = sorted(self._items)
        self._new: list[Key] = []
        self._unsorted = False
        self._fresh = False
        self._tuple: tuple[T, ...] = ()

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
        if key not in self._items:
            self._new.append(key)
        self._items[key] = item
        self._fresh = False

    def remove(self, key: Key) -> T | None:
        """Take an object away; None if it is not there."""
        found = self._items.pop(key, None)
        if found is not None:
            self._fresh = False
            self._unsorted = True
        return found

    def sorted(self) -> tuple[T, ...]:
        """All objects by key; the same tuple as before where nothing changed."""
        if self._fresh:
            return self._tuple
        items = self._items
        if self._unsorted:
            self._keys = [key for key in self._keys if key in items]
        if self._new:
            kept = set(self._keys) if self._unsorted else ()
            self._keys += sorted({key for key in self._new if key in items and key not in kept})
            # Two sorted runs, which the sort merges.
            self._keys.sort()
        self._new, self._unsorted, self._fresh = [], False, True
        self._tuple = tuple([items[key] for key in self._keys])
        return self._tuple


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
