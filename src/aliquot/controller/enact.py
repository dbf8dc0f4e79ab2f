"""Carrying out a plan.

The order makes every crash harmless. Within a decision all claims are written before any gate is lifted: a
crash leaves pods behind their gates and claims that the next decision completes or takes back. Between
decisions nothing depends on order but what is written to one claim, and allocations on what was taken back
before: that goes first, and where it fails nothing is given out that would need it.
"""

import asyncio
import bisect
import logging
from collections.abc import Awaitable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

import msgspec

from aliquot.controller.claims import Claims
from aliquot.controller.evictions import Evictions
from aliquot.controller.outcomes import ConflictError, EnactError, Outcome, RefusedError
from aliquot.controller.pods import Pods
from aliquot.controller.pool_claims import PoolClaims, pools_of
from aliquot.controller.stale_gangs import StaleGangs
from aliquot.controller.writing import Writer
from aliquot.dra.checker import check_cluster
from aliquot.kube.config import ConfigError
from aliquot.kube.credentials import CredentialError
from aliquot.kube.decoding import UndecodableError
from aliquot.kube.errors import ApiError, TransportError
from aliquot.model.core import Pod
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Admit, Allocate, Deallocate, Decision, Evict, Plan, Reserve, Show

_log = logging.getLogger(__name__)

DECISIONS_AT_A_TIME = 16
"""Of many decisions the first are carried out to the end before the last are begun: kube-scheduler binds the
pods of those while the claims of these are written. All at once, no pod would be let go before the last claim
of the plan is written.
"""

ClaimAction: TypeAlias = Allocate | Reserve | Deallocate
Key = tuple[str, str]


class _Step:
    """One write to a claim, and the one before it in the plan that it builds on."""

    def __init__(self, action: ClaimAction, before: "_Step | None") -> None:
        self.action = action
        self.before = before
        self.result: asyncio.Future[ResourceClaim | None] = asyncio.get_running_loop().create_future()

    def resolve(self, claim: ResourceClaim | None) -> None:
        if not self.result.done():
            self.result.set_result(claim)

    async def base(self) -> ResourceClaim | None:
        """The claim as the step before left it; None for the first. Raises ConflictError if that failed."""
        if self.before is None:
            return None
        claim = await self.before.result
        if claim is None:
            raise ConflictError(self.action.claim, "an earlier write to it failed")
        return claim


