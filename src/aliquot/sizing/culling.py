"""What becomes of workloads that hold devices and do not use them: told, shrunk, suspended, or sent away.

A rule names queues and steps, each after so long idle. Steps are taken one after the other: a workload is
told before anything else happens to it, and a step that was taken is not taken again until it was busy in
between. Nothing is done about workloads of which it is not known whether they are idle. Rules are tried out
by default (`dry_run`): what they would do is told, and marked so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import msgspec

from aliquot.inventory.amounts import duration
from aliquot.model.meta import ObjectRef
from aliquot.sizing.idle_acts import Act, EvictPods, Mark, Notify, Step, suspension
from aliquot.sizing.idleness import Idleness
from aliquot.sizing.kinds import Kind
from aliquot.usage.provenance import Provenance

EXEMPT = "aliquot.dev/idle-exempt"
"""true, or a time (RFC 3339) until which a workload may be idle; on pods or their owners."""

LEAST_COVERAGE = 0.9

Key = tuple[str, str, str]
"""(kind, namespace, name)."""


_STEPS = tuple(Step)


class IdleStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """step: what. after_seconds: after so long idle."""

    step: Step
    after_seconds: int


class IdleRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """queues: patterns with * and ?. kinds: which kinds of work, all if none is named. steps: what, and when.

    busy_percent: what counts as busy, of a device's time. grace_seconds: from the notice until the next step
    at least. exempt_priority: work of this priority or more is left alone. at_once: how many workloads may be
    suspended or reclaimed within an hour, those of other rules counted. waiting_only: suspend and reclaim
    only while something waits in the cluster. trust_estimates: more than a notice also where use is estimated
    (shared devices). dry_run: only tell what would be done.
    """

    queues: tuple[str, ...] = ("*",)
    kinds: tuple[Kind, ...] = ()
    steps: tuple[IdleStep, ...] = (IdleStep(step=Step.NOTIFY, after_seconds=3600),)
    busy_percent: int = 1
    grace_seconds: int = 3600
    exempt_priority: int | None = None
    at_once: int = 5
    waiting_only: bool = False
    trust_estimates: bool = False
    dry_run: bool = True


class CullingPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The first rule that fits a workload's queue and kind applies."""

    rules: tuple[IdleRule, ...] = ()

    def rule(self, queue: str, kind: Kind) -> IdleRule | None:
        return next(
            (
                rule
                for rule in self.rules
                if any(fnmatchcase(queue, pattern) for pattern in rule.queues)
                and (not rule.kinds or kind in rule.kinds)
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """A workload that holds devices. said: labels and annotations of its pods and owners. pods: those that
    run, in the order in which they would leave; minimum: how many it needs. replicas: of a Deployment or
    StatefulSet. api_version: the workload's; own: its own annotations. ruler: what decides over it in turn
    and is not known itself ("Kind name"), "" if nothing does: it would undo whatever is changed."""

    workload: ObjectRef
    queue: str
    kind: Kind
    priority: int
    idleness: Idleness
    pods: tuple[ObjectRef, ...]
    minimum: int = 0
    replicas: int | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    api_version: str = ""
    own: Mapping[str, str] = field(default_factory=dict)
    ruler: str = ""

    @property
    def key(self) -> Key:
        return (self.workload.kind, self.workload.namespace, self.workload.name)


class Taken(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A step that was taken for a workload, when, and since when it was idle then. dry_run: it was only
    tried out, and counts for nothing once the rule is meant."""

    workload: ObjectRef
    step: Step
    at_ms: int
    idle_since_ms: int
    dry_run: bool = False

    @property
    def mark(self) -> Mark:
        """As it is noted on the workload."""
        return Mark(step=self.step, at=_moment(self.at_ms), idle_since=_moment(self.idle_since_ms))

    @staticmethod
    def marked(holder: Holder) -> "Taken | None":
        """The step that is noted on a workload."""
        mark = Mark.of(holder.own)
        if mark is None:
            return None
        return Taken(
            workload=holder.workload,
            step=mark.step,
            at_ms=round(mark.at.timestamp() * 1000),
            idle_since_ms=round(mark.idle_since.timestamp() * 1000),
        )


class Cull(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A step for one workload. acts: what to do, nothing with dry_run. reason: a sentence."""

    workload: ObjectRef
    queue: str
    step: Step
    idle_seconds: int
    reason: str
    dry_run: bool
    acts: tuple[Act, ...] = ()


class Spared(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An idle workload that is left alone for now, and why."""

    workload: ObjectRef
    idle_seconds: int
    why: str


class Culling(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to do now. taken: the steps from now on, to be given to the next call."""

    culls: tuple[Cull, ...]
    spared: tuple[Spared, ...]
    taken: tuple[Taken, ...]


def culling(
    holders: Iterable[Holder],
    taken: Iterable[Taken],
    policy: CullingPolicy,
    now_ms: int,
    *,
    waiting: int = 0,
    left: int = 0,
) -> Culling:
    """The steps that are due, those that are idle for longest first.

    taken: what earlier calls returned. waiting: how many workloads wait for devices. left: how many were
    suspended or reclaimed within the hour before. A step that was only tried out is remembered as well, so
    that it is told once.
    """
    last: dict[Key, Taken] = {_key(item.workload): item for item in taken}
    culls: list[Cull] = []
    spared: list[Spared] = []
    remembered: dict[Key, Taken] = {}
    everybody = sorted(holders, key=lambda item: (item.idleness.since_ms or now_ms, item.key))
    for holder in everybody:
        rule = policy.rule(holder.queue, holder.kind)
        since = holder.idleness.since_ms
        if rule is None or since is None:
            continue
        before = last.get(holder.key)
        if before is not None and (since > before.at_ms or (before.dry_run and not rule.dry_run)):
            before = None
        if before is not None:
            remembered[holder.key] = before
        idle = holder.idleness.seconds(now_ms)
        step = _due(rule, before, idle, now_ms)
        if step is None:
            continue
        why = _why_not(holder, rule, step, now_ms, waiting, left)
        if why:
            spared.append(Spared(workload=holder.workload, idle_seconds=idle, why=why))
            continue
        acts = _acts(holder, rule, step, idle, now_ms)
        if not acts:
            spared.append(Spared(workload=holder.workload, idle_seconds=idle, why=_cannot(holder, step)))
            continue
        if step in (Step.SUSPEND, Step.RECLAIM):
            left += 1
        remembered[holder.key] = Taken(
            workload=holder.workload, step=step, at_ms=now_ms, idle_since_ms=since, dry_run=rule.dry_run
        )
        culls.append(
            Cull(
                workload=holder.workload,
                queue=holder.queue,
                step=step,
                idle_seconds=idle,
                reason=f"idle for {duration(idle)}: busy {rule.busy_percent} % of a device's time or less",
                dry_run=rule.dry_run,
                acts=() if rule.dry_run else acts,
            )
        )
    kept = tuple(remembered[key] for key in sorted(remembered))
    return Culling(culls=tuple(culls), spared=tuple(spared), taken=kept)


def _due(rule: IdleRule, before: Taken | None, idle: int, now_ms: int) -> Step | None:
    """The next step, if its time has come. A notice comes first, whether the rule names it or not; after one
    step the next waits for the grace."""
    reached = sorted(
        (item for item in rule.steps if item.after_seconds <= idle), key=lambda item: _STEPS.index(item.step)
    )
    if before is None:
        return Step.NOTIFY if reached else None
    if now_ms - before.at_ms < rule.grace_seconds * 1000:
        return None
    done = _STEPS.index(before.step)
    return next((item.step for item in reached if _STEPS.index(item.step) > done), None)


def _why_not(holder: Holder, rule: IdleRule, step: Step, now_ms: int, waiting: int, already: int) -> str:
    exempt = _exempt(holder.said.get(EXEMPT, ""), now_ms)
    if exempt:
        return exempt
    if rule.exempt_priority is not None and holder.priority >= rule.exempt_priority:
        return f"its priority is {holder.priority}"
    if holder.idleness.coverage(now_ms) < LEAST_COVERAGE:
        return f"only {holder.idleness.coverage(now_ms):.0%} of the time was measured"
    if step is Step.NOTIFY:
        return ""
    if holder.idleness.provenance is not Provenance.MEASURED and not rule.trust_estimates:
        return "its use is estimated"
    if step in (Step.SUSPEND, Step.RECLAIM):
        if rule.waiting_only and not waiting:
            return "nothing waits for its devices"
        if already >= rule.at_once:
            return f"{already} others left within the hour"
    return ""


def _exempt(text: str, now_ms: int) -> str:
    if not text or text.lower() == "false":
        return ""
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        # Whoever wrote something meant to be left alone; a word that nobody understands must not cost work.
        return f"{EXEMPT} is {text[:40]!r}"
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return f"{EXEMPT} until {text[:40]}" if until.timestamp() * 1000 > now_ms else ""


def _acts(holder: Holder, rule: IdleRule, step: Step, idle: int, now_ms: int) -> tuple[Act, ...]:
    ref = holder.workload
    if step is Step.NOTIFY:
        return (Notify(workload=ref, message=_notice(rule, idle)),)
    if step is Step.SUSPEND:
        patch = None if holder.ruler else suspension(ref, holder.replicas, now_ms)
        return () if patch is None else (patch,)
    if ref.kind == "Pod" and not holder.ruler:
        # Nothing would make it again: that is no reclaiming but an end.
        return ()
    leaving = holder.pods
    if step is Step.SHRINK:
        leaving = holder.pods[: max(0, len(holder.pods) - max(holder.minimum, 1))]
    return (EvictPods(workload=ref, pods=leaving),) if leaving else ()


def _notice(rule: IdleRule, idle: int) -> str:
    further = sorted(
        (item for item in rule.steps if item.step is not Step.NOTIFY),
        key=lambda item: _STEPS.index(item.step),
    )
    text = f"its devices have been idle for {duration(idle)}"
    if not further:
        return text
    wait = max(rule.grace_seconds, further[0].after_seconds - idle)
    return (
        f"{text}; unless it works again, the step {further[0].step} follows in {duration(wait)} or later; "
        f"the annotation {EXEMPT}=true has it left alone"
    )


def _cannot(holder: Holder, step: Step) -> str:
    if step is Step.SHRINK and holder.workload.kind != "Pod":
        return "it has no pods beyond its minimum"
    if holder.ruler:
        return f"it cannot {step}: {holder.ruler} decides over it"
    return f"it cannot {step} ({holder.key[0]})"


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _key(ref: ObjectRef) -> Key:
    return (ref.kind, ref.namespace, ref.name)
