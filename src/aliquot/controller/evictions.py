"""Having pods leave: all that a decision asks to leave, or, as far as can be known beforehand, none.

A pod that others need the place of is asked through the Eviction API, which respects disruption budgets. The
server is first asked whether it would (dry run), for every pod of the decision: a gang gains nothing if only
some of those leave that stand in its way. A refusal is respected for as long as the policy says; then the pod
is deleted, as kube-scheduler's preemption does at once.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC

from aliquot.controller.conditions import Told, placed, write
from aliquot.controller.departures import promise
from aliquot.controller.outcomes import ConflictError, EnactError, HeldBackError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.kube.client import PatchType
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import PODS
from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict
from aliquot.scheduling.wording import sentence

VOLUNTARY = frozenset({Reason.RECLAIMED, Reason.PREEMPTED, Reason.CONSOLIDATED})
"""Reasons of pods that leave for somebody else."""

_AT_ONCE = frozenset(
    {Reason.DEVICE_EVICTED, Reason.DEVICE_HELD_TWICE, Reason.GANG_BROKEN, Reason.NOT_BOUND_IN_TIME}
)
"""Reasons to go that no disruption budget may delay: the pod is where it must not be, or does no work."""

TOO_MANY_REQUESTS = 429


class Evictions:
    """Evicts through `writer`. patience: for how many seconds a refusal is respected; None: for ever."""

    def __init__(
        self, writer: Writer, patience: float | None = None, describe: Callable[[Verdict], str] = sentence
    ) -> None:
        self._writer = writer
        self._patience = patience
        self._describe = describe
        self._refused: dict[str, float] = {}

    async def carry_out(self, decision: Decision, before: Mapping[Key, Pod]) -> None:
        """Have the pods leave that the decision asks to. before: pods as they were when it was made.

        Raises ConflictError where a pod that leaves, or one that it leaves for, is not as it was then: nobody
        has to leave for that decision any more. Raises RefusedError where the server does not let one go.
        """
        actions = [action for action in decision.actions if isinstance(action, Evict)]
        given_up: frozenset[str] = frozenset()
        if any(action.verdict.reason in VOLUNTARY for action in actions):
            for spot in decision.promised:
                self._expected(spot.pod, before)
            for action in actions:
                self._expected(action.pod, before)
            given_up = await self._ask(actions)
            await self._promise(decision)
        done = await asyncio.gather(*(self._attempt(action, given_up) for action in actions))
        problems = [problem for problem in done if problem is not None]
        if problems:
            raise next((one for one in problems if isinstance(one, RefusedError)), problems[0])

    async def _promise(self, decision: Decision) -> None:
        """Tell one pod of the gang that the others leave for, before they do.

        Whoever takes over after a crash then knows for whom those left that are gone already, and gives
        their room to nobody else (`aliquot.scheduling.reservations`).
        """
        verdict = decision.verdict
        if not decision.promised or verdict is None or verdict.reason is not Reason.ROOM_PROMISED:
            return
        waiting = [
            self._writer.mirror.get(Pod, spot.pod.namespace, spot.pod.name) for spot in decision.promised
        ]
        known = [placed(pod) for pod in waiting if pod is not None]
        if not any(found is not None and found.reason == verdict.reason.value for found in known):
            spot = decision.promised[0]
            message = promise(spot, self._describe(verdict), self._leaving(decision))
            await write(self._writer, Told(spot.pod, "False", verdict.reason.value, message))

    def _leaving(self, decision: Decision) -> dict[str, list[Pod]]:
        """The pods that the decision asks to leave, by node."""
        found: dict[str, list[Pod]] = {}
        for action in decision.actions:
            if isinstance(action, Evict):
                pod = self._writer.mirror.get(Pod, action.pod.namespace, action.pod.name)
                if pod is not None:
                    found.setdefault(pod.spec.node_name, []).append(pod)
        return found

    def _expected(self, ref: ObjectRef, before: Mapping[Key, Pod]) -> None:
        pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
        known = before.get((ref.namespace, ref.name))
        if pod is None or pod.metadata.uid != ref.uid:
            raise ConflictError(ref, "is gone")
        if known is None or not _as_it_was(pod, known):
            raise ConflictError(ref, "has changed since it was decided who leaves for whom")

    async def _ask(self, actions: Sequence[Evict]) -> frozenset[str]:
        """Whether the server would let all of them go; gives the uids of those whose refusal is respected no
        longer. Raises RefusedError."""
        now = self._writer.client.clock.monotonic()
        asked = [action.pod for action in actions if self._through_api(action)]
        answers = await asyncio.gather(*(self._would_be_refused(ref) for ref in asked))
        refusals = {
            ref.uid: (ref, refusal)
            for ref, refusal in zip(asked, answers, strict=True)
            if refusal is not None
        }
        since = {uid: self._refused.get(uid, now) for uid in refusals}
        for ref in asked:
            self._refused.pop(ref.uid, None)
        self._refused.update(since)
        for uid, (ref, refusal) in refusals.items():
            if self._patience is None or now - since[uid] < self._patience:
                limit = "" if self._patience is None else f" (respected for {self._patience:g} s)"
                raise HeldBackError(ref, f"may not be evicted now: {refusal}{limit}")
        return frozenset(refusals)

    def _through_api(self, action: Evict) -> bool:
        pod = self._writer.mirror.get(Pod, action.pod.namespace, action.pod.name)
        return pod is not None and bool(pod.spec.node_name) and action.verdict.reason not in _AT_ONCE

    async def _would_be_refused(self, ref: ObjectRef) -> str | None:
        client = self._writer.client
        try:
            await self._writer.once(lambda: client.evict(ref.name, ref.namespace, uid=ref.uid, dry_run=True))
        except ApiError as error:
            if error.status == TOO_MANY_REQUESTS:
                return _budget(error)
            await self._told(ref, error)
        except TransportError as error:
            raise RefusedError(ref, error.problem) from error
        return None

    async def _attempt(self, action: Evict, given_up: frozenset[str]) -> EnactError | None:
        try:
            await self._evict(action, given_up)
        except EnactError as error:
            return error
        return None

    async def _evict(self, action: Evict, given_up: frozenset[str]) -> None:
        """A pod on a node is evicted or deleted; one that was never bound is deleted, guarded by its
        resourceVersion: being bound would change that."""
        ref, reason = action.pod, action.verdict.reason
        pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
        if pod is None or (ref.uid and pod.metadata.uid != ref.uid):
            raise ConflictError(ref, "is gone")
        if pod.metadata.deletion_timestamp is not None:
            return
        meta = pod.metadata
        client = self._writer.client
        try:
            if pod.spec.node_name and (reason in _AT_ONCE or meta.uid in given_up):
                await self._mark(pod, action.verdict)
                await self._writer.once(lambda: client.delete(PODS, meta.name, meta.namespace, uid=meta.uid))
            elif pod.spec.node_name:
                version = meta.resource_version
                await self._writer.once(
                    lambda: client.evict(meta.name, meta.namespace, uid=meta.uid, resource_version=version)
                )
                # The server has written a reason of its own, which says no more than that it was asked.
                await self._mark_leaving(pod, action.verdict)
            elif meta.controller is None:
                raise RefusedError(ref, "has no owner that would replace it, so it keeps its place")
            else:
                await self._writer.once(
                    lambda: client.delete(
                        PODS, meta.name, meta.namespace, uid=meta.uid, resource_version=meta.resource_version
                    )
                )
            # The next decision shall know that the pod goes, before the watch tells.
            await self._writer.look(Pod, PODS, ref)
        except ApiError as error:
            await self._told(ref, error)
        except TransportError as error:
            # Asking twice does no harm: the uid is in the precondition.
            raise RefusedError(ref, error.problem) from error
        self._refused.pop(meta.uid, None)

    async def _told(self, ref: ObjectRef, error: ApiError) -> None:
        if error.not_found or error.conflict:
            await self._writer.look(Pod, PODS, ref)
            raise ConflictError(ref, error.message) from error
        if error.status == TOO_MANY_REQUESTS:
            self._refused.setdefault(ref.uid, self._writer.client.clock.monotonic())
            raise HeldBackError(ref, f"may not be evicted now: {_budget(error)}") from error
        raise RefusedError(ref, error.message or error.reason) from error

    async def _mark_leaving(self, pod: Pod, verdict: Verdict) -> None:
        try:
            await self._mark(pod, verdict)
        except (ApiError, TransportError):
            # A pod without a grace period is gone by now; and nothing depends on the words.
            return

    async def _mark(self, pod: Pod, verdict: Verdict) -> None:
        """The condition DisruptionTarget, which tells the pod's owner that it did not fail itself."""
        meta, client = pod.metadata, self._writer.client
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": verdict.reason.value,
            "message": f"Aliquot: {self._describe(verdict)}",
            "lastTransitionTime": client.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
        await self._writer.once(
            lambda: client.patch(
                PODS, meta.name, patch, meta.namespace, kind=PatchType.STRATEGIC, subresource="status"
            )
        )


def _as_it_was(pod: Pod, known: Pod) -> bool:
    """Nothing has changed that a decision depends on; conditions, which are written all the time, aside."""
    if pod is known:
        return True
    now, then = pod.metadata, known.metadata
    return (
        pod.spec == known.spec
        and pod.status.phase == known.status.phase
        and now.deletion_timestamp == then.deletion_timestamp
        and now.labels == then.labels
        and now.annotations == then.annotations
        and now.owner_references == then.owner_references
    )


def _budget(error: ApiError) -> str:
    """What the server says of the budget, which it puts into the causes."""
    causes = error.details.get("causes")
    told = (
        [cause.get("message", "") for cause in causes if isinstance(cause, dict)]
        if isinstance(causes, list)
        else []
    )
    return " ".join(text for text in (error.message, *told) if text) or error.reason
