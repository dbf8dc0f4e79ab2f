"""What the stand-ins see: every object of the cluster, decoded once per change, with look-ups by index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from aliquot.embedded.changes import ChangeType
from aliquot.embedded.hooks import Object
from aliquot.embedded.registry import Registry
from aliquot.embedded.resources import Resource


class Key(NamedTuple):
    """One object: ``resource`` is the key of its Resource, ``namespace`` ``""`` for a cluster-scoped one."""

    resource: str
    namespace: str
    name: str


#: Called after each change with the state before (None for a new object) and after (None for a deleted one).
Handler = Callable[[Key, Object | None, Object | None], None]
#: Called after each change with the state after it (None for a deleted object).
Watcher = Callable[[Key, Object | None], None]
IndexFunction = Callable[[Object], Iterable[str]]


class _Index:
    """Objects of one resource by the values that a function finds in them."""

    def __init__(self, function: IndexFunction) -> None:
        self._function = function
        self._keys: dict[str, dict[Key, None]] = {}

    def put(self, key: Key, before: Object | None, after: Object | None) -> None:
        old = set(self._function(before)) if before is not None else set()
        new = set(self._function(after)) if after is not None else set()
        for value in old - new:
            keys = self._keys[value]
            keys.pop(key, None)
            if not keys:
                del self._keys[value]
        for value in new - old:
            self._keys.setdefault(value, {})[key] = None

    def find(self, value: str) -> list[Key]:
        return list(self._keys.get(value, ()))


class View:
    """Objects as of the last write: the registry tells of each change at once.

    Objects handed out are shared; whoever changes one takes a copy first. Indexes and handlers must be
    added before :meth:`fill`, which makes the current objects known as if each had just been created.

    Of resources that no stand-in has asked about by an index or a handler, only the metadata is kept: the
    devices of a large fleet would take many times their size on disk.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._objects: dict[str, dict[Key, Object]] = {}
        self._indexes: dict[tuple[str, str], _Index] = {}
        self._indexes_of: dict[str, list[_Index]] = {}
        self._owned: _Index = _Index(_owner_uids)
        self._handlers: dict[str, list[Handler]] = {}
        self._all: list[Handler] = []
        self._watchers: dict[str, list[Watcher]] = {}
        self._resources: dict[str, Resource] = {}
        self._observed: set[str] = set()
        self._revision = -1

    def index(self, resource: str, name: str, function: IndexFunction) -> None:
        index = self._indexes.get((resource, name))
        if index is None:
            index = self._indexes[(resource, name)] = _Index(function)
            self._indexes_of.setdefault(resource, []).append(index)

    def on(self, resource: str, handler: Handler) -> None:
        self._handlers.setdefault(resource, []).append(handler)

    def watch(self, resource: str, watcher: Watcher) -> None:
        """See the whole objects of a resource as they change, without having them kept."""
        self._watchers.setdefault(resource, []).append(watcher)

    def on_any(self, handler: Handler) -> None:
        self._all.append(handler)

    def fill(self) -> None:
        """Take in every object of every resource served; later calls follow resources added since."""
        if self._revision == self._registry.resources.revision:
            return
        self._revision = self._registry.resources.revision
        served: dict[str, Resource] = {}
        for resource in self._registry.resources:
            if not resource.stored_as:
                served.setdefault(resource.key, resource)
        new = [resource for key, resource in served.items() if key not in self._observed]
        self._resources = served
        for resource in new:
            self._observed.add(resource.key)
            self._registry.observe(resource, self._observer(resource.key))
            for stored in list(self._registry.collection(resource).items()):
                self._put(resource.key, "ADDED", self._registry.decode(resource, stored))

    def resource(self, key: str) -> Resource:
        return self._resources[key]

    def resource_keys(self) -> list[str]:
        return list(self._resources)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key.resource, {}).get(key)

    def pod(self, namespace: str, name: str) -> Object | None:
        return self.get(Key("pods", namespace, name))

    def keys(self, resource: str) -> list[Key]:
        return list(self._objects.get(resource, ()))

    def objects(self, resource: str) -> Iterator[Object]:
        return iter(list(self._objects.get(resource, {}).values()))

    def by(self, resource: str, index: str, value: str) -> list[Key]:
        """Keys of the objects for which the index function gave ``value``, oldest entry first."""
        return self._indexes[(resource, index)].find(value)

    def found(self, resource: str, index: str, value: str) -> list[Object]:
        objects = self._objects.get(resource, {})
        return [objects[key] for key in self.by(resource, index, value)]

    def owned_by(self, uid: str, resource: str | None = None) -> list[Key]:
        """Objects that name the owner ``uid``."""
        return [key for key in self._owned.find(uid) if resource is None or key.resource == resource]

    def controlled_by(self, uid: str, resource: str) -> list[Object]:
        """Objects of ``resource`` whose controlling owner is ``uid``."""
        objects = self._objects.get(resource, {})
        return [
            objects[key]
            for key in self._owned.find(uid)
            if key.resource == resource and (controller_of(objects[key]) or {}).get("uid") == uid
        ]

    def _observer(self, resource: str) -> Callable[[ChangeType, Object], None]:
        def observe(change: ChangeType, obj: Object) -> None:
            self._put(resource, change, obj)

        return observe

    def _put(self, resource: str, change: ChangeType, obj: Object) -> None:
        meta = obj["metadata"]
        key = Key(resource, meta.get("namespace") or "", meta["name"])
        for watcher in self._watchers.get(resource, ()):
            watcher(key, None if change == "DELETED" else obj)
        if resource not in self._handlers and resource not in self._indexes_of:
            obj = _outline(obj)
        objects = self._objects.setdefault(resource, {})
        before = objects.get(key)
        after: Object | None
        if change == "DELETED":
            objects.pop(key, None)
            before = obj
            after = None
        else:
            objects[key] = obj
            after = obj
        for index in self._indexes_of.get(resource, ()):
            index.put(key, before, after)
        self._owned.put(key, before, after)
        for handler in self._handlers.get(resource, ()):
            handler(key, before, after)
        for handler in self._all:
            handler(key, before, after)


def _outline(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": meta}


def _owner_uids(obj: Object) -> Iterable[str]:
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()]


def controller_of(obj: Object) -> Object | None:
    """The owner reference with ``controller: true``."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return None


def owner_reference(obj: Object) -> Object:
    """A controlling owner reference to ``obj`` that blocks its foreground deletion."""
    meta = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
