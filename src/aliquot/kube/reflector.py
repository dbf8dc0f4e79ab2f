"""Keeps the objects of one kind up to date: list, then watch, and again whenever the watch cannot go on."""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypedDict, TypeVar

from aliquot.kube.backoff import Backoff
from aliquot.kube.client import Client
from aliquot.kube.clock import Clock
from aliquot.kube.collection import Collection, version_number
from aliquot.kube.config import ConfigError
from aliquot.kube.credentials import CredentialError
from aliquot.kube.decoding import Decoding, UndecodableError, head
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import Resource, versions_of
from aliquot.model.meta import KubernetesObject

_log = logging.getLogger(__name__)

T = TypeVar("T", bound=KubernetesObject)

ABSENT_POLL_SECONDS = 10.0
"""How often to look whether a kind that the server does not serve has appeared (a CRD was installed)."""

WATCH_SECONDS = (240, 480)
"""A watch is ended after a random time between these, so that watches of many clients do not end together."""

FAILED_WATCHES = 4
"""After so many failures in a row to take a watch up again the objects are listed anew."""

ANSWERS_FOLLOWED = 256
"""Of so many answers to writes it is measured when the watch brings them."""

Failure = (ApiError, TransportError, UndecodableError, CredentialError, ConfigError)


class Discovery:
    """What the server serves, asked once for several kinds of one group and version."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: dict[str, tuple[float, Mapping[str, Resource]]] = {}

    async def find(self, kind: type[KubernetesObject]) -> Resource | None:
        """The resource of `kind` in the preferred version that is served; None if none is."""
        async with self._lock:
            for api_version in versions_of(kind):
                asked, served = self._known.get(api_version, (None, {}))
                if asked is None or self._clock.monotonic() - asked >= ABSENT_POLL_SECONDS / 2:
                    served = await self._client.discover(api_version)
                    self._known[api_version] = (self._clock.monotonic(), served)
                found = served.get(kind.kind())
                if found is not None:
                    return found
        return None


class _Scope(TypedDict, total=False):
    namespace: str
    field_selector: str


class Reflector(Generic[T]):
    """Mirrors one kind into `collection` and calls `changed` after each change.

    resource: where the kind is served; None while it is not. complete: listed at least once, or found not to
    be served. settled: complete, or found to be forbidden. problem: why it cannot be read at present, "" if
    it can. undecodable: objects that are left out, by (namespace, name). only: namespace and name of the one
    object to mirror; None for all of the kind. heard: when the server last said anything about the kind, by
    the monotonic clock.
    """

    def __init__(
        self,
        client: Client,
        kind: type[T],
        discovery: Discovery,
        changed: Callable[[], None],
        *,
        clock: Clock,
        randomness: random.Random,
        only: tuple[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._only = only
        self.collection: Collection[T] = Collection()
        self.resource: Resource | None = None
        self.settled = False
        self.complete = False
        self.problem = ""
        self.undecodable: dict[tuple[str, str], str] = {}
        self._client = client
        self._decoding: Decoding[T] = Decoding(kind)
        self._discovery = discovery
        self._changed = changed
        self._clock = clock
        self._randomness = randomness
        self._version = ""
        self._answers: deque[tuple[int, float]] = deque(maxlen=ANSWERS_FOLLOWED)
        self.heard = float("-inf")

    def answered(self, resource_version: str) -> None:
        """A write was answered with this version now: when the watch brings it tells how late that is."""
        self._answers.append((version_number(resource_version), self._clock.monotonic()))

    async def run(self) -> None:
        """Mirror until cancelled. Failures are kept in `problem` and tried again, with back-off."""
        backoff = Backoff(self._randomness, first=0.2, cap=15.0)
        while True:
            try:
                self.resource = await self._discovery.find(self.kind)
                if self.resource is None:
                    self._absent()
                    await self._clock.sleep(ABSENT_POLL_SECONDS * (0.75 + 0.5 * self._randomness.random()))
                    continue
                self._version = await self._list(self.resource)
                self._settle("")
                backoff.reset()
                await self._watch_on(self.resource)
            except Failure as error:
                expired = isinstance(error, ApiError) and error.expired
                if not expired:
                    self._trouble(error)
                if isinstance(error, ApiError) and error.status == 403 and not self.settled:
                    self.settled = True
                    self._changed()
                await self._clock.sleep(backoff.next())

    async def refresh(self) -> None:
        """List now, beside the watch: afterwards everything written before the call is known.

        Raises ApiError, TransportError, UndecodableError, CredentialError.
        """
        if self.resource is not None:
            await self._list(self.resource)

    def _scope(self) -> _Scope:
        if self._only is None:
            return {}
        namespace, name = self._only
        return {"namespace": namespace, "field_selector": f"metadata.name={name}"}

    async def _list(self, resource: Resource) -> str:
        before = self.collection.newest
        items: list[T] = []
        undecodable: dict[tuple[str, str], str] = {}
        version = ""
        async for page in self._client.pages(resource, **self._scope()):
            at, found, failed = self._decoding.page(page)
            version = version or at
            items += found
            undecodable |= {(error.namespace, error.name): error.problem for error in failed}
        self._hear(version)
        self._client.observer.listed(self.kind.kind())
        number = version_number(version)
        # A list is taken after everything known before it, unless the server's storage was restored.
        changed = self.collection.replace(items, number, restored=number < before)
        for (namespace, name), problem in undecodable.items():
            _log.error("%s %s/%s is left out: %s", self.kind.kind(), namespace, name, problem)
        self.undecodable = undecodable
        if changed:
            self._changed()
        return version

    async def _watch_on(self, resource: Resource) -> None:
        """Watch, and take the watch up again where it ended; raises when a new list is needed."""
        backoff = Backoff(self._randomness, first=0.05, cap=5.0)
        failures = 0
        while True:
            began = self._version
            started = self._clock.monotonic()
            try:
                low, high = WATCH_SECONDS
                seconds = int(low + (high - low) * self._randomness.random())
                watch = self._client.watch(resource, self._version, seconds=seconds, **self._scope())
                async with contextlib.aclosing(watch) as batches:
                    async for lines in batches:
                        self.heard = self._clock.monotonic()
                        if self.problem:
                            self._settle("")
                        self._apply(lines)
            except (TransportError, UndecodableError) as error:
                _log.debug("watch of %s: %s", self.kind.kind(), error)
                failures += 1
                if failures >= FAILED_WATCHES:
                    raise
                if failures > 1:
                    self._trouble(error)
            except ApiError as error:
                failures += 1
                if not _passing(error) or failures >= FAILED_WATCHES:
                    raise
                if failures > 1:
                    self._trouble(error)
                await self._clock.sleep(error.retry_after or 0.0)
            if self._version != began or self._clock.monotonic() - started > 10.0:
                backoff.reset()
                failures = 0
            # Even a watch that the server ended in order waits a moment: one that ends each at once must not
            # become a busy loop.
            await self._clock.sleep(backoff.next())

    def _apply(self, lines: list[bytes]) -> None:
        changed = False
        try:
            for line in lines:
                changed = self._apply_one(line) or changed
        finally:
            if changed:
                self._changed()

    def _apply_one(self, line: bytes) -> bool:
        kind, raw = self._decoding.event(line)
        if kind == "BOOKMARK":
            self._advance(head(raw).resource_version)
            return False
        meta = head(raw)
        key = (meta.namespace, meta.name)
        changed = False
        if kind == "DELETED":
            changed = self.collection.remove(key, version_number(meta.resource_version))
            self.undecodable.pop(key, None)
        else:
            try:
                changed = self.collection.put(self._decoding.object(raw))
                self.undecodable.pop(key, None)
            except UndecodableError as error:
                self.undecodable[key] = error.problem
                _log.error("%s %s/%s is left out: %s", error.kind, error.namespace, error.name, error.problem)
        self._advance(meta.resource_version)
        return changed

    def _advance(self, version: str) -> None:
        # A repeated event must not turn the watch back.
        if version and version_number(version) >= version_number(self._version):
            self._version = version
            self._hear(version)

    def _hear(self, version: str) -> None:
        number, now = version_number(version), self._clock.monotonic()
        self.heard = now
        while self._answers and self._answers[0][0] <= number:
            _, answered = self._answers.popleft()
            self._client.observer.lagged(self.kind.kind(), now - answered)

    def _absent(self) -> None:
        if len(self.collection):
            self.collection.clear()
            self._changed()
        self._settle("")

    def _settle(self, problem: str) -> None:
        first = not self.complete
        self.settled = self.complete = True
        recovered = bool(self.problem)
        self.problem = problem
        if recovered:
            _log.info("%s can be read again", self.kind.kind())
        if first:
            self._changed()

    def _trouble(self, error: Exception) -> None:
        problem = str(error)
        if problem != self.problem:
            _log.warning("%s cannot be read: %s", self.kind.kind(), problem)
        self.problem = problem


def _passing(error: ApiError) -> bool:
    """The watch can be taken up again where it was, once the server is itself again."""
    too_large = "too large resource version" in error.message.lower()
    return error.status in (429, 500, 502, 503, 504) and not too_large
