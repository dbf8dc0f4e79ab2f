"""What becomes of workloads that hold devices and do not use them: told, shrunk, suspended, or sent away.

A rule names queues and steps, each after so long idle. Steps are taken one after the other: a workload is
told before anything else happens to it, and a step that was taken is not taken again until it was busy in
between. Nothing is done about workloads of which it is not known whether they are idle. Rules are tried out
by default (`dry_run`): what they would do is told, and marked so.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import msgspec

from aliquot.model.meta import ObjectRef
from aliquot.sizing.idleness import Idleness
from aliquot.sizing.kinds import Kind
from aliquot.usage.provenance import Provenance

EXEMPT = "aliquot.dev/idle-exempt"
"""true, or a time (RFC 3339) until which a workload may be idle; on pods or their owners."""

REPLICAS = "aliquot.dev/idle-replicas"
"""On a workload that was scaled to 0: how many replicas it had."""

NOTEBOOK_STOPPED = "kubeflow-resource-stopped"
"""On a Kubeflow Notebook: its controller scales it to 0 while this annotation is there."""

LEAST_COVERAGE = 0.9

Key = tuple[str, str, str]
"""(kind, namespace, name)."""


class Step(enum.StrEnum):
    """What may be done, from the mildest."""

    NOTIFY = "notify"
    SHRINK = "shrink"
    """Pods beyond the gang's minimum leave."""
    SUSPEND = "suspend"
    """It stops until somebody starts it again: Jobs and alike by spec.suspend, others by 0 replicas."""
    RECLAIM = "reclaim"
    """Its pods are evicted; their owner makes new ones, which wait in the queue."""


_STEPS = tuple(Step)


class IdleStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """step: what. after_seconds: after so long idle."""

    step: Step
    after_seconds: int


class IdleRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """queues: patterns with * and ?. kinds: which kinds of work, all if none is named. steps: what, and when.

    busy_percent: what counts as busy, of a device's time. grace_seconds: from the notice until the next step
    at least. exempt_priority: work of this priority or more is left alone. at_once: how many workloads may be
    suspended or reclaimed at one time. waiting_only: suspend and reclaim only while something waits in the
    cluster. trust_estimates: more than a notice also where use is estimated (shared devices). dry_run: only
    tell what would be done.
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
    StatefulSet."""

    workload: ObjectRef
    queue: str
    kind: Kind
    priority: int
    idleness: Idleness
    pods: tuple[ObjectRef, ...]
    minimum: int = 0
    replicas: int | None = None
    said: Mapping[str, str] = field(default_factory=dict)

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


class Notify(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="Notify"):
    """Write an event on the workload."""

    workload: ObjectRef
    message: str


class Patch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="Patch"):
    """Merge this into the workload (JSON Merge Patch, RFC 7386), with its uid as a precondition."""

    workload: ObjectRef
    merge: dict[str, Any]


class EvictPods(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="EvictPods"
):
    """Evict these pods, as `scheduling.plan.Evict` is enacted."""

    workload: ObjectRef
    pods: tuple[ObjectRef, ...]


Act: TypeAlias = Notify | Patch | EvictPods


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
) -> Culling:
    """The steps that are due, those that are idle for longest first.

    taken: what earlier calls returned. waiting: how many workloads wait for devices. A step that was only
    tried out is remembered as well, so that it is told once.
    """
    last: dict[Key, Taken] = {_key(item.workload): item for item in taken}
    culls: list[Cull] = []
    spared: list[Spared] = []
    remembered: dict[Key, Taken] = {}
    counts: dict[int, int] = {}
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
        why = _why_not(holder, rule, step, now_ms, waiting, counts.get(id(rule), 0))
        if why:
            spared.append(Spared(workload=holder.workload, idle_seconds=idle, why=why))
            continue
        acts = _acts(holder, step, idle, now_ms)
        if not acts:
            spared.append(
                Spared(workload=holder.workload, idle_seconds=idle, why=f"it cannot {step} ({holder.key[0]})")
            )
            continue
        if step in (Step.SUSPEND, Step.RECLAIM):
            counts[id(rule)] = counts.get(id(rule), 0) + 1
        remembered[holder.key] = Taken(
            workload=holder.workload, step=step, at_ms=now_ms, idle_since_ms=since, dry_run=rule.dry_run
        )
        culls.append(
            Cull(
                workload=holder.workload,
                queue=holder.queue,
                step=step,
                idle_seconds=idle,
                reason=f"idle for {idle} s, {rule.busy_percent} % or less of a device's time",
                dry_run=rule.dry_run,
                acts=() if rule.dry_run else acts,
            )
        )
    kept = tuple(remembered[key] for key in sorted(remembered))
    return Culling(culls=tuple(culls), spared=tuple(spared), taken=kept)


