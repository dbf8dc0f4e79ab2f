"""What is done to workloads without anybody asking, where a policy says so: written, told and recorded.

Steps on idle work (`culling`) and changes of sizes (`resizing`) are written by this one way: as one patch
that holds the change and what is noted of it, guarded by the workload's uid, so that either both are there or
none. Each is told by an event on the workload and recorded in an audit log beside the journal.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aliquot.audit.record import Event as AuditEvent
from aliquot.audit.record import Kind, Outcome
from aliquot.controller.events import Event, Events
from aliquot.kube.client import Client, PatchType
from aliquot.kube.errors import ApiError
from aliquot.kube.resources import Resource
from aliquot.model.meta import ObjectRef

_log = logging.getLogger(__name__)

INSTANCE = "aliquot-controller"
MOST_WHY = 500
REWRITES = 4
UNPROCESSABLE = 422
"""How a server answers a JSON Patch of which a test does not hold."""

Record = Callable[[AuditEvent], None]

Made = Callable[[dict[str, Any]], Awaitable[Sequence[dict[str, Any]]]]
"""Operations of a JSON Patch for a document."""


class NotServedError(Exception):
    """The server serves no such kind: `api_version` and `kind`."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f"the cluster serves no {kind} of {api_version}")
        self.api_version = api_version
        self.kind = kind


class Unasked:
    """Writes, tells and records. record: takes what was done, for the audit log. policy: which policy says
    so, as the audit log names it."""

    def __init__(self, client: Client, record: Record, policy: str) -> None:
        self.client = client
        self._record = record
        self._policy = policy
        self._events = self._silent()
        self._resources: dict[tuple[str, str], Resource] = {}

    def _silent(self) -> Events:
        return Events(
            self.client, clock=self.client.clock, randomness=self.client.randomness, instance=INSTANCE
        )

    def now(self) -> datetime:
        """The wall-clock time."""
        return self.client.clock.now()

    async def document(self, api_version: str, ref: ObjectRef) -> dict[str, Any] | None:
        """The object as the server has it; None if it is gone, or another one of this name."""
        resource = await self._resource(api_version, ref.kind)
        try:
            found = msgspec.json.decode(await self.client.get(resource, ref.name, ref.namespace))
        except ApiError as error:
            if error.not_found:
                return None
            raise
        if not isinstance(found, dict) or (ref.uid and found["metadata"].get("uid") != ref.uid):
            return None
        return found

    async def merge(self, api_version: str, ref: ObjectRef, patch: Mapping[str, Any]) -> None:
        """Merge a patch into the object with this uid. Raises ApiError, TransportError, NotServedError."""
        resource = await self._resource(api_version, ref.kind)
        guarded = {**patch, "metadata": {**patch.get("metadata", {}), "uid": ref.uid}}
        await self.client.patch(resource, ref.name, guarded, ref.namespace)

    async def rewrite(self, api_version: str, ref: ObjectRef, made: Made) -> bool:
        """Apply the JSON Patch (RFC 6902) that `made` makes of the object as it is; False if it is gone.

        The patch says itself by its tests what must not have changed. Where something has, which may be no
        more than a status, it is made anew of what is there then. Raises ApiError, TransportError,
        NotServedError, and what `made` raises.
        """
        resource = await self._resource(api_version, ref.kind)
        left = REWRITES
        while True:
            left -= 1
            document = await self.document(api_version, ref)
            if document is None:
                return False
            operations: list[Mapping[str, Any]] = list(await made(document))
            try:
                await self.client.patch(resource, ref.name, operations, ref.namespace, kind=PatchType.JSON)
                return True
            except ApiError as error:
                if left <= 0 or not (error.conflict or error.status == UNPROCESSABLE):
                    raise

    async def _resource(self, api_version: str, kind: str) -> Resource:
        found = self._resources.get((api_version, kind))
        if found is None:
            served = await self.client.discover(api_version)
            if kind not in served:
                raise NotServedError(api_version, kind)
            found = self._resources[api_version, kind] = served[kind]
        return found

    async def tell(
        self, api_version: str, ref: ObjectRef, reason: str, note: str, *, warning: bool = False
    ) -> bool:
        """Write an event on the workload, unless it said so a short while ago; whether all that was to be
        written was."""
        kind = "Warning" if warning else "Normal"
        self._events.add(Event(ref, kind, reason, "Automation", note, api_version))
        written = True
        while len(self._events):
            written = await self._events.write_one() and written
        if not written:
            # What was not written counts as not said.
            self._events = self._silent()
        return written

    def record(
        self,
        ref: ObjectRef,
        action: str,
        reason: str,
        *,
        queue: str,
        failed: bool = False,
        **details: str | int,
    ) -> None:
        """Put on record what was done, or what was tried and failed."""
        now = self.now()
        name = f"{ref.kind.lower()}/{ref.name}"
        outcome = Outcome.FAILED if failed else Outcome.DONE
        _log.info("%s %s/%s: %s%s", action, ref.namespace, name, reason, " (failed)" if failed else "")
        self._record(
            AuditEvent(
                event=f"{action}/{ref.uid}/{now.timestamp():.6f}",
                time_us=round(now.timestamp() * 1_000_000),
                kind=Kind.DEVICE,
                outcome=outcome,
                action=action,
                namespace=ref.namespace,
                queue=queue,
                asked=name,
                policy=self._policy,
                reason="".join(word.capitalize() for word in action.split("-")),
                details={"why": reason[:MOST_WHY], **details},
            )
        )
