"""The mirrored objects of one kind, newest version of each, in the order in which a Snapshot holds them."""

import bisect
from collections.abc import Iterable
from typing import Generic, TypeVar

from aliquot.model.meta import KubernetesObject

T = TypeVar("T", bound=KubernetesObject)
Key = tuple[str, str]

REMEMBERED_DELETIONS = 20_000


def version_number(resource_version: str) -> int:
    """A resourceVersion as a number; 0 for one that is none.

    Versions of one resource can be compared as integers (KEP-5504; before it, so for every server backed by
    etcd).
    """
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else 0


class Collection(Generic[T]):
    """Objects by key. Every method that changes something tells whether it did.

    What is older than what is known is passed over: an answer to a write may arrive before the watch events
    that lead up to it, and a watch that is taken up again repeats some.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._keys: list[Key] = []
        self._gone: dict[Key, int] = {}
        self._tuple: tuple[T, ...] | None = ()
        self.newest = 0

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> T | None:
        return self._objects.get(key)

    def all(self) -> tuple[T, ...]:
        """The objects sorted by key; the same tuple as long as nothing changes."""
        if self._tuple is None:
            objects = self._objects
            self._tuple = tuple([objects[key] for key in self._keys])
        return self._tuple

    def put(self, item: T) -> bool:
        """This object exists in this version."""
        key = item.key
        version = version_number(item.metadata.resource_version)
        known = self._objects.get(key)
        if known is not None:
            if version <= version_number(known.metadata.resource_version):
                return False
        elif version <= self._gone.get(key, -1):
            return False
        else:
            bisect.insort(self._keys, key)
        self.newest = max(self.newest, version)
        self._gone.pop(key, None)
        self._objects[key] = item
        self._tuple = None
        return True

    def remove(self, key: Key, version: int) -> bool:
        """The object was deleted at this version."""
        self.newest = max(self.newest, version)
        known = self._objects.get(key)
        if known is not None and version < version_number(known.metadata.resource_version):
            return False
        self._bury(key, version)
        if known is None:
            return False
        self._drop(key)
        return True

    def vanished(self, key: Key, uid: str) -> bool:
        """A request found that the object with this uid is no more; when is not known."""
        known = self._objects.get(key)
        if known is None or known.metadata.uid != uid:
            return False
        self._drop(key)
        self._bury(key, version_number(known.metadata.resource_version))
        return True

    def replace(self, items: Iterable[T], version: int, *, restored: bool = False) -> bool:
        """These are all objects as of this version.

        restored: the server has gone back in time (its storage was restored from a backup); what is known
        counts for nothing.
        """
        if restored:
            changed = bool(self._objects)
            self.clear()
        else:
            changed = False
        listed: set[Key] = set()
        for item in items:
            listed.add(item.key)
            changed = self.put(item) or changed
        for key in [key for key in self._keys if key not in listed]:
            # An object made after the list was taken is newer than the list.
            if version_number(self._objects[key].metadata.resource_version) <= version:
                self._drop(key)
                changed = True
                self._bury(key, version)
        self.newest = max(self.newest, version)
        return changed

    def clear(self) -> None:
        self._objects.clear()
        self._keys.clear()
        self._gone.clear()
        self._tuple = ()
        self.newest = 0

    def _drop(self, key: Key) -> None:
        del self._objects[key]
        del self._keys[bisect.bisect_left(self._keys, key)]
        self._tuple = None

    def _bury(self, key: Key, version: int) -> None:
        """Remember a deletion, so that late news of an older version does not bring the object back.

        Such news is an answer to a write, so no older than a request may last; the newest deletions suffice.
        """
        self._gone[key] = max(version, self._gone.pop(key, version))
        if len(self._gone) > REMEMBERED_DELETIONS:
            del self._gone[next(iter(self._gone))]