class Enactor:
    """Carries out plans, one after the other; within a plan the decisions run side by side."""

    def __init__(
        self, writer: Writer, patience: float | None = None, at_a_time: int = DECISIONS_AT_A_TIME
    ) -> None:
        """patience: for how many seconds a disruption budget's refusal is respected; None: for ever.
        at_a_time: decisions that are carried out side by side.
        """
        self._at_a_time = at_a_time
        self._claims = Claims(writer)
        self._pods = Pods(writer)
        self._evictions = Evictions(writer, patience)
        self._stale_gangs = StaleGangs(writer)
        self._writer = writer
        self._clock = writer.client.clock
        self._pool_claims = PoolClaims()

    async def enact(self, plan: Plan, snapshot: Snapshot) -> tuple[Outcome, ...]:
        """Carry out the plan made from `snapshot`; one outcome for each decision that has actions.

        Raises NotLeadingError.
        """
        await self._stale_gangs.note(plan.staleness)
        decisions = [decision for decision in plan.decisions if decision.actions]
        if not decisions:
            return ()
        with self._writer.act():
            return await self._carry_out(decisions, snapshot)

    async def _carry_out(self, decisions: list[Decision], snapshot: Snapshot) -> tuple[Outcome, ...]:
        violations = self._new_violations(snapshot, decisions)
        if violations:
            _log.error("the plan is not carried out: it would break %s", violations)
            return tuple(
                Outcome(decision, RefusedError(decision.workload, f"the plan would break {violations}"))
                for decision in decisions
            )
        steps = _steps(decisions)
        now = self._clock.now()
        unreleased = await self._release(decisions, steps, now)
        if unreleased:
            left = [_without(decision, unreleased) for decision in decisions]
            violations = self._new_violations(snapshot, left)
            if violations:
                _log.info("nothing is given out in this round: %s", next(iter(unreleased.values())))
                return tuple(
                    Outcome(
                        decision,
                        unreleased.get(decision.id)
                        or ConflictError(decision.workload, "needs devices that were not given back"),
                    )
                    for decision in decisions
                )
        leaving = any(isinstance(action, Evict) for decision in decisions for action in decision.actions)
        pods = {pod.key: pod for pod in snapshot.pods} if leaving else {}
        expected = _Expected(snapshot, decisions)
        turns = asyncio.Semaphore(self._at_a_time)

        async def in_turn(decision: Decision) -> EnactError | None:
            # In the order of the plan: a write to a claim waits only for one of an earlier decision.
            async with turns:
                held_up = unreleased.get(decision.id)
                work = self._enact(decision, steps[decision.id], now, held_up, pods, expected)
                return await self._attempt(work, decision.workload)

        done = await asyncio.gather(*(in_turn(decision) for decision in decisions))
        return tuple(Outcome(decision, problem) for decision, problem in zip(decisions, done, strict=True))

    def _new_violations(self, snapshot: Snapshot, decisions: list[Decision]) -> str:
        """Rules that would be broken by the plan and are not broken already, as text; "" for none.

        The last line of defence against a fault in the decision itself: it uses nothing of the allocator. No
        rule about devices reaches beyond a pool.
        """
        planned: dict[Key, Allocate | None] = {}
        for decision in decisions:
            for action in decision.actions:
                if isinstance(action, Allocate):
                    planned[action.claim.namespace, action.claim.name] = action
                elif isinstance(action, Deallocate):
                    planned[action.claim.namespace, action.claim.name] = None
        pools = {
            (result.driver, result.pool)
            for action in planned.values()
            if action is not None
            for result in action.allocation.devices.results
        }
        if not pools:
            return ""
        self._pool_claims.follow(snapshot)
        slices = tuple(
            item for item in snapshot.resource_slices if (item.spec.driver, item.spec.pool.name) in pools
        )
        claims = {claim.key: claim for claim in self._pool_claims.of(pools)}
        before = Snapshot(
            resource_claims=tuple(claims.values()),
            resource_slices=slices,
            device_classes=snapshot.device_classes,
            device_taint_rules=snapshot.device_taint_rules,
        )
        for key, planned_one in planned.items():
            claim = claims.get(key) or self._known(snapshot, key)
            if claim is not None:
                claims[key] = _with_allocation(claim, planned_one)
        after = msgspec.structs.replace(
            before,
            resource_claims=tuple(claims[key] for key in sorted(claims) if pools_of(claims[key]) & pools),
        )
        wrong = check_cluster(after)
        if not wrong:
            return ""
        known = {(violation.rule, violation.subject, violation.claims) for violation in check_cluster(before)}
        new = [one for one in wrong if (one.rule, one.subject, one.claims) not in known]
        return "; ".join(f"{one.rule} {one.subject} ({', '.join(one.claims)})" for one in new[:3])

    @staticmethod
    def _known(snapshot: Snapshot, key: Key) -> ResourceClaim | None:
        """The claim as the snapshot has it."""
        claims = snapshot.resource_claims
        at = bisect.bisect_left(claims, key, key=lambda claim: claim.key)
        return claims[at] if at < len(claims) and claims[at].key == key else None

    async def _release(
        self, decisions: list[Decision], steps: dict[str, list["_Step"]], now: datetime
    ) -> dict[str, EnactError]:
        """Carry out every Deallocate; the ids of the decisions for which that failed."""
        todo = [
            (decision, step)
            for decision in decisions
            for step in steps[decision.id]
            if isinstance(step.action, Deallocate)
        ]
        problems = await asyncio.gather(
            *(self._attempt(self._write(step, now), step.action.claim) for _, step in todo)
        )
        return {
            decision.id: problem
            for (decision, _), problem in zip(todo, problems, strict=True)
            if problem is not None
        }

    async def _attempt(self, work: Awaitable[object], subject: ObjectRef) -> EnactError | None:
        try:
            await work
        except EnactError as error:
            return error
        except (ApiError, TransportError, UndecodableError, CredentialError, ConfigError) as error:
            return RefusedError(subject, str(error))
        return None

    async def _enact(
        self,
        decision: Decision,
        steps: list[_Step],
        now: datetime,
        unreleased: EnactError | None,
        pods: Mapping[Key, Pod],
        expected: "_Expected",
    ) -> None:
        if unreleased is not None:
            for step in steps:
                step.resolve(None)
            raise unreleased
        writes = [step for step in steps if not isinstance(step.action, Deallocate)]
        try:
            problems = await asyncio.gather(
                *(self._attempt(self._write(step, now), step.action.claim) for step in writes)
            )
        finally:
            for step in writes:
                step.resolve(None)
        for problem in problems:
            if problem is not None:
                raise problem
        for action in decision.actions:
            if isinstance(action, Admit):
                await self._pods.admit(action, expected)
            elif isinstance(action, Show):
                await self._pods.show(action)
        if any(isinstance(action, Evict) for action in decision.actions):
            await self._evictions.carry_out(decision, pods)

    async def _write(self, step: _Step, now: datetime) -> None:
        claim: ResourceClaim | None = None
        try:
            base = await step.base()
            match step.action:
                case Allocate() as action:
                    claim = await self._claims.allocate(action, base, now)
                case Reserve() as action:
                    claim = await self._claims.reserve(action, base)
                case Deallocate() as action:
                    claim = await self._claims.deallocate(action, base)
        finally:
            step.resolve(claim)


def _steps(decisions: list[Decision]) -> dict[str, list[_Step]]:
    """The writes to claims by decision id, each linked to the one before it on the same claim."""
    last: dict[Key, _Step] = {}
    steps: dict[str, list[_Step]] = {}
    for decision in decisions:
        of_decision = steps.setdefault(decision.id, [])
        for action in decision.actions:
            if isinstance(action, Allocate | Reserve | Deallocate):
                key = (action.claim.namespace, action.claim.name)
                step = _Step(action, last.get(key))
                last[key] = step
                of_decision.append(step)
    return steps


class _Expected:
    """Whether a plan counts on a claim being allocated: it allocates it, or found it so.

    Another one that is not allocated has devices of drivers that are not Aliquot's alone.
    """

    def __init__(self, snapshot: Snapshot, decisions: list[Decision]) -> None:
        self._snapshot = snapshot
        self._decisions = decisions

    def __call__(self, claim: Key) -> bool:
        return self._snapshot.ownership is None or claim in self._keys

    @cached_property
    def _keys(self) -> frozenset[Key]:
        given = {
            (action.claim.namespace, action.claim.name)
            for decision in self._decisions
            for action in decision.actions
            if isinstance(action, Allocate)
        }
        claims = self._snapshot.resource_claims
        return frozenset(given.union(claim.key for claim in claims if claim.status.allocation is not None))


def _without(decision: Decision, unreleased: dict[str, EnactError]) -> Decision:
    return msgspec.structs.replace(decision, actions=()) if decision.id in unreleased else decision


def _with_allocation(claim: ResourceClaim, action: Allocate | None) -> ResourceClaim:
    allocation = action.allocation if action else None
    return msgspec.structs.replace(claim, status=msgspec.structs.replace(claim.status, allocation=allocation))
