"""Writing claims: the finalizer, the allocation with its reservations, further reservations, the way back.

Every write is guarded by the claim's uid and resourceVersion. When an answer is lost the same write is
repeated until there is one: either it succeeds, or the conflict proves that the first attempt (which may
still have been on its way) can change the claim no more. Only then is anything else decided.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from aliquot.controller.outcomes import ConflictError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.kube.errors import ApiError
from aliquot.kube.resources import RESOURCE_CLAIMS
from aliquot.model.core import Pod
from aliquot.model.kinds import plain
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import AllocationResult, ConsumerReference, ResourceClaim
from aliquot.scheduling.claims import GROUP_API, GROUPS, stands_for
from aliquot.scheduling.plan import Allocate, Deallocate, Reserve

_log = logging.getLogger(__name__)

DELETE_PROTECTION = "resource.kubernetes.io/delete-protection"
"""The finalizer that keeps an allocated claim until the resource claim controller has released it
(resource.k8s.io/v1, ResourceClaim finalizer)."""

MAX_RESERVATIONS = 256
"""Consumers of one claim (resource.k8s.io/v1, ResourceClaimReservedForMaxSize)."""


class Claims:
    """Writes claims through `writer`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def allocate(self, action: Allocate, base: ResourceClaim | None, now: datetime) -> ResourceClaim:
        """Give the claim its allocation. base: the claim as an earlier action of the plan left it.

        Raises ConflictError where the claim is not as it was when this was decided, RefusedError where the
        server does not take the allocation or does not keep all of it (then nothing is left of it).
        """
        claim = self._expected(action.claim, action.resource_version, base)
        if claim.status.allocation is not None or claim.metadata.deletion_timestamp is not None:
            raise ConflictError(action.claim, "is allocated already or being deleted")
        if len(action.consumers) > MAX_RESERVATIONS:
            raise RefusedError(action.claim, f"has more than {MAX_RESERVATIONS} consumers")
        if DELETE_PROTECTION not in claim.metadata.finalizers:
            finalizers = [*claim.metadata.finalizers, DELETE_PROTECTION]
            claim = await self._patch(claim, {"metadata": {"finalizers": finalizers}}, "")
            if DELETE_PROTECTION not in claim.metadata.finalizers or claim.status.allocation is not None:
                raise ConflictError(action.claim, "was changed by somebody else")
        stamped = msgspec.structs.replace(action.allocation, allocation_timestamp=now.replace(microsecond=0))
        status = {"allocation": plain(stamped), "reservedFor": plain(action.consumers)}
        written = await self._patch(
            claim, {"status": status}, "status", lambda stored: _kept(stored, stamped, action.consumers)
        )
        if _kept(written, stamped, action.consumers):
            return written
        await self._clear(written)
        raise RefusedError(
            action.claim,
            "the API server did not store the allocation as it was written, so it was taken back;"
            " the cluster lacks a feature that the claim needs"
            " (shares of devices, admin access, binding conditions)",
        )

    async def reserve(self, action: Reserve, base: ResourceClaim | None) -> ResourceClaim:
        """Add consumers to an allocated claim. Raises ConflictError or RefusedError."""
        claim = self._expected(action.claim, action.resource_version, base)
        if claim.status.allocation is None or claim.metadata.deletion_timestamp is not None:
            raise ConflictError(action.claim, "is not allocated or being deleted")
        known = {consumer.uid for consumer in claim.status.reserved_for}
        added = tuple(consumer for consumer in action.consumers if consumer.uid not in known)
        if not added:
            return claim
        consumers = (*claim.status.reserved_for, *added)
        if len(consumers) > MAX_RESERVATIONS:
            raise RefusedError(action.claim, f"would have more than {MAX_RESERVATIONS} consumers")
        wanted = {consumer.uid for consumer in consumers}
        return await self._patch(
            claim,
            {"status": {"reservedFor": plain(consumers)}},
            "status",
            lambda stored: wanted <= {consumer.uid for consumer in stored.status.reserved_for},
        )

    async def deallocate(self, action: Deallocate, base: ResourceClaim | None) -> ResourceClaim:
        """Take the allocation back. Raises ConflictError, also where a pod that was let go has reserved the
        claim.
        """
        claim = self._expected(action.claim, action.resource_version, base)
        if claim.status.allocation is None:
            return claim
        for consumer in claim.status.reserved_for:
            if self._let_go(claim.namespace, consumer):
                raise ConflictError(action.claim, f"is in use by {consumer.resource} {consumer.name}")
        return await self._clear(claim)

    async def _clear(self, claim: ResourceClaim) -> ResourceClaim:
        nothing = {"status": {"allocation": None, "reservedFor": None, "devices": None}}
        return await self._patch(claim, nothing, "status", lambda stored: stored.status.allocation is None)

    def _let_go(self, namespace: str, consumer: ConsumerReference) -> bool:
        """The consumer may be using the devices, or be on its way to a node: not so a pod behind a gate."""
        if consumer.resource == GROUPS and consumer.api_group == GROUP_API:
            return any(
                not pod.gated and not pod.finished
                for pod in self._writer.mirror.snapshot().pods
                if pod.namespace == namespace and stands_for(consumer, pod)
            )
        if consumer.api_group or consumer.resource != "pods":
            return True
        pod = self._writer.mirror.get(Pod, namespace, consumer.name)
        if pod is None or pod.metadata.uid != consumer.uid:
            return False
        return not pod.gated and not pod.finished

    def _expected(self, ref: ObjectRef, version: str, base: ResourceClaim | None) -> ResourceClaim:
        claim = base or self._writer.mirror.get(ResourceClaim, ref.namespace, ref.name)
        if claim is None or (ref.uid and claim.metadata.uid != ref.uid):
            raise ConflictError(ref, "is gone")
        if base is None and claim.metadata.resource_version != version:
            raise ConflictError(ref, "has changed")
        return claim

    async def _patch(
        self,
        claim: ResourceClaim,
        patch: dict[str, Any],
        subresource: str,
        done: Callable[[ResourceClaim], bool] | None = None,
    ) -> ResourceClaim:
        """One guarded merge patch. done: tells from the stored claim that the patch had been carried out."""
        meta = claim.metadata
        guard = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        document = {**patch, "metadata": {**patch.get("metadata", {}), **guard}}
        client = self._writer.client
        try:
            body = await self._writer.settled(
                lambda: client.patch(
                    RESOURCE_CLAIMS, meta.name, document, meta.namespace, subresource=subresource, attempts=1
                )
            )
        except ApiError as error:
            # Whatever the last attempt met, one before it may have been carried out.
            stored = await self._writer.look(ResourceClaim, RESOURCE_CLAIMS, claim.ref)
            if stored is not None and done is not None and done(stored):
                return stored
            if error.status in (404, 409):
                raise ConflictError(claim.ref, error.message) from error
            raise RefusedError(claim.ref, error.message or error.reason) from error
        return self._writer.keep(ResourceClaim, body)


def _kept(
    stored: ResourceClaim, allocation: AllocationResult, consumers: tuple[ConsumerReference, ...]
) -> bool:
    """The server stored what was written.

    Servers that do not know a field drop it without a word. Without the time stamp and the tolerations an
    allocation means the same to everybody who reads it; without anything else it does not.
    """
    return (
        stored.status.allocation is not None
        and _essence(stored.status.allocation) == _essence(allocation)
        and {consumer.uid for consumer in consumers}
        <= {consumer.uid for consumer in stored.status.reserved_for}
    )


def _essence(allocation: AllocationResult) -> AllocationResult:
    results = tuple(msgspec.structs.replace(result, tolerations=()) for result in allocation.devices.results)
    devices = msgspec.structs.replace(allocation.devices, results=results)
    return msgspec.structs.replace(allocation, devices=devices, allocation_timestamp=None)
