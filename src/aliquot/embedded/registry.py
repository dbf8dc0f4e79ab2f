"""Every object of the embedded cluster and the semantics of the Kubernetes API on them.

All methods are synchronous: under asyncio each call is atomic. The HTTP layer and the stand-ins call the same
methods, so both see the same errors. Objects handed out are fresh copies; objects handed in are not kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from aliquot.embedded import defaults, deletion, listing, patching, subresources, versions, writing
from aliquot.embedded.changes import Change, ChangeLog, ChangeType, Stored, bookmark, initial_events_end
from aliquot.embedded.collection import Collection
from aliquot.embedded.customresources import definitions
from aliquot.embedded.hooks import SYSTEM, AdmissionChain, NoAdmission, Object, User
from aliquot.embedded.resources import Resource, ResourceTable
from aliquot.embedded.selectors import field_paths, field_value, parse_field_selector, parse_label_selector
from aliquot.embedded.status import not_found
from aliquot.embedded.storage import Row, Store
from aliquot.embedded.watching import Filter, Item, Watch, too_old

__all__ = ["SYSTEM", "Registry", "User"]

Objects = list[Object]
Warnings = list[str]
Observer = Callable[[ChangeType, Object], None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Registry:
    """The objects, their history and their rules.

    ``clock`` gives the time for timestamps, ``uid`` a new unique id (a UUID as text) at each call.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        uid: Callable[[], str],
        admission: AdmissionChain | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.uid = uid
        self.admission: AdmissionChain = admission or NoAdmission()
        self.resources = ResourceTable()
        self._collections: dict[str, Collection] = {}
        self._logs: dict[str, ChangeLog] = {}
        self._observers: dict[str, list[Observer]] = {}
        self._loaded_version = store.version
        self._closed = False
        self._paths: dict[str, frozenset[str]] = {}
        for row in store.rows():
            self._collection(row.resource).put(self._stored(row))
        definitions.install(self)
        defaults.install(self)

    # Reading

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """The object. Raises StatusError 404."""
        return self._decode(resource, self.stored(resource, namespace, name))

    def stored(self, resource: Resource, namespace: str | None, name: str) -> Stored:
        found = self.collection(resource).get(namespace or "" if resource.namespaced else "", name)
        if found is None:
            raise not_found(resource.plural, resource.group, name)
        return found

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none."""
        found = self.collection(resource).get(namespace or "" if resource.namespaced else "", name)
        return None if found is None else self._decode(resource, found)

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
    ) -> tuple[Objects, str, str]:
        """Objects, the resourceVersion of the list, and the token for the next page (``""`` at the end)."""
        page = self.page(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_=continue_,
        )
        return [self._decode(resource, one) for one in page.items], str(page.version), page.continue_

    def page(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
    ) -> listing.Page:
        """As :meth:`list`, with the stored JSON instead of decoded objects."""
        selected = self.filter(resource, namespace, label_selector, field_selector)
        return listing.page(self, resource, selected, limit, continue_)

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        since: int | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = False,
        send_initial_events: bool = False,
    ) -> AsyncIterator[Object]:
        """Events ``{"type": ADDED | MODIFIED | DELETED | BOOKMARK, "object": ...}``.

        ``since`` is the resourceVersion of a list; None reports the current objects as ADDED first. Raises
        StatusError 410 at once, or while iterating when the reader is too slow: list again then.
        """
        watch = self.open_watch(
            resource,
            namespace,
            since=since,
            label_selector=label_selector,
            field_selector=field_selector,
            bookmarks=bookmarks,
            send_initial_events=send_initial_events,
        )
        return self._events(resource, watch)

    async def _events(self, resource: Resource, watch: Watch) -> AsyncIterator[Object]:
        async for batch in watch.batches():
            for item in batch:
                yield self.event(resource, item)

    def open_watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        since: int | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        bookmarks: bool = False,
        send_initial_events: bool = False,
        bookmark_seconds: float = 30.0,
    ) -> Watch:
        """As :meth:`watch`, with the stored JSON instead of decoded objects."""
        selected = self.filter(resource, namespace, label_selector, field_selector)
        log = self.log(resource)
        state: list[Stored] = []
        if since is None or since == 0 or send_initial_events:
            position: int | None = log.end
            since = self.version
            state = [one for one in self.collection(resource).items(namespace) if selected.matches(one)]
        else:
            position = log.position_after(since)
        if position is None:
            raise too_old(since, log.compacted)
        return Watch(
            log,
            selected,
            position=position,
            version=since,
            current_version=lambda: self.version,
            state=state,
            mark_initial_end=send_initial_events and bookmarks,
            bookmarks=bookmarks,
            closed=lambda: self._closed,
            bookmark_seconds=bookmark_seconds,
        )

    def event(self, resource: Resource, item: Item) -> Object:
        if item.stored is not None:
            return {"type": item.type, "object": self._decode(resource, item.stored)}
        make = initial_events_end if item.initial else bookmark
        return make(resource.api_version, resource.kind, item.version)

    # Writing

    def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: Object,
        user: User,
        *,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: str = "Ignore",
        warnings: Warnings | None = None,
    ) -> Object:
        """Create an object and return it as stored.

        Raises StatusError 400, 403, 404 (namespace), 409, 422.
        """
        options = writing.Options(user, dry_run, field_manager, field_validation, warnings)
        return writing.create(self, resource, namespace, obj, options)

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        obj: Object,
        user: User,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        field_manager: str | None = None,
        field_validation: str = "Ignore",
        warnings: Warnings | None = None,
    ) -> Object:
        """Replace an object, or its ``subresource`` (``status``, ``scale``, ``finalize``).

        ``metadata.resourceVersion`` in ``obj``, if set, must be the stored one (409 otherwise).
        """
        options = writing.Options(user, dry_run, field_manager, field_validation, warnings)
        return writing.update(self, resource, namespace, name, lambda old: obj, options, subresource or "")

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch_type: str,
        patch: Any,
        user: User,
        *,
        subresource: str | None = None,
        force: bool = False,
        field_manager: str | None = None,
        dry_run: bool = False,
        field_validation: str = "Ignore",
        warnings: Warnings | None = None,
    ) -> Object:
        """Change an object by a patch, decoded from JSON.

        ``patch_type``: ``json`` (RFC 6902), ``merge`` (RFC 7386), ``strategic`` or ``apply``, or their
        media types. ``force`` takes fields over from other managers (``apply`` only, which also creates
        what does not exist).
        """
        options = writing.Options(user, dry_run, field_manager, field_validation, warnings)
        return patching.patch(
            self, resource, namespace, name, patch_type, patch, options, subresource or "", force
        )

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        user: User,
        *,
        preconditions: dict[str, str] | None = None,
        propagation: str | None = None,
        grace_period: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object: at once, or by setting ``deletionTimestamp`` where finalizers or grace hold it.

        ``preconditions``: ``uid`` and ``resourceVersion`` that must be those stored (409 otherwise).
        ``propagation``: ``Background``, ``Foreground`` or ``Orphan``. Returns the object where it still
        exists (and for some kinds always), else a Status.
        """
        request = deletion.Request(user, preconditions or {}, propagation, grace_period, dry_run)
        return deletion.delete(self, resource, namespace, name, request)

    def delete_collection(
        self,
        resource: Resource,
        namespace: str | None,
        user: User,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        propagation: str | None = None,
        grace_period: int | None = None,
        dry_run: bool = False,
    ) -> Objects:
        """Delete every selected object; returns the objects as they were."""
        selected = self.filter(resource, namespace, label_selector, field_selector)
        found = [one for one in self.collection(resource).items(namespace) if selected.matches(one)]
        request = deletion.Request(user, {}, propagation, grace_period, dry_run)
        for one in found:
            deletion.delete(self, resource, one.namespace, one.name, request)
        return [self._decode(resource, one) for one in found]

    def create_subresource(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        subresource: str,
        obj: Object,
        user: User,
        *,
        dry_run: bool = False,
    ) -> Object:
        """``pods/binding`` (a Binding) or ``pods/eviction`` (an Eviction); returns a Status."""
        return subresources.create(self, resource, namespace or "", name, subresource, obj, user, dry_run)

    def get_subresource(
        self, resource: Resource, namespace: str | None, name: str, subresource: str
    ) -> Object:
        """``status`` (the object) or ``scale`` (a Scale)."""
        return subresources.get(self, resource, namespace, name, subresource)

    @contextlib.contextmanager
    def bulk(self) -> Iterator[None]:
        """Many writes in one transaction of the store; for loading a fleet."""
        with self.store.bulk():
            yield

    # State and observers, for the modules of this package

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

    def _decode(self, resource: Resource, stored: Stored) -> Object:
        obj: Object = _decode(stored.document)
        return versions.from_stored(resource, obj) if resource.stored_version else obj

    def document(self, resource: Resource, stored: Stored) -> bytes:
        """The JSON of an object in the version of ``resource``."""
        return _encode(self._decode(resource, stored)) if resource.stored_version else stored.document

    def decode(self, resource: Resource, stored: Stored) -> Object:
        return self._decode(resource, stored)

    def write(self, resource: Resource, obj: Object, before: Stored | None) -> Object:
        """Store ``obj`` under the next version; returns it (with the version) as the caller's to keep."""
        version = self.store.next_version()
        meta = obj["metadata"]
        meta["resourceVersion"] = str(version)
        kept = versions.to_stored(resource, obj) if resource.stored_version else obj
        row = Row(resource.key, meta.get("namespace") or "", meta["name"], version, _encode(kept))
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
