"""How anything is written: only while leading, a bounded number at a time, the answers into the mirror."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from aliquot.controller.outcomes import NotLeadingError
from aliquot.kube.backoff import Backoff
from aliquot.kube.client import Client
from aliquot.kube.credentials import CredentialError
from aliquot.kube.decoding import Decoding
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import Resource
from aliquot.model.meta import KubernetesObject, ObjectRef

_log = logging.getLogger(__name__)

T = TypeVar("T", bound=KubernetesObject)

WRITES_IN_FLIGHT = 32

PROOFS = frozenset({404, 409})
"""Answers to a guarded write after which no earlier attempt of it can change anything any more: the object is
gone, or another than the guard says."""

VERDICTS = PROOFS | {400, 401, 403, 405, 413, 415, 422}
"""Answers about the request itself (RFC 9110, 15.5); others are about the moment, such as 410, 429, 503."""

REFUSALS = 6
"""So many answers in a row that say nothing about the request itself are believed: about six seconds."""

MOST_SECONDS_OF_REST = 30.0
"""Longer than this no server is obeyed that wants to be left alone for a while."""

IN_FLIGHT_SECONDS = 60.0
"""So long after it was sent a request that nobody waits for any more may still be carried out: kube-apiserver
gives up after its --request-timeout, one minute unless set."""

ACTED_SECONDS = 0.5
"""For so long after decisions were carried out more of them are expected."""


class Writer:
    """leading: asked before each write. in_flight: how many requests may run at a time. waiting: how many
    writes wait for their turn."""

    def __init__(
        self,
        client: Client,
        mirror: Mirror,
        leading: Callable[[], bool],
        *,
        in_flight: int = WRITES_IN_FLIGHT,
    ) -> None:
        self.client = client
        self.mirror = mirror
        self._leading = leading
        self._slots = asyncio.Semaphore(in_flight)
        self.waiting = 0
        self._acting = 0
        self._acted = float("-inf")

    @property
    def acting(self) -> bool:
        """Decisions are being carried out, or were a moment ago: while pods stream in there are pauses
        between two of them.
        """
        return self._acting > 0 or self.client.clock.monotonic() - self._acted < ACTED_SECONDS

    @contextlib.contextmanager
    def act(self) -> Iterator[None]:
        """Carry out decisions within."""
        self._acting += 1
        try:
            yield
        finally:
            self._acting -= 1
            self._acted = self.client.clock.monotonic()

    async def once(self, send: Callable[[], Awaitable[bytes]]) -> bytes:
        """One write. Raises NotLeadingError, ApiError, TransportError."""
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        try:
            if not self._leading():
                raise NotLeadingError
            return await send()
        finally:
            self._slots.release()

    async def settled(self, send: Callable[[], Awaitable[bytes]]) -> bytes:
        """One guarded write, repeated until the server has answered it; `send` is to try once. Raises
        NotLeadingError, ApiError.

        An answer that was lost leaves open whether the write is done, or will be when a delayed request
        arrives. Deciding on would risk that a device is given out twice; so there is no way on but to know.
        A server that goes on answering that it cannot is believed after REFUSALS rounds in a row, and one
        that refuses at once, unless an attempt that was not answered may still be on its way.
        """
        backoff = Backoff(self.client.randomness, first=0.2, cap=5.0)
        clock = self.client.clock
        refusals, unanswered = 0, float("-inf")
        while True:
            wait = backoff.next()
            try:
                return await self.once(send)
            except ApiError as error:
                refusals += 1
                wait = max(wait, min(error.retry_after or 0.0, MOST_SECONDS_OF_REST))
                believed = error.status in VERDICTS or refusals >= REFUSALS
                over = clock.monotonic() - unanswered >= IN_FLIGHT_SECONDS
                if error.status in PROOFS or (believed and over):
                    raise
                problem: Exception = error
            except (TransportError, CredentialError) as error:
                refusals = 0
                if isinstance(error, TransportError) and error.sent:
                    unanswered = clock.monotonic()
                problem = error
            _log.warning("not settled yet: %s", problem)
            await clock.sleep(wait)

    async def look(self, kind: type[T], resource: Resource, ref: ObjectRef) -> T | None:
        """The object as the server has it now, also put into the mirror; None if it is gone.

        Repeated until the server gives the object or says that there is none, whatever else it answers: who
        asks has to know what became of a write. Raises NotLeadingError.
        """
        backoff = Backoff(self.client.randomness, first=0.2, cap=5.0)
        while True:
            try:
                body = await self.once(lambda: self.client.get(resource, ref.name, ref.namespace))
                break
            except ApiError as error:
                if error.not_found:
                    self.mirror.vanished(kind, ref)
                    return None
                problem: Exception = error
            except (TransportError, CredentialError) as error:
                problem = error
            _log.warning("%s is not known yet: %s", ref, problem)
            await self.client.clock.sleep(backoff.next())
        found = self.keep(kind, body)
        if ref.uid and found.metadata.uid != ref.uid:
            return None
        return found

    def keep(self, kind: type[T], body: bytes) -> T:
        """The object that a write was answered with; the mirror has it from now on.

        Raises UndecodableError.
        """
        item = Decoding(kind).object(body)
        self.mirror.put(item)
        return item
