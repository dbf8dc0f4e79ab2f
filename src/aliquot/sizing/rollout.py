"""Recommendations applied by themselves, where a policy says so: a few at a time, watched, and rolled back.

    proposed --apply--> watching --well for long enough--> settled
                            |                                 |
                            +--it suffers--> rolled back <----+ (it suffers later)

Whoever enacts it calls `advance` again and again with the state that the last call gave, and does what the
actions say. Equal arguments give equal answers, and there is no other state, so that a restart or a second
caller with the same state changes nothing.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from aliquot.model.meta import ObjectRef
from aliquot.sizing.choosing import Advice, Recommendation
from aliquot.sizing.judging import Level

Key = tuple[str, str, str]
"""(kind, namespace, name) of a workload."""

HOUR_MS = 3_600_000
_LEVELS = tuple(Level)


class RolloutPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Where recommendations may be applied without anybody asking, and how fast.

    queues: in which; none by default. confidence: at least so much (0 to 1). risk: at most so much (low,
    medium, high). advice: which kinds. at_once: workloads that may be watched at one time; per_day: changes
    in 24 hours, roll-backs not counted. watch_seconds: for how long a change is watched before it counts as
    settled. cool_down_seconds: for so long a workload is left alone after a change; after a roll-back twice
    as long, and twice that after each further one. pause_after: so many roll-backs within 24 hours stop all
    further changes. dry_run: only tell what would be changed; what was changed before is watched and rolled
    back all the same.

    A workload suffers when a container ran out of memory or its pods fail, when it uses more than
    memory_percent of its part, or when it is slower than slower_percent allows against what it did before.
    """

    queues: tuple[str, ...] = ()
    confidence: float = 0.7
    risk: Level = Level.LOW
    advice: tuple[Advice, ...] = (Advice.CHANGE, Advice.GROW)
    at_once: int = 1
    per_day: int = 10
    watch_seconds: int = 24 * 3600
    cool_down_seconds: int = 7 * 24 * 3600
    pause_after: int = 3
    memory_percent: int = 98
    slower_percent: int = 20
    dry_run: bool = True


class Phase(enum.StrEnum):
    WATCHING = "Watching"
    SETTLED = "Settled"
    ROLLED_BACK = "RolledBack"


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was done to a workload. before, after: labels of the parts it had and was given. since_ms: when it
    came into its phase; applied_ms: when the change was applied. undone: how often it was rolled back so
    far."""

    workload: ObjectRef
    queue: str
    before: str
    after: str
    phase: Phase
    applied_ms: int
    since_ms: int
    undone: int = 0
    why: str = ""


class Proposal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A recommendation as far as rolling out needs it."""

    workload: ObjectRef
    queue: str
    before: str
    after: str
    advice: Advice
    confidence: float
    risk: Level

    @property
    def key(self) -> Key:
        return (self.workload.kind, self.workload.namespace, self.workload.name)

    @staticmethod
    def of(found: Recommendation) -> "Proposal | None":
        """None where nothing should change, or nobody knows what to go back to."""
        had, part = found.profile.had, found.part
        if part is None or had is None or found.risk is None or part.label == had.label:
            return None
        return Proposal(
            workload=found.profile.workload,
            queue=found.profile.queue,
            before=had.label,
            after=part.label,
            advice=found.advice,
            confidence=found.confidence.value,
            risk=found.risk.level,
        )


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a workload does since its change. out_of_memory: containers that ended so; failed: pods that failed
    or cannot start; memory_percent: highest use of its part; slower_percent: how much less it gets done than
    before (of requests, steps or tokens); each None where nobody knows."""

    out_of_memory: int = 0
    failed: int = 0
    memory_percent: int | None = None
    slower_percent: int | None = None

    def suffers(self, policy: RolloutPolicy) -> str:
        """Why it suffers; "" if it does not."""
        if self.out_of_memory:
            return f"{self.out_of_memory} containers ran out of memory"
        if self.failed:
            return f"{self.failed} pods fail"
        if self.memory_percent is not None and self.memory_percent > policy.memory_percent:
            return f"it uses {self.memory_percent} % of its memory"
        if self.slower_percent is not None and self.slower_percent > policy.slower_percent:
            return f"it is {self.slower_percent} % slower"
        return ""


class Apply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="Apply"):
    """Change the workload's claim template or pod template so that it gets this part."""

    workload: ObjectRef
    part: str


