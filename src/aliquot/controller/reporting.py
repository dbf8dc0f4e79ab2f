"""What people see on their pods: the condition `aliquot.dev/Placed` and events."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from aliquot.controller.conditions import Told, placed, write
from aliquot.controller.departures import ByNode, departures, promise, told
from aliquot.controller.events import Event, Events
from aliquot.controller.outcomes import Outcome
from aliquot.controller.writing import Writer
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.kube.clock import Clock
from aliquot.kube.reflector import Failure
from aliquot.model.core import Pod
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Allocate, Decision, Evict, Placement, Plan
from aliquot.scheduling.remedies import fix_sentence

_log = logging.getLogger(__name__)

WORDING_SECONDS = 30.0
"""While the reason stays the same, a changed message is written this often at most."""

WRITES_PER_SECOND = 50.0
WRITES_PER_SECOND_BESIDE = 5.0
"""... while decisions are carried out: what lets pods start goes before what tells of it."""

EVENT_EVERY = 4
"""Conditions go before events, but every so many writes an event has its turn: where conditions never end,
nobody would hear of anything else."""

BRIEF_SECONDS = 3.0
"""While a pod is so young it is not told that its claims do not exist: mostly they are on their way."""

WRITES_AT_ONCE = 4
MOST_NAMES = 8
LEAST_FORGOTTEN = 1_000

_NEEDS_SOMEBODY = frozenset(
    {
        Reason.INVALID_CLAIM,
        Reason.UNKNOWN_QUEUE,
        Reason.NO_MATCHING_DEVICES,
        Reason.FRACTION_REFUSED,
        Reason.CLAIM_ELSEWHERE,
        Reason.DEVICE_EVICTED,
        Reason.BINDING_FAILED,
        Reason.DEVICE_HELD_TWICE,
        Reason.HAND_PLACED,
    }
)
"""Reasons that do not go away by waiting: their events are Warnings."""

Describe = Callable[[Verdict], str]


class Reporter:
    """Collects what is to be told (`report`) and writes it in the background (`run`)."""

    def __init__(
        self,
        writer: Writer,
        describe: Describe,
        *,
        clock: Clock,
        randomness: random.Random,
        instance: str,
    ) -> None:
        self._writer = writer
        self._describe = describe
        self._clock = clock
        self._events = Events(writer.client, clock=clock, randomness=randomness, instance=instance)
        self._conditions: dict[str, Told] = {}
        self._written: dict[str, float] = {}
        self._told: set[str] = set()
        self._looked_at: dict[int, Pod] = {}
        self._forget_at = LEAST_FORGOTTEN
        self._more = asyncio.Event()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many conditions and how many events wait to be written."""
        return len(self._conditions), len(self._events)

    def report(self, snapshot: Snapshot, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        """Take note of a plan and of how its actions ended; returns at once."""
        ended = {outcome.decision.id: outcome for outcome in outcomes}
        leaving = departures(snapshot, plan)
        self._tell_leaving(snapshot, outcomes)
        for decision in plan.decisions:
            for wanted in self._wanted(decision, ended.get(decision.id), leaving):
                self._want(wanted)
        self._tell_bound(snapshot)
        self._forget(snapshot)
        if self._conditions or len(self._events):
            self._more.set()

    def _tell_leaving(self, snapshot: Snapshot, outcomes: Sequence[Outcome]) -> None:
        evicting = [
            outcome.decision
            for outcome in outcomes
            if any(isinstance(action, Evict) for action in outcome.decision.actions)
        ]
        if not evicting:
            return
        before = {pod.metadata.uid: pod for pod in snapshot.pods}
        self._told &= before.keys()
        for decision in evicting:
            for event in told(decision, before, self._writer.mirror, self._describe, self._told):
                self._events.add(event)

    def _wanted(self, decision: Decision, outcome: Outcome | None, leaving: ByNode) -> Iterator[Told]:
        if outcome is None and decision.actions:
            # It was refused and is left alone for a while: what was said about that holds.
            return
        if outcome is not None and outcome.refused:
            message = str(outcome.problem)
            for ref in decision.pods:
                self._events.add(Event(ref, "Warning", "WriteRefused", "Place", message))
                yield Told(ref, "False", "WriteRefused", message)
        elif decision.verdict is not None:
            message = self._describe(decision.verdict)
            if decision.verdict.reason is Reason.FRACTION_REFUSED and decision.verdict.fix is not None:
                message = f"{message}; fix: {fix_sentence(decision.verdict.fix)}"
            spots = {spot.pod.uid: spot for spot in decision.promised}
            for ref in decision.pods:
                spot = spots.get(ref.uid)
                if spot is not None:
                    told_where = promise(spot, message, leaving)
                    yield Told(ref, "False", decision.verdict.reason.value, told_where)
                    continue
                yield Told(ref, "False", decision.verdict.reason.value, message)
        elif outcome is not None and outcome.problem is None:
            for placement in decision.placements:
                given = _devices(decision, placement)
                message = f"placed on node {placement.node}{given}"
                if placement.pin or self._waited(placement.pod):
                    yield Told(placement.pod, "True", "Placed", message)
                else:
                    # The event tells it; a condition of a pod that never waited is a write for nothing.
                    self._events.add(Event(placement.pod, "Normal", "Placed", "Place", message))

    def _waited(self, ref: ObjectRef) -> bool:
        """Whether the pod has been told anything, or is about to be."""
        pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
        return (
            ref.uid in self._conditions
            or ref.uid in self._written
            or (pod is not None and placed(pod) is not None)
        )

    def _want(self, wanted: Told) -> None:
        pod = self._writer.mirror.get(Pod, wanted.pod.namespace, wanted.pod.name)
        if pod is None or pod.metadata.uid != wanted.pod.uid or pod.finished:
            return
        if pod.spec.node_name and wanted.status == "False" and wanted.reason != Reason.HAND_PLACED.value:
            return
        now = placed(pod)
        if now is None and wanted.reason == Reason.WAITING_FOR_CLAIMS.value and self._is_new(pod):
            return
        if now is not None and (now.status, now.reason, now.message) == (
            wanted.status,
            wanted.reason,
            wanted.message,
        ):
            self._conditions.pop(pod.metadata.uid, None)
            return
        under_way = self._conditions.get(pod.metadata.uid)
        if under_way is not None and (under_way.status, under_way.reason) == (wanted.status, wanted.reason):
            self._conditions[pod.metadata.uid] = wanted
            return
        same = now is not None and (now.status, now.reason) == (wanted.status, wanted.reason)
        last = self._written.get(pod.metadata.uid)
        if same and last is not None and self._clock.monotonic() - last < WORDING_SECONDS:
            return
        # Of a promise the pod may have been told before anybody left (`evictions`).
        if not same or (last is None and wanted.reason == Reason.ROOM_PROMISED.value):
            warning = wanted.reason in _NEEDS_SOMEBODY or wanted.reason == "WriteRefused"
            self._events.add(
                Event(wanted.pod, "Warning" if warning else "Normal", wanted.reason, "Place", wanted.message)
            )
        self._conditions[pod.metadata.uid] = wanted

    def _is_new(self, pod: Pod) -> bool:
        created = pod.metadata.creation_timestamp
        if created is None:
            return False
        return 0.0 <= (self._clock.now() - created).total_seconds() < BRIEF_SECONDS

    def _tell_bound(self, snapshot: Snapshot) -> None:
        """Pods that were placed by a run that ended before it could say so."""
        # Of tens of thousands of pods few are new each time. The pods are kept, so that no identity is used
        # again while it is remembered.
        before, looked_at = self._looked_at, {id(pod): pod for pod in snapshot.pods}
        for identity in looked_at.keys() - before.keys():
            pod = looked_at[identity]
            if not pod.spec.node_name:
                continue
            condition = placed(pod)
            if condition is None or condition.reason == Reason.HAND_PLACED.value:
                continue
            if condition.status == "False":
                noted = pod.metadata.annotations.get(GROUPS_ANNOTATION, "")
                given = _with([f"a part of {name}" for name in noted.split(",") if name])
                self._want(Told(pod.ref, "True", "Placed", f"placed on node {pod.spec.node_name}{given}"))
        self._looked_at = looked_at

    def _forget(self, snapshot: Snapshot) -> None:
        """Forget when pods were written to that are gone, each time that as many have come to be known."""
        if len(self._written) < self._forget_at:
            return
        uids = {pod.metadata.uid for pod in snapshot.pods}
        self._written = {uid: at for uid, at in self._written.items() if uid in uids}
        self._forget_at = 2 * len(self._written) + LEAST_FORGOTTEN

    async def run(self) -> None:
        """Write what is to be told, until cancelled."""
        slots = asyncio.Semaphore(WRITES_AT_ONCE)
        writes = 0
        async with asyncio.TaskGroup() as group:
            while True:
                await self._more.wait()
                await slots.acquire()
                writes += 1
                if self._conditions and (writes % EVENT_EVERY or not len(self._events)):
                    uid = next(iter(self._conditions))
                    work: Coroutine[Any, Any, object] = self._write_condition(self._conditions.pop(uid))
                elif len(self._events):
                    work = self._events.write_one()
                else:
                    slots.release()
                    self._more.clear()
                    continue
                group.create_task(work).add_done_callback(lambda _: slots.release())
                rate = WRITES_PER_SECOND_BESIDE if self._writer.acting else WRITES_PER_SECOND
                await self._clock.sleep(1.0 / rate)

    async def _write_condition(self, told: Told) -> None:
        self._written[told.pod.uid] = self._clock.monotonic()
        try:
            await write(self._writer, told)
        except Failure as error:
            # The next report finds that the condition still differs.
            _log.debug("condition of %s: %s", told.pod, error)


def _devices(decision: Decision, placement: Placement) -> str:
    """` with gpu-0, gpu-1`: what the decision gives this pod, "" if nothing."""
    names = [
        result.device
        for action in decision.actions
        if isinstance(action, Allocate)
        and any(consumer.uid == placement.pod.uid for consumer in action.consumers)
        for result in action.allocation.devices.results
    ]
    return _with([*names, *(f"a part of {name}" for name in placement.groups)])


def _with(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f" with {', '.join(names[:MOST_NAMES])}{more}"
