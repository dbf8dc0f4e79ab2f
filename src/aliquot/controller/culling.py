"""Idle work told, shrunk, suspended or sent away, as a policy says (`sizing.culling` decides, this enacts).

What was done to a workload is noted on the workload, so that another leader goes on where this one ended. In
a dry run nothing is written but events, and what was told is remembered by this process alone.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from aliquot.controller.live import Live
from aliquot.controller.unasked import NotServedError, Unasked
from aliquot.inventory.report import Report
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import OWNERS
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.model.workloads import Job
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.sizing.culling import EXEMPT, Cull, Culling, CullingPolicy, Holder, Key, Taken, culling
from aliquot.sizing.holders import NOTEBOOK, holders_of
from aliquot.sizing.idle_acts import MARK, RESUME, SUSPENDABLE, EvictPods, Patch, Step, way_back, woken
from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.usage.metrics import BUSY

_log = logging.getLogger(__name__)

RESUME_EVERY_S = 20.0
LEAST_PAUSE_S = 120.0
PART_OF_TIME = 20
"""From one look at idle work to the next passes LEAST_PAUSE_S, and so many times what the look took."""

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MOST_MINUTES = 200_000
"""More samples than this are read at a tenth of their resolution."""

TOO_MANY_REQUESTS = 429

_SUSPENDED_KINDS: tuple[type[KubernetesObject], ...] = tuple(
    kind for kind in (Job, *OWNERS) if kind in FIELDS and kind.kind() in SUSPENDABLE
)

_REASONS = {
    Step.NOTIFY: "Idle",
    Step.SHRINK: "IdleShrunk",
    Step.SUSPEND: "IdleSuspended",
    Step.RECLAIM: "IdleReclaimed",
}


@dataclass(frozen=True, slots=True)
class _Seen:
    holders: tuple[Holder, ...]
    waiting: int


class Culler:
    """Looks at idle work again and again. left_ms: when workloads were suspended or reclaimed before this
    process began, as far as that is known."""

    def __init__(
        self,
        unasked: Unasked,
        live: Live,
        history: UsageHistory,
        rules: CullingPolicy,
        policy: Policy,
        left_ms: Iterable[int] = (),
    ) -> None:
        self._unasked = unasked
        self._live = live
        self._history = history
        self._rules = rules
        self._policy = policy
        self._left = deque(sorted(left_ms))
        self._tried: dict[Key, Taken] = {}

    async def run(self) -> None:
        """Until cancelled; trouble is told and does not end it."""
        due = 0.0
        await self._live.wait(0)
        while True:
            began = time.monotonic()
            try:
                if began >= due:
                    await self.look()
                    ended = time.monotonic()
                    due = ended + max(LEAST_PAUSE_S, PART_OF_TIME * (ended - began))
                else:
                    await self._resume(self._live.snapshot)
            except (ApiError, TransportError, CredentialError, HistoryError) as error:
                _log.warning("idle work: %s", error)
            await asyncio.sleep(RESUME_EVERY_S)

    async def look(self) -> Culling:
        """Do what is due now. Raises HistoryError, and what the server says to reading Notebooks."""
        snapshot, plan = self._live.snapshot, self._live.plan
        now_ms = round(self._unasked.now().timestamp() * 1000)
        await self._resume(snapshot)
        seen = await asyncio.to_thread(self._seen, snapshot, plan, now_ms)
        holders = [await self._complete(item) for item in seen.holders]
        while self._left and self._left[0] <= now_ms - HOUR_MS:
            self._left.popleft()
        found = culling(
            holders, self._taken(holders), self._rules, now_ms, waiting=seen.waiting, left=len(self._left)
        )
        by_key = {item.key: item for item in holders}
        taken = {_key(item.workload): item for item in found.taken}
        self._tried = {key: item for key, item in taken.items() if item.dry_run}
        for cull in found.culls:
            await self._enact(cull, by_key[_key(cull.workload)], taken[_key(cull.workload)])
        return found

    def _seen(self, snapshot: Snapshot, plan: Plan, now_ms: int) -> _Seen:
        report = Report.of(snapshot, plan, self._policy)
        window = window_ms(self._rules)
        held = sum(1 for state in report.devices.devices if state.allocated)
        finest = MINUTE_MS if held * window <= MOST_MINUTES * MINUTE_MS else 10 * MINUTE_MS
        series = self._history.read(now_ms - window, now_ms, metrics=BUSY, devices=False, finest=finest)
        holders = holders_of(snapshot, report, series, self._rules, now_ms)
        return _Seen(holders, len(report.workloads.waiting()))

    def _taken(self, holders: Iterable[Holder]) -> Iterator[Taken]:
        """What is noted on workloads, else what was tried out."""
        for holder in holders:
            taken = Taken.marked(holder) or self._tried.get(holder.key)
            if taken is not None:
                yield taken

    async def _complete(self, holder: Holder) -> Holder:
        """With what a Notebook says itself, which no snapshot has."""
        if holder.workload.kind != NOTEBOOK or holder.idleness.since_ms is None:
            return holder
        try:
            found = await self._unasked.document(holder.api_version, holder.workload)
        except NotServedError:
            found = None
        metadata: dict[str, Any] = found["metadata"] if found is not None else {}
        own = metadata.get("annotations") or {}
        said = {**holder.said, **(metadata.get("labels") or {}), **own}
        if found is None:
            said[EXEMPT] = "true"
        return replace(holder, own=own, said=said)

    async def _enact(self, cull: Cull, holder: Holder, taken: Taken) -> None:
        ref, version = cull.workload, holder.api_version
        reason = _REASONS[cull.step]
        if cull.dry_run:
            await self._unasked.tell(version, ref, f"{reason}DryRun", f"dry run: {cull.step}: {cull.reason}")
            return
        mark = {"metadata": {"annotations": {MARK: taken.mark.text}}}
        try:
            if cull.step is Step.NOTIFY:
                # Nothing may follow on a notice that nobody can read.
                if await self._unasked.tell(version, ref, reason, _message(cull), warning=True):
                    await self._unasked.merge(version, ref, mark)
                    self._unasked.record(ref, "idle-notify", cull.reason, queue=cull.queue)
                return
            for act in cull.acts:
                if isinstance(act, Patch):
                    await self._unasked.merge(version, ref, _joined(act.merge, mark))
                elif isinstance(act, EvictPods):
                    await self._evict(act)
                    await self._unasked.merge(version, ref, mark)
        except (ApiError, TransportError, NotServedError) as error:
            text = f"{cull.step}: {error}"
            await self._unasked.tell(version, ref, "IdleStepFailed", text, warning=True)
            self._unasked.record(ref, f"idle-{cull.step}", str(error), queue=cull.queue, failed=True)
            return
        if cull.step in (Step.SUSPEND, Step.RECLAIM):
            self._left.append(taken.at_ms)
        self._unasked.record(ref, f"idle-{cull.step}", cull.reason, queue=cull.queue)
        text = cull.reason
        if cull.step is Step.SUSPEND:
            text = f"{text}; to start it again: {way_back(ref)}"
        await self._unasked.tell(version, ref, reason, text, warning=True)

    async def _evict(self, act: EvictPods) -> None:
        """Evict what may leave: all pods, or none where a disruption budget holds one of them back. Raises
        ApiError, TransportError."""
        client = self._unasked.client
        for dry_run in (True, False):
            for pod in act.pods:
                try:
                    await client.evict(pod.name, pod.namespace, uid=pod.uid, dry_run=dry_run)
                except ApiError as error:
                    if not (error.not_found or error.conflict):
                        raise

    async def _resume(self, snapshot: Snapshot) -> None:
        """Start again what was suspended for idleness and is asked for."""
        for kind in _SUSPENDED_KINDS:
            for item in getattr(snapshot, FIELDS[kind]):
                if RESUME not in item.metadata.annotations:
                    continue
                ref = item.ref
                patch = woken(ref, item.metadata.annotations)
                merge = patch.merge if patch is not None else {"metadata": {"annotations": {RESUME: None}}}
                version = API_VERSIONS[kind][0]
                try:
                    await self._unasked.merge(version, ref, merge)
                except (ApiError, TransportError, NotServedError) as error:
                    await self._unasked.tell(version, ref, "IdleStepFailed", f"resume: {error}", warning=True)
                    continue
                if patch is not None:
                    self._unasked.record(ref, "idle-resume", f"annotation {RESUME}", queue="")
                    await self._unasked.tell(version, ref, "IdleResumed", "it was asked for again")


def window_ms(rules: CullingPolicy) -> int:
    """How far idleness is looked back for: longer idle counts as so long. Twice the time to the last step, so
    that steps that were taken are not forgotten meanwhile, and a day at least."""
    longest = max(
        (step.after_seconds + rule.grace_seconds for rule in rules.rules for step in rule.steps), default=0
    )
    return max(2 * longest * 1000, DAY_MS)


def _message(cull: Cull) -> str:
    return next((act.message for act in cull.acts if hasattr(act, "message")), cull.reason)


def _joined(merge: dict[str, Any], mark: dict[str, Any]) -> dict[str, Any]:
    """One patch of two, which both may have annotations."""
    annotations = {
        **merge.get("metadata", {}).get("annotations", {}),
        **mark["metadata"]["annotations"],
    }
    return {**merge, "metadata": {**merge.get("metadata", {}), "annotations": annotations}}


def _key(ref: ObjectRef) -> Key:
    return (ref.kind, ref.namespace, ref.name)
