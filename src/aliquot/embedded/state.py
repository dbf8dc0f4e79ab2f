"""The objects in memory and in the store, their history, and who watches them.

:class:`State` knows nothing of the rules of the API; :mod:`aliquot.embedded.registry` adds these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from aliquot.embedded import versions
from aliquot.embedded.changes import Change, ChangeLog, ChangeType, Stored
from aliquot.embedded.collection import Collection
from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource, ResourceTable
from aliquot.embedded.selectors import (
    field_paths,
    field_value,
    parse_field_selector,
    parse_label_selector,
)
from aliquot.embedded.status import StatusError, not_found
from aliquot.embedded.storage import Row, Store
from aliquot.embedded.watching import Filter

Observer = Callable[[ChangeType, Object], None]

#: Bytes that one object may have; patches could grow one without end otherwise.
MAX_DOCUMENT = 3 * 1024 * 1024

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class State:
    """Every object by resource, namespace and name; each write is in the store when it returns."""

    def __init__(self, store: Store, clock: Callable[[], datetime], uid: Callable[[], str]) -> None:
        self.store = store
        self.clock = clock
        self.uid = uid
        self.resources = ResourceTable()
        self._collections: dict[str, Collection] = {}
        self._logs: dict[str, ChangeLog] = {}
        self._observers: dict[str, list[Observer]] = {}
        self._loaded_version = store.version
        self._closed = False
        self._paths: dict[str, frozenset[str]] = {}
        for row in store.rows():
            self._collection(row.resource).put(self._stored(row))

    def stored(self, resource: Resource, namespace: str | None, name: str) -> Stored:
        """The object as it is kept. Raises StatusError 404."""
        found = self.collection(resource).get(namespace or "" if resource.namespaced else "", name)
        if found is None:
            raise not_found(resource.plural, resource.group, name)
        return found

    @contextlib.contextmanager
    def bulk(self) -> Iterator[None]:
        """Many writes in one transaction of the store; for loading a fleet."""
        with self.store.bulk():
            yield

    @property
    def version(self) -> int:
        """The newest resourceVersion given out."""
        return self.store.version

    def observe(self, resource: Resource, observer: Observer) -> None:
        """Call ``observer`` after each change of this resource, synchronously, with a copy of the object."""
        self._observers.setdefault(resource.key, []).append(observer)

    def _collection(self, key: str) -> Collection:
        found = self._collections.get(key)
        if found is None:
            found = self._collections[key] = Collection()
        return found

    def collection(self, resource: Resource) -> Collection:
        return self._collection(resource.key)

    def log(self, resource: Resource) -> ChangeLog:
        found = self._logs.get(resource.key)
        if found is None:
            found = self._logs[resource.key] = ChangeLog(self._loaded_version)
        return found

    def filter(
        self,
        resource: Resource,
        namespace: str | None,
        label_selector: str | None,
        field_selector: str | None,
    ) -> Filter:
        what = f"{resource.api_version}, Resource={resource.plural}"
        return Filter(
            namespace or None if resource.namespaced else None,
            parse_label_selector(label_selector),
            parse_field_selector(field_selector, field_paths(resource.key, resource.selectable), what),
        )

    def _stored(self, row: Row, obj: Object | None = None) -> Stored:
        if obj is None:
            obj = _decode(row.document)
        paths = self._paths.get(row.resource)
        if paths is None:
            paths = self._paths[row.resource] = field_paths(row.resource)
        labels = obj["metadata"].get("labels") or {}
        fields = {path: field_value(obj, path) for path in paths}
        return Stored(row.namespace, row.name, row.version, row.document, labels, fields)

    def selectable_fields(self, key: str, extra: tuple[str, ...]) -> None:
        """Let selectors of this resource name further paths; objects already stored are looked at again."""
        paths = field_paths(key, extra)
        if self._paths.get(key) == paths:
            return
        self._paths[key] = paths
        collection = self._collection(key)
        for one in list(collection.items()):
            collection.put(self._stored(Row(key, one.namespace, one.name, one.version, one.document)))

    def document(self, resource: Resource, stored: Stored) -> bytes:
        """The JSON of an object in the version of ``resource``."""
        return _encode(self.decode(resource, stored)) if resource.stored_version else stored.document

    def decode(self, resource: Resource, stored: Stored) -> Object:
        """A fresh copy of an object, in the version of ``resource``."""
        obj: Object = _decode(stored.document)
        return versions.from_stored(resource, obj) if resource.stored_version else obj

    def write(self, resource: Resource, obj: Object, before: Stored | None) -> Object:
        """Store ``obj`` under the next version; returns it (with the version) as the caller's to keep."""
        version = self.store.next_version()
        meta = obj["metadata"]
        meta["resourceVersion"] = str(version)
        kept = versions.to_stored(resource, obj) if resource.stored_version else obj
        row = Row(resource.key, meta.get("namespace") or "", meta["name"], version, _encode(kept))
        if len(row.document) > MAX_DOCUMENT:
            size = len(row.document)
            why = f"{resource.plural} {row.name!r} would have {size} bytes, the limit is {MAX_DOCUMENT}"
            raise StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")
        self.store.put(row)
        stored = self._stored(row, kept)
        self._collection(row.resource).put(stored)
        kind: ChangeType = "MODIFIED" if before is not None else "ADDED"
        self.log(resource).append(Change(kind, version, stored, before))
        self._notify(resource, kind, stored)
        return obj

    def erase(self, resource: Resource, obj: Object, before: Stored) -> Object:
        """Remove an object; ``obj`` is its last state, returned with the version of the deletion."""
        version = self.store.next_version()
        obj["metadata"]["resourceVersion"] = str(version)
        kept = versions.to_stored(resource, obj) if resource.stored_version else obj
        self.store.remove(resource.key, before.namespace, before.name, version)
        self._collection(resource.key).remove(before.namespace, before.name)
        row = Row(resource.key, before.namespace, before.name, version, _encode(kept))
        stored = self._stored(row, kept)
        self.log(resource).append(Change("DELETED", version, stored, before))
        self._notify(resource, "DELETED", stored)
        return obj

    def _notify(self, resource: Resource, kind: ChangeType, stored: Stored) -> None:
        for observer in self._observers.get(resource.key, ()):
            observer(kind, _decode(stored.document))

    def compact(self) -> None:
        """Forget the history: watches from older versions get 410 Expired."""
        for log in self._logs.values():
            log.compact()
        self._loaded_version = self.version

    def close(self) -> None:
        """End all watches. The store stays the caller's to close."""
        self._closed = True
        for log in self._logs.values():
            log.wake()
