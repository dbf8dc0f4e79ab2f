"""Every object of the embedded cluster and the semantics of the Kubernetes API on them.

All methods are synchronous: under asyncio each call is atomic. The HTTP layer and the stand-ins call the same
methods, so both see the same errors. Objects handed out are fresh copies; objects handed in are not kept.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

from aliquot.embedded import defaults, deletion, listing, patching, subresources, writing
from aliquot.embedded.changes import Stored, bookmark, initial_events_end
from aliquot.embedded.customresources import definitions
from aliquot.embedded.hooks import SYSTEM, AdmissionChain, NoAdmission, Object, User
from aliquot.embedded.resources import Resource
from aliquot.embedded.state import State
from aliquot.embedded.storage import Store
from aliquot.embedded.watching import Item, Watch, too_old

__all__ = ["SYSTEM", "Registry", "User"]

#: Lists longer than this are decoded with the garbage collector paused.
_COLLECTOR_PAUSE = 500

Objects = list[Object]
Warnings = list[str]


class Registry(State):
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
        super().__init__(store, clock, uid)
        self.admission: AdmissionChain = admission or NoAdmission()
        definitions.install(self)
        defaults.install(self)

    # Reading

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """The object. Raises StatusError 404."""
        return self.decode(resource, self.stored(resource, namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none."""
        found = self.collection(resource).get(namespace or "" if resource.namespaced else "", name)
        return None if found is None else self.decode(resource, found)

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
        return self._decode_all(resource, page.items), str(page.version), page.continue_

    def _decode_all(self, resource: Resource, items: Sequence[Stored]) -> Objects:
        """Decoding makes many containers and no cycles: the collector would walk them for nothing."""
        pause = len(items) > _COLLECTOR_PAUSE and gc.isenabled()
        if pause:
            gc.disable()
        try:
            return [self.decode(resource, one) for one in items]
        finally:
            if pause:
                gc.enable()

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
            return {"type": item.type, "object": self.decode(resource, item.stored)}
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

        ``metadata.resourceVersion`` in ``obj``, if set, must be the stored one (409 otherwise); custom
        resources must have it (422).
        """
        options = writing.Options(user, dry_run, field_manager, field_validation, warnings)
        self.stored(resource, namespace, name)
        writing.require_version(resource, name, obj)
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
        return [self.decode(resource, one) for one in found]

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
