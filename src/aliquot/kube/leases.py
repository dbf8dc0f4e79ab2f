"""Leader election by a Lease: of several processes at most one writes.

Source: Kubernetes documentation, "Leases" (coordination.k8s.io/v1). Clocks of different machines are never
compared: whoever waits counts a lease as lost when it saw it unchanged for the lease's whole duration by its
own clock, and whoever leads stops by its own clock before that time can have passed for anybody else.
"""

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import Any

import msgspec

from aliquot.kube.client import Client
from aliquot.kube.clock import Clock
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.reflector import Failure
from aliquot.kube.resources import LEASES

_log = logging.getLogger(__name__)


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """holder_identity: who leads, "" for nobody. Times are RFC 3339 text with microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class Lease(msgspec.Struct, frozen=True):
    """What matters of a Lease object."""

    metadata: _Meta = _Meta()
    spec: LeaseSpec = LeaseSpec()


_decoder = msgspec.json.Decoder(Lease)


def _decode(body: bytes) -> Lease:
    try:
        return _decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise TransportError("lease", f"the answer is no Lease: {error}", sent=True) from error


class LeaderElection:
    """One candidate. `acquire`, then `hold`; between the two and while `hold` runs, `leading` may be True.

    identity: unique to this process. seconds: how long a lease stands without being renewed; it is renewed
    every fifth of that, and a leader that could not renew it for two thirds of that leads no more.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        seconds: int = 15,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self.identity = identity
        self.holder = ""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._seconds = seconds
        self._clock = clock or client.clock
        self._randomness = randomness or client.randomness
        self._until = float("-inf")
        self._seen: tuple[LeaseSpec, float] | None = None
        self._held: Lease | None = None
        self._problem = ""

    @property
    def leading(self) -> bool:
        """This process may write now."""
        return self._clock.monotonic() < self._until

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while not await self._attempt():
            # Jitter keeps candidates from trying in step.
            await self._clock.sleep(self._seconds / 5.0 * (0.8 + 0.4 * self._randomness.random()))
        _log.info("%s leads (lease %s/%s)", self.identity, self._namespace, self._name)

    async def hold(self) -> None:
        """Renew until leadership is lost; then return, at the latest when `leading` turns False."""
        while self.leading:
            await self._clock.sleep(min(self._seconds / 5.0, max(0.0, self._until - self._clock.monotonic())))
            try:
                async with asyncio.timeout(max(0.0, self._until - self._clock.monotonic())):
                    renewed = await self._attempt()
            except TimeoutError:
                break
            if not renewed and self.holder not in ("", self.identity):
                break
        self._until = float("-inf")
        _log.warning("%s leads no more (lease %s/%s)", self.identity, self._namespace, self._name)

    async def release(self) -> None:
        """Let another candidate lead at once. Nothing happens where this process does not hold the lease."""
        self._until = float("-inf")
        held, self._held = self._held, None
        if held is None:
            return
        try:
            # A renewal that was cut short may have been stored: what counts is what the server has now.
            current = await self._read()
            if current is not None and current.spec.holder_identity == self.identity:
                spec = self._spec(current.spec.lease_transitions or 0, current.spec.acquire_time, holder="")
                await self._write(current, spec)
        except Failure as error:
            _log.info("the lease is left to run out: %s", error)

    async def _attempt(self) -> bool:
        """Take or renew the lease; whether this process holds it now."""
        try:
            held = await self._take()
        except Failure as error:
            if str(error) != self._problem:
                _log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            self._problem = str(error)
            return False
        self._problem = ""
        self._held = held
        return held is not None

    async def _take(self) -> Lease | None:
        # Counted from before the request: the server may have stored the renewal at any moment since then.
        asked = self._clock.monotonic()
        current = await self._read()
        if current is None:
            lease = await self._create()
        else:
            spec = current.spec
            self.holder = spec.holder_identity or ""
            mine = self.holder == self.identity
            if not mine and self.holder and not self._run_out(spec):
                return None
            changes = spec.lease_transitions or 0
            now = self._now()
            renewed = self._spec(changes if mine else changes + 1, spec.acquire_time if mine else now)
            try:
                lease = await self._write(current, renewed)
            except ApiError as error:
                if error.conflict:
                    return None
                raise
        if lease is None:
            return None
        self.holder = self.identity
        self._until = asked + self._seconds * 2.0 / 3.0
        return lease

    def _run_out(self, spec: LeaseSpec) -> bool:
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != spec:
            self._seen = (spec, now)
        return now - self._seen[1] >= max(spec.lease_duration_seconds or 0, self._seconds)

    async def _read(self) -> Lease | None:
        try:
            return _decode(await self._client.get(LEASES, self._name, self._namespace))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _create(self) -> Lease | None:
        document = self._document(self._spec(0, self._now()), "")
        try:
            return _decode(await self._client.create(LEASES, document, self._namespace))
        except ApiError as error:
            if error.conflict:
                return None
            raise

    async def _write(self, current: Lease, spec: LeaseSpec) -> Lease:
        document = self._document(spec, current.metadata.resource_version)
        return _decode(await self._client.update(LEASES, self._name, document, self._namespace))

    def _spec(self, transitions: int, acquired: str | None, holder: str | None = None) -> LeaseSpec:
        return LeaseSpec(
            holder_identity=self.identity if holder is None else holder,
            lease_duration_seconds=self._seconds,
            acquire_time=acquired,
            renew_time=self._now(),
            lease_transitions=transitions,
        )

    def _document(self, spec: LeaseSpec, resource_version: str) -> dict[str, Any]:
        metadata = {"name": self._name, "namespace": self._namespace}
        if resource_version:
            metadata["resourceVersion"] = resource_version
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": msgspec.to_builtins(spec),
        }

    def _now(self) -> str:
        return micro_time(self._clock.now())


class Always:
    """Leads from the start and for ever: for the only process there is."""

    leading = True

    async def acquire(self) -> None:
        """Return at once."""

    async def hold(self) -> None:
        """Until cancelled."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """There is nothing to give back."""


def micro_time(moment: datetime) -> str:
    """A time as Kubernetes' MicroTime: RFC 3339 in UTC with six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
