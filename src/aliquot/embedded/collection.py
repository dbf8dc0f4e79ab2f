"""The objects of one resource in memory, in the order in which lists return them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from aliquot.embedded.changes import Stored

Key = tuple[str, str]


class Collection:
    """Objects by (namespace, name), iterated in that order as a list request returns them."""

    def __init__(self) -> None:
        self._objects: dict[Key, Stored] = {}
        self._keys: list[Key] = []

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> Stored | None:
        return self._objects.get((namespace, name))

    def put(self, stored: Stored) -> None:
        key = (stored.namespace, stored.name)
        if key not in self._objects:
            insort(self._keys, key)
        self._objects[key] = stored

    def remove(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def items(self, namespace: str | None = None, after: Key | None = None) -> Iterator[Stored]:
        """The objects of a namespace (None: of all), those behind the key ``after`` only.

        Not while it changes.
        """
        start, end = 0, len(self._keys)
        if namespace is not None:
            start = bisect_left(self._keys, (namespace, ""))
            end = bisect_left(self._keys, (namespace + "\0", ""))
        if after is not None:
            start = max(start, bisect_left(self._keys, (after[0], after[1] + "\0")))
        objects = self._objects
        return (objects[key] for key in self._keys[start:end])