def _due(rule: IdleRule, before: Taken | None, idle: int, now_ms: int) -> Step | None:
    """The next step, if its time has come. After one step the next waits for the grace."""
    reached = sorted(
        (item for item in rule.steps if item.after_seconds <= idle), key=lambda item: _STEPS.index(item.step)
    )
    if before is None:
        first = Step.NOTIFY if any(item.step is Step.NOTIFY for item in rule.steps) else None
        return first if first is not None and reached else (reached[0].step if reached else None)
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
            return f"{already} others leave already"
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


_SUSPENDED = frozenset({"Job", "JobSet", "TrainJob", "RayJob"})
"""Kinds with spec.suspend (batch/v1; jobset.x-k8s.io; trainer.kubeflow.org; ray.io)."""

_RUN_POLICY = frozenset({"MPIJob", "PyTorchJob", "TFJob", "XGBoostJob", "PaddleJob", "JAXJob"})
"""Kinds with spec.runPolicy.suspend (kubeflow.org/v1)."""

_SCALED = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"})


def _acts(holder: Holder, step: Step, idle: int, now_ms: int) -> tuple[Act, ...]:
    ref = holder.workload
    if step is Step.NOTIFY:
        return (Notify(workload=ref, message=f"its devices have been idle for {idle} s"),)
    if step is Step.RECLAIM:
        return (EvictPods(workload=ref, pods=holder.pods),) if holder.pods else ()
    if step is Step.SHRINK:
        beyond = holder.pods[: max(0, len(holder.pods) - max(holder.minimum, 1))]
        return (EvictPods(workload=ref, pods=beyond),) if beyond else ()
    return _suspend(holder, now_ms)


def _suspend(holder: Holder, now_ms: int) -> tuple[Act, ...]:
    ref = holder.workload
    if ref.kind in _SUSPENDED:
        return (Patch(workload=ref, merge={"spec": {"suspend": True}}),)
    if ref.kind in _RUN_POLICY:
        return (Patch(workload=ref, merge={"spec": {"runPolicy": {"suspend": True}}}),)
    if ref.kind in _SCALED and holder.replicas:
        remembered = {"metadata": {"annotations": {REPLICAS: str(holder.replicas)}}}
        return (Patch(workload=ref, merge={**remembered, "spec": {"replicas": 0}}),)
    if ref.kind == "Notebook":
        stopped = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (Patch(workload=ref, merge={"metadata": {"annotations": {NOTEBOOK_STOPPED: stopped}}}),)
    return ()


def woken(workload: ObjectRef, said: Mapping[str, str]) -> Patch | None:
    """What starts a workload again that was suspended for idleness; None for one that was not."""
    if workload.kind in _SCALED:
        text = said.get(REPLICAS, "")
        if text.isascii() and text.isdigit() and 0 < int(text) <= 100_000:
            merge = {"metadata": {"annotations": {REPLICAS: None}}, "spec": {"replicas": int(text)}}
            return Patch(workload=workload, merge=merge)
        return None
    if workload.kind == "Notebook" and NOTEBOOK_STOPPED in said:
        return Patch(workload=workload, merge={"metadata": {"annotations": {NOTEBOOK_STOPPED: None}}})
    return None


def _key(ref: ObjectRef) -> Key:
    return (ref.kind, ref.namespace, ref.name)
