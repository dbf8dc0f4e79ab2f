"""A client for the Kubernetes API: JSON bytes in and out, bounded, retried, cancellable.

Answers are handed back as bytes, so that whoever needs few fields of them decodes only those (`model.kinds`).
"""

import asyncio
import contextlib
import enum
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Self

import msgspec

from aliquot.kube.backoff import Backoff
from aliquot.kube.clock import Clock, SystemClock
from aliquot.kube.config import Connection
from aliquot.kube.errors import ApiError, OversizeError, TransportError
from aliquot.kube.observer import Observer, Unobserved, verb_and_resource
from aliquot.kube.resources import PODS, Resource, group_path, served_in
from aliquot.kube.transport import Limits, Query, Transport, Wire
from aliquot.kube.watchlines import Lines

_log = logging.getLogger(__name__)

FIELD_MANAGER = "aliquot"

Document = Mapping[str, Any]


class PatchType(enum.StrEnum):
    """How a patch is meant; the value is its media type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Client:
    """One cluster. Use as an async context manager, or call `close`.

    Every method raises ApiError when the server refuses and TransportError when no complete answer came. What
    was refused for load (429, 503 with Retry-After) is tried again. So is what failed or whose answer was
    lost, where doing it twice is the same as doing it once: everything but POST and JSON patches.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        limits: Limits | None = None,
        user_agent: str = "aliquot",
        observer: Observer | None = None,
        wire: Wire | None = None,
    ) -> None:
        """wire: what carries single requests; connections to `connection.server` unless given."""
        self.connection = connection
        self.clock: Clock = clock or SystemClock()
        self.randomness = randomness or random.Random()
        self.limits = limits or Limits()
        self.observer: Observer = observer or Unobserved()
        self._transport: Wire = wire or Transport(connection, self.clock, self.limits, user_agent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back all connections."""
        await self._transport.close()

    # Reading

    async def get(self, resource: Resource, name: str, namespace: str = "") -> bytes:
        """One object."""
        return await self.request("GET", resource.path(namespace, name))

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[bytes]:
        """The pages of a list, each a List document. Raises ApiError 410 when it took too long: begin
        again.
        """
        query: Query = {"limit": str(self.limits.page_size)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            page = await self.request(
                "GET",
                resource.path(namespace),
                query=query,
                seconds=self.limits.list_seconds,
                limit=self.limits.page_bytes,
            )
            yield page
            token = _continue_token(page)
            if not token:
                return
            query["continue"] = token

    async def watch(
        self,
        resource: Resource,
        resource_version: str,
        *,
        namespace: str = "",
        field_selector: str = "",
        seconds: int = 300,
    ) -> AsyncGenerator[list[bytes], None]:
        """Watch events after `resource_version`, as the lines that arrive together; ends when the server ends
        it.

        seconds: how long the server shall keep it up. Raises ApiError 410 when the version is too old.
        """
        path = resource.path(namespace)
        query: Query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        if field_selector:
            query["fieldSelector"] = field_selector
        name = f"WATCH {path}"
        _, plural = verb_and_resource("GET", path)
        lines = Lines(name, self.limits.object_bytes)
        started = self.clock.monotonic()
        code = 0
        try:
            async with contextlib.aclosing(self._transport.stream(name, path, query, seconds)) as chunks:
                async for chunk in chunks:
                    code = 200
                    complete = lines.feed(chunk)
                    if complete or not chunk:
                        yield complete
            if lines.rest:
                raise TransportError(name, "the stream broke off within an event", sent=True)
        except ApiError as error:
            code = error.status
            if asks_for_rest(error):
                self.observer.throttled("watch", plural)
            raise
        finally:
            self.observer.answered("watch", plural, code, self.clock.monotonic() - started)

    async def discover(self, api_version: str) -> Mapping[str, Resource]:
        """The resources that the server serves in this group and version, by kind; none if it serves it
        not.
        """
        try:
            return served_in(api_version, await self.request("GET", group_path(api_version)))
        except ApiError as error:
            if error.not_found:
                return {}
            raise

    # Writing

    async def create(self, resource: Resource, document: Document, namespace: str = "") -> bytes:
        """Create an object."""
        return await self.request("POST", resource.path(namespace), body=document, query=_manager())

    async def update(
        self, resource: Resource, name: str, document: Document, namespace: str = "", *, subresource: str = ""
    ) -> bytes:
        """Replace an object or a subresource of it; `metadata.resourceVersion` in the document guards it."""
        path = resource.path(namespace, name, subresource)
        return await self.request("PUT", path, body=document, query=_manager())

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Document | list[Document],
        namespace: str = "",
        *,
        kind: PatchType = PatchType.MERGE,
        subresource: str = "",
        force: bool = False,
        field_manager: str = FIELD_MANAGER,
        attempts: int | None = None,
    ) -> bytes:
        """Change an object. `metadata.resourceVersion` or `metadata.uid` in a merge or strategic patch guard
        it.

        force: take over fields of other managers (apply only). attempts: 1 for who has to know of each what
        became of it.
        """
        query = {"fieldManager": field_manager}
        if force:
            query["force"] = "true"
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=patch,
            query=query,
            content_type=kind.value,
            repeatable=kind is not PatchType.JSON,
            attempts=attempts,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        propagation: str = "",
    ) -> bytes:
        """Delete an object, only if it is still the one with this uid and version (409 Conflict
        otherwise).
        """
        options = _delete_options(uid, resource_version, grace_seconds)
        if propagation:
            options["propagationPolicy"] = propagation
        return await self.request("DELETE", resource.path(namespace, name), body=options)

    async def evict(
        self,
        name: str,
        namespace: str,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> bytes:
        """Ask for a pod's eviction; 429 without a retry where a disruption budget forbids it now
        (policy/v1). dry_run: only ask whether it would be.
        """
        options = _delete_options(uid, resource_version, grace_seconds)
        if dry_run:
            options["dryRun"] = ["All"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": options,
        }
        path = PODS.path(namespace, name, "eviction")
        return await self.request("POST", path, body=eviction, attempts=1)

    # One request

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        seconds: float | None = None,
        limit: int | None = None,
        repeatable: bool | None = None,
        attempts: int | None = None,
    ) -> bytes:
        """Any request; `path` without the server. repeatable: doing it twice is the same as doing it once."""
        name = f"{method} {path}"
        data = None if body is None else msgspec.json.encode(body)
        again = method != "POST" if repeatable is None else repeatable
        backoff = Backoff(self.randomness, first=0.1, cap=5.0)
        left = attempts or self.limits.attempts
        renewed = False
        verb, resource = verb_and_resource(method, path)
        while True:
            left -= 1
            started = self.clock.monotonic()
            code = 0
            try:
                answer = await self._transport.once(
                    name, method, path, query, data, content_type, seconds, limit
                )
                code = 200
                return answer
            except ApiError as error:
                code = error.status
                if asks_for_rest(error):
                    self.observer.throttled(verb, resource)
                if error.status == 401 and not renewed and self.connection.credentials.reject():
                    renewed = True
                    continue
                if left <= 0 or not _transient(error, again):
                    raise
                wait = max(backoff.next(), min(error.retry_after or 0.0, 60.0))
                _log.debug("%s: %s %s, again in %.2f s", name, error.status, error.reason, wait)
            except OversizeError:
                raise
            except TransportError as error:
                if left <= 0 or (error.sent and not again):
                    raise
                wait = backoff.next()
                _log.debug("%s: %s, again in %.2f s", name, error.problem, wait)
            finally:
                self.observer.answered(verb, resource, code, self.clock.monotonic() - started)
            await self.clock.sleep(wait)


def asks_for_rest(error: ApiError) -> bool:
    """The server has refused for load, before anything was done: 429, or 503 that names a time."""
    return error.status == 429 or (error.status == 503 and error.retry_after is not None)


def _transient(error: ApiError, repeatable: bool) -> bool:
    """Worth another try."""
    if asks_for_rest(error):
        return True
    return error.status in (500, 502, 503, 504) and repeatable


class _ListMeta(msgspec.Struct, frozen=True):
    token: str = msgspec.field(name="continue", default="")


class _ListHead(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()


_decode_head = msgspec.json.Decoder(_ListHead).decode


def _continue_token(page: bytes) -> str:
    try:
        return _decode_head(page).metadata.token
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TransportError("LIST", f"the answer is no List: {error}", sent=True) from error


def _manager() -> Query:
    return {"fieldManager": FIELD_MANAGER}


def _delete_options(uid: str, resource_version: str, grace_seconds: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    preconditions = {
        key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value
    }
    if preconditions:
        options["preconditions"] = preconditions
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    return options


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