class RollBack(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="RollBack"):
    """Give it back the part that it had."""

    workload: ObjectRef
    part: str
    why: str


Action: TypeAlias = Apply | RollBack


class Held(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A proposal that is not applied now, and why."""

    workload: ObjectRef
    why: str


class Advance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state from now on, what to do, and what is held back."""

    state: tuple[Rollout, ...]
    actions: tuple[Action, ...]
    held: tuple[Held, ...]


def advance(
    state: Iterable[Rollout],
    proposals: Sequence[Proposal],
    health: Mapping[Key, Health],
    policy: RolloutPolicy,
    now_ms: int,
) -> Advance:
    """What to do now. Those that suffer go back first, also with a budget that is used up; then those that
    did well are settled; then proposals are applied as the policy allows, the surest first."""
    known = {_key(item): item for item in state}
    actions: list[Action] = []
    for key, item in sorted(known.items()):
        if item.phase is Phase.ROLLED_BACK:
            continue
        why = health.get(key, Health()).suffers(policy)
        if why:
            known[key] = msgspec.structs.replace(
                item, phase=Phase.ROLLED_BACK, since_ms=now_ms, undone=item.undone + 1, why=why
            )
            actions.append(RollBack(workload=item.workload, part=item.before, why=why))
        elif item.phase is Phase.WATCHING and now_ms - item.applied_ms >= policy.watch_seconds * 1000:
            known[key] = msgspec.structs.replace(item, phase=Phase.SETTLED, since_ms=now_ms)
    held: list[Held] = []
    for proposal in sorted(proposals, key=lambda item: (-item.confidence, item.key)):
        why = _why_not(proposal, known, policy, now_ms)
        if why:
            held.append(Held(workload=proposal.workload, why=why))
            continue
        before = known.get(proposal.key)
        known[proposal.key] = Rollout(
            workload=proposal.workload,
            queue=proposal.queue,
            before=proposal.before,
            after=proposal.after,
            phase=Phase.WATCHING,
            applied_ms=now_ms,
            since_ms=now_ms,
            undone=before.undone if before is not None else 0,
        )
        actions.append(Apply(workload=proposal.workload, part=proposal.after))
    return Advance(state=tuple(known[key] for key in sorted(known)), actions=tuple(actions), held=tuple(held))


def _why_not(proposal: Proposal, known: Mapping[Key, Rollout], policy: RolloutPolicy, now_ms: int) -> str:
    if proposal.queue not in policy.queues:
        return f"queue {proposal.queue or '(none)'} is not among those of the policy"
    if proposal.advice not in policy.advice:
        return f"advice {proposal.advice} is not applied by itself"
    if proposal.confidence < policy.confidence:
        return f"confidence {proposal.confidence:.2f} is below {policy.confidence:g}"
    if _LEVELS.index(proposal.risk) > _LEVELS.index(policy.risk):
        return f"risk {proposal.risk} is above {policy.risk}"
    own = known.get(proposal.key)
    if own is not None:
        if own.phase is Phase.WATCHING:
            return "its last change is still watched"
        if own.after == proposal.after and own.phase is Phase.SETTLED:
            return "it was applied"
        rest = own.since_ms + _cool_down(own, policy) - now_ms
        if rest > 0:
            return f"it is left alone for {-(-rest // 1000)} s more"
    day = now_ms - 24 * HOUR_MS
    undone = sum(1 for item in known.values() if item.phase is Phase.ROLLED_BACK and item.since_ms > day)
    if undone >= policy.pause_after:
        return f"{undone} changes were rolled back within a day"
    watched = sum(1 for item in known.values() if item.phase is Phase.WATCHING)
    if watched >= policy.at_once:
        return f"{watched} changes are watched, {policy.at_once} may be"
    if sum(1 for item in known.values() if item.applied_ms > day) >= policy.per_day:
        return f"{policy.per_day} changes were made within a day"
    return ""


def _cool_down(item: Rollout, policy: RolloutPolicy) -> int:
    """ms: once after a change, twice as long after the first roll-back, four times after the second ..."""
    if item.phase is Phase.ROLLED_BACK:
        return policy.cool_down_seconds * 1000 << min(item.undone, 16)
    return policy.cool_down_seconds * 1000


def _key(item: Rollout) -> Key:
    return (item.workload.kind, item.workload.namespace, item.workload.name)
