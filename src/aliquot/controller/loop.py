"""Wait for a change, decide, record, enact, report; again."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from aliquot.controller.enact import Enactor
from aliquot.controller.health import Pulse
from aliquot.controller.live import Live
from aliquot.controller.metrics import Metrics
from aliquot.controller.outcomes import HeldBackError, Outcome
from aliquot.kube.backoff import Backoff
from aliquot.kube.clock import Clock
from aliquot.kube.mirror import Mirror
from aliquot.model.core import DRIVERS_CONFIG_MAP, Pod
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy, ownership

_log = logging.getLogger(__name__)

QUIET_SECONDS = 0.005
"""A change is acted on when nothing more has come for so long ..."""

GATHER_SECONDS = 0.05
"""... or so long after it at the latest: what is created together is decided together."""

IDLE_SECONDS = 30.0
"""Decide again after so long without any change."""

RETRY_SECONDS = 1.0
MOST_RETRY_SECONDS = 120.0

MOST_BUDGET_SECONDS = 10.0
"""A disruption budget is asked again after so long at the latest."""

MONEY_SECONDS = 5.0
"""Decide again after so long while somebody waits for money: no watch tells that there is more of it."""

MOST_REST_SECONDS = 0.25

REST_SECONDS = 0.15
"""After something was carried out no decision is made for so long at the least: what was written comes back
as changes, and while pods stream in it costs less to decide about ten of them once than about each by itself.
"""

HANDOVER_SECONDS = 5.0
"""After a driver was handed over nothing is carried out for so long: every API server must have seen the new
list, and whoever allocated before be done with what was under way, before devices are given out by another.
"""

Decide = Callable[[Snapshot, Policy, datetime], Plan]


class Recorder(Protocol):
    """Where decisions are recorded before they are carried out (`store.journal.Journal`)."""

    def prepare(self, snapshot: Snapshot) -> object:
        """Take in the state of the cluster, so that the first record need not: that takes seconds where the
        cluster is large."""

    def record(self, now: datetime, snapshot: Snapshot, policy: Policy, plan: Plan) -> object:
        """Append what this plan tells anew. Raises an exception when it cannot be kept."""


class Reports(Protocol):
    """Who tells people about plans and their outcomes (`reporting.Reporter`)."""

    def report(self, snapshot: Snapshot, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        """Take note; returns at once."""


class _Delays:
    """Workloads whose decisions the server refused, and until when they are left alone."""

    def __init__(self, clock: Clock, randomness: random.Random) -> None:
        self._clock = clock
        self._randomness = randomness
        self._by_workload: dict[ObjectRef, tuple[Backoff, float]] = {}
        self._asked = float("-inf")

    def without_delayed(self, plan: Plan) -> Plan:
        """The plan without the actions of workloads that are left alone at present."""
        workloads = {decision.workload for decision in plan.decisions}
        self._by_workload = {ref: found for ref, found in self._by_workload.items() if ref in workloads}
        now = self._asked = self._clock.monotonic()
        delayed = {ref for ref, (_, until) in self._by_workload.items() if until > now}
        if not delayed:
            return plan
        decisions = tuple(
            msgspec.structs.replace(decision, actions=()) if decision.workload in delayed else decision
            for decision in plan.decisions
        )
        return msgspec.structs.replace(plan, decisions=decisions)

    def note(self, outcome: Outcome) -> None:
        workload = outcome.decision.workload
        if not outcome.refused:
            self._by_workload.pop(workload, None)
            return
        cap = MOST_BUDGET_SECONDS if isinstance(outcome.problem, HeldBackError) else MOST_RETRY_SECONDS
        backoff, _ = self._by_workload.get(
            workload, (Backoff(self._randomness, first=RETRY_SECONDS, cap=cap), 0.0)
        )
        self._by_workload[workload] = (backoff, self._clock.monotonic() + backoff.next())

    def next(self) -> float | None:
        """Seconds until the first workload may be tried again that could not be with the last plan. Others
        may have had nothing to be tried.
        """
        due = [until for _, until in self._by_workload.values() if until > self._asked]
        return max(0.0, min(due) - self._clock.monotonic()) if due else None


class Loop:
    """The controller's one loop. `run` it while leading."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        decide: Decide,
        policy: Policy,
        enactor: Enactor,
        recorder: Recorder,
        reports: Reports,
        live: Live,
        clock: Clock,
        randomness: random.Random,
        metrics: Metrics | None = None,
        pulse: Pulse | None = None,
        funds: Callable[[Snapshot], Snapshot] | None = None,
    ) -> None:
        """funds: adds to a snapshot what money there is; without it money is no matter."""
        self._metrics = metrics or Metrics(CollectorRegistry())
        self._pulse = pulse or Pulse(clock)
        self._mirror = mirror
        self._decide = decide
        self._policy = policy
        self._enactor = enactor
        self._recorder = recorder
        self._reports = reports
        self._live = live
        self._clock = clock
        self._delays = _Delays(clock, randomness)
        self._funds = funds
        self._for_money = False
        self._again = False
        self._unowned = False
        self._entries: frozenset[tuple[str, str]] | None = None
        self._handed_over = float("-inf")
        self._unrecorded_since: float | None = None

    async def run(self) -> None:
        """Until cancelled. Raises NotLeadingError when leadership is lost on the way."""
        try:
            await asyncio.to_thread(self._recorder.prepare, self._mirror.snapshot())
        except Exception:
            # The first record will fail in the same way, and say so.
            _log.exception("the journal could not be prepared")
        seen = -1
        while True:
            await self._wait(seen)
            seen = self._mirror.version
            started = self._clock.monotonic()
            carried_out = await self.cycle()
            # On a large cluster something changes all the time: leave half of it for watches and the page.
            rest = min(self._clock.monotonic() - started, MOST_REST_SECONDS)
            await self._clock.sleep(max(rest, REST_SECONDS) if carried_out else rest)

    async def cycle(self) -> tuple[Outcome, ...]:
        """One round: decide on what is known now, record, enact, report."""
        self._pulse.beat()
        snapshot = self._mirror.snapshot()
        if self._funds is not None:
            snapshot = self._funds(snapshot)
        now = self._clock.now()
        if not self._owns_devices(snapshot):
            self._live.publish(snapshot, Plan())
            self._metrics.cycle("unowned")
            return ()
        if self._clock.monotonic() - self._handed_over < HANDOVER_SECONDS:
            self._live.publish(snapshot, Plan())
            self._again = True
            self._metrics.cycle("handover")
            return ()
        # In a thread: deciding on a large cluster takes a while, and watches and the lease must go on.
        # Nothing is written meanwhile, so the snapshot misses only what others do, and against that every
        # write is guarded.
        self._again = False
        began = self._clock.monotonic()
        try:
            plan = await asyncio.to_thread(self._decide, snapshot, self._policy, now)
        except Exception:
            # Running pods, watches and the page do not depend on the next decision: a fault in it is told,
            # not turned into an outage.
            _log.exception("no decision could be made")
            self._again = True
            self._metrics.cycle("undecided")
            return ()
        decided = self._clock.monotonic()
        self._metrics.phase("decide", decided - began)
        self._live.publish(snapshot, plan)
        todo = self._delays.without_delayed(plan)
        try:
            await asyncio.to_thread(self._recorder.record, now, snapshot, self._policy, plan)
        except Exception:
            # What is not recorded is not done: the journal is what people are answered from.
            _log.exception("the decision could not be recorded and is not carried out")
            self._again = True
            self._unrecorded_since = self._unrecorded_since or decided
            self._metrics.journal_lag(self._clock.monotonic() - self._unrecorded_since)
            self._metrics.cycle("unrecorded")
            return ()
        self._unrecorded_since = None
        self._metrics.journal_lag(0.0)
        recorded = self._clock.monotonic()
        self._metrics.phase("record", recorded - decided)
        unseen = [
            problem
            for problem in self._mirror.problems
            if problem.kind == "ResourceClaim" and problem.subject
        ]
        if unseen:
            # What such a claim holds is not known, so nothing can be given out safely.
            _log.error("nothing is carried out: claims cannot be read: %s", unseen[:3])
            self._again = True
            self._metrics.cycle("unread")
            return ()
        outcomes = await self._enactor.enact(todo, snapshot)
        self._metrics.phase("enact", self._clock.monotonic() - recorded)
        self._metrics.cycle("done")
        written = self._clock.now()
        for outcome in outcomes:
            self._metrics.outcome(outcome, partial(self._mirror.get, Pod), written)
            self._delays.note(outcome)
            if outcome.problem is not None:
                _log.info("%s: %s", outcome.decision.workload, outcome.problem)
                self._again = True
        if any(item.verdict and item.verdict.reason is Reason.NODE_SETTLING for item in plan.decisions):
            # It passes by itself, with nothing that a watch would tell.
            self._again = True
        self._for_money = any(
            item.verdict and item.verdict.reason is Reason.BUDGET_EXHAUSTED for item in plan.decisions
        )
        self._reports.report(snapshot, plan, outcomes)
        return outcomes

    def _owns_devices(self, snapshot: Snapshot) -> bool:
        """Whether the policy or the cluster names the devices that are Aliquot's.

        Without the ConfigMap nothing keeps another allocator from giving out the same devices.
        """
        owned = ownership(snapshot, self._policy)
        owns = owned is not None
        entries = owned.entries if owned is not None else frozenset()
        if self._entries is not None and entries - self._entries:
            _log.info("devices were handed over: nothing is carried out for %.0f s", HANDOVER_SECONDS)
            self._handed_over = self._clock.monotonic()
        self._entries = entries
        if not owns and not self._unowned:
            _log.error("nothing is decided: ConfigMap %s/%s is missing", *DRIVERS_CONFIG_MAP)
        self._unowned = not owns
        return owns

    async def _wait(self, seen: int) -> None:
        """Return when there is something to decide on."""
        limit = IDLE_SECONDS
        delay = self._delays.next()
        if delay is not None:
            limit = min(limit, delay)
        if self._for_money:
            limit = min(limit, MONEY_SECONDS)
        if self._again:
            limit = min(limit, RETRY_SECONDS)
        try:
            async with asyncio.timeout(limit):
                version = await self._mirror.wait_for_change(seen)
        except TimeoutError:
            return
        until = self._clock.monotonic() + GATHER_SECONDS
        while self._clock.monotonic() < until:
            await self._clock.sleep(QUIET_SECONDS)
            if self._mirror.version == version:
                return
            version = self._mirror.version
