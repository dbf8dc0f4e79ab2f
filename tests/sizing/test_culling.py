"""What becomes of idle workloads."""

import dataclasses
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from tests.sizing.clusters import cluster, used
from tests.sizing.histories import MINUTE, START, busy, memory

from aliquot.model.meta import ObjectRef
from aliquot.sizing.cluster import fleet_report
from aliquot.sizing.culling import (
    Cull,
    Culling,
    CullingPolicy,
    Holder,
    IdleRule,
    IdleStep,
    Taken,
    culling,
)
from aliquot.sizing.holders import holders_of
from aliquot.sizing.idle_acts import EvictPods, Mark, Notify, Patch, Step, way_back, woken
from aliquot.sizing.idleness import Idleness, idleness
from aliquot.sizing.kinds import Kind
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import column

HOUR = 3_600_000
NOW = START + 100 * HOUR
STEPS = (
    IdleStep(step=Step.NOTIFY, after_seconds=3600),
    IdleStep(step=Step.SUSPEND, after_seconds=4 * 3600),
    IdleStep(step=Step.RECLAIM, after_seconds=24 * 3600),
)
RULE = IdleRule(steps=STEPS, dry_run=False, grace_seconds=1800)
POLICY = CullingPolicy(rules=(RULE,))


def holder(name: str = "a", idle_hours: float = 2, kind: str = "Job", **more: object) -> Holder:
    since = NOW - round(idle_hours * HOUR)
    given: dict[str, object] = {
        "workload": ObjectRef(kind=kind, namespace="team", name=name, uid=f"u-{name}"),
        "queue": "team",
        "kind": Kind.BATCH,
        "priority": 0,
        "idleness": Idleness(since, known_ms=round(idle_hours * HOUR)),
        "pods": tuple(ObjectRef(kind="Pod", namespace="team", name=f"{name}-{n}") for n in range(3)),
        **more,
    }
    return Holder(**given)  # type: ignore[arg-type]


def steps(found: Culling) -> list[tuple[str, Step]]:
    return [(item.workload.name, item.step) for item in found.culls]


def only(found: Culling) -> Cull:
    assert len(found.culls) == 1
    return found.culls[0]


def later(item: Holder, hours: float) -> Holder:
    """The same after some hours more without work."""
    since = item.idleness.since_ms
    assert since is not None
    known = item.idleness.known_ms + round(hours * HOUR)
    return Holder(
        item.workload, item.queue, item.kind, item.priority, Idleness(since, known), item.pods, item.minimum
    )


def test_a_workload_is_told_first_however_long_it_was_idle() -> None:
    found = culling([holder(idle_hours=50)], (), POLICY, NOW)
    assert steps(found) == [("a", Step.NOTIFY)]
    assert isinstance(only(found).acts[0], Notify)


def test_then_it_is_suspended_then_reclaimed_each_after_its_time_and_the_grace() -> None:
    seen: list[tuple[float, Step]] = []
    taken: tuple[Taken, ...] = ()
    for quarter in range(30 * 4):
        hours = quarter / 4
        item = later(holder(idle_hours=0.0), hours)
        found = culling([item], taken, POLICY, NOW + round(hours * HOUR))
        taken = found.taken
        seen += [(hours, cull.step) for cull in found.culls]
    assert seen == [(1.0, Step.NOTIFY), (4.0, Step.SUSPEND), (24.0, Step.RECLAIM)]


def test_work_in_between_starts_it_all_over() -> None:
    first = culling([holder()], (), POLICY, NOW)
    again = Idleness(NOW + HOUR, known_ms=2 * HOUR)
    found = culling([holder(idleness=again)], first.taken, POLICY, NOW + 3 * HOUR)
    assert steps(found) == [("a", Step.NOTIFY)]


def test_a_dry_run_tells_and_does_nothing_and_counts_for_nothing_once_it_is_meant() -> None:
    tried = CullingPolicy(rules=(replace(RULE, dry_run=True),))
    first = culling([holder()], (), tried, NOW)
    assert only(first).dry_run
    assert only(first).acts == ()
    assert culling([later(holder(), 0.1)], first.taken, tried, NOW + HOUR // 10).culls == ()
    meant = culling([later(holder(), 8)], first.taken, POLICY, NOW + 8 * HOUR)
    assert steps(meant) == [("a", Step.NOTIFY)]


def test_rules_are_tried_out_unless_they_say_otherwise() -> None:
    assert IdleRule().dry_run


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"said": {"aliquot.dev/idle-exempt": "true"}}, "idle-exempt is 'true'"),
        ({"said": {"aliquot.dev/idle-exempt": "2030-01-01T00:00:00Z"}}, "until 2030"),
        ({"said": {"aliquot.dev/idle-exempt": "pleese"}}, "idle-exempt is 'pleese'"),
        ({"priority": 1000}, "its priority is 1000"),
        ({"idleness": Idleness(NOW - 2 * HOUR, known_ms=HOUR)}, "only 50% of the time was measured"),
    ],
)
def test_some_are_spared_and_it_says_why(more: dict[str, object], why: str) -> None:
    policy = CullingPolicy(rules=(replace(RULE, exempt_priority=1000),))
    found = culling([holder(**more)], (), policy, NOW)
    assert found.culls == ()
    assert why in found.spared[0].why


@pytest.mark.parametrize("text", ["false", "2020-01-01T00:00:00Z", ""])
def test_an_exemption_that_has_passed_is_none(text: str) -> None:
    found = culling([holder(said={"aliquot.dev/idle-exempt": text})], (), POLICY, NOW)
    assert steps(found) == [("a", Step.NOTIFY)]


def test_what_is_not_known_to_be_idle_is_left_alone() -> None:
    unknown = Idleness(None, provenance=Provenance.UNKNOWN)
    found = culling([holder(idleness=unknown)], (), POLICY, NOW)
    assert (found.culls, found.spared) == ((), ())


def test_estimated_use_is_enough_for_a_notice_only() -> None:
    estimated = Idleness(NOW - 10 * HOUR, 10 * HOUR, Provenance.ESTIMATED)
    first = culling([holder(idleness=estimated)], (), POLICY, NOW)
    assert steps(first) == [("a", Step.NOTIFY)]
    second = culling([holder(idleness=estimated)], first.taken, POLICY, NOW + HOUR)
    assert second.spared[0].why == "its use is estimated"


def test_only_so_many_leave_at_one_time_those_idle_for_longest_first() -> None:
    policy = CullingPolicy(rules=(replace(RULE, at_once=2),))
    holders = [holder(name, idle_hours=5 + number) for number, name in enumerate("abcd")]
    told = culling(holders, (), policy, NOW)
    found = culling([later(item, 1) for item in holders], told.taken, policy, NOW + HOUR)
    assert steps(found) == [("d", Step.SUSPEND), ("c", Step.SUSPEND)]
    assert {item.why for item in found.spared} == {"2 others left within the hour"}


def test_devices_that_nobody_waits_for_may_stay_idle() -> None:
    policy = CullingPolicy(rules=(replace(RULE, waiting_only=True),))
    told = culling([holder(idle_hours=5)], (), policy, NOW)
    assert steps(told) == [("a", Step.NOTIFY)]
    idle = [later(holder(idle_hours=5), 1)]
    assert culling(idle, told.taken, policy, NOW + HOUR).spared[0].why == "nothing waits for its devices"
    assert steps(culling(idle, told.taken, policy, NOW + HOUR, waiting=1)) == [("a", Step.SUSPEND)]


@pytest.mark.parametrize(
    ("kind", "more", "merge"),
    [
        ("Job", {}, {"spec": {"suspend": True}}),
        ("PyTorchJob", {}, {"spec": {"runPolicy": {"suspend": True}}}),
        (
            "Deployment",
            {"replicas": 4},
            {"metadata": {"annotations": {"aliquot.dev/idle-replicas": "4"}}, "spec": {"replicas": 0}},
        ),
        (
            "Notebook",
            {},
            {
                "metadata": {
                    "annotations": {
                        "kubeflow-resource-stopped": datetime.fromtimestamp(
                            (NOW + HOUR) / 1000, UTC
                        ).strftime("%Y-%m-%dT%H:%M:%SZ")
                    }
                }
            },
        ),
    ],
)
def test_each_kind_is_suspended_in_its_own_way(kind: str, more: dict[str, int], merge: object) -> None:
    item = holder(idle_hours=9, kind=kind, **more)
    told = culling([item], (), POLICY, NOW)
    found = culling([item], told.taken, POLICY, NOW + HOUR)
    assert only(found).acts == (Patch(workload=item.workload, merge=merge),)  # type: ignore[arg-type]


def test_a_kind_that_cannot_be_suspended_is_told_so() -> None:
    told = culling([holder(idle_hours=9, kind="Pod")], (), POLICY, NOW)
    found = culling([holder(idle_hours=9, kind="Pod")], told.taken, POLICY, NOW + HOUR)
    assert found.spared[0].why == "it cannot suspend (Pod)"


def test_shrinking_keeps_the_minimum() -> None:
    rule = replace(RULE, steps=(IdleStep(step=Step.SHRINK, after_seconds=60),))
    policy = CullingPolicy(rules=(rule,))
    told = culling([holder(minimum=2)], (), policy, NOW)
    assert steps(told) == [("a", Step.NOTIFY)]
    act = only(culling([later(holder(minimum=2), 1)], told.taken, policy, NOW + HOUR)).acts[0]
    assert isinstance(act, EvictPods)
    assert [pod.name for pod in act.pods] == ["a-0"]


def test_the_first_rule_that_fits_queue_and_kind_applies() -> None:
    gentle = IdleRule(queues=("prod-*",), kinds=(Kind.INFERENCE,), steps=())
    policy = CullingPolicy(rules=(gentle, RULE))
    idle, job = Idleness(NOW - HOUR * 9, HOUR * 9), ObjectRef(kind="Job", name="x")
    kept = Holder(job, "prod-chat", Kind.INFERENCE, 0, idle, ())
    assert culling([kept], (), policy, NOW).culls == ()
    other = Holder(job, "prod-chat", Kind.BATCH, 0, idle, ())
    assert steps(culling([other], (), policy, NOW)) == [("x", Step.NOTIFY)]


def test_what_was_scaled_to_nothing_gets_its_replicas_back() -> None:
    ref = ObjectRef(kind="Deployment", namespace="team", name="chat")
    found = woken(ref, {"aliquot.dev/idle-replicas": "4"})
    assert found is not None
    assert found.merge["spec"] == {"replicas": 4}
    assert woken(ref, {}) is None
    assert woken(ref, {"aliquot.dev/idle-replicas": "-1"}) is None


def test_idle_is_since_the_last_work_of_any_device() -> None:
    first = busy([50, 0, 0, 0], pod="p-0")
    second = busy([0, 0, 40, 0], pod="p-1")
    now = START + 4 * MINUTE
    found = idleness([first, second, memory([1.0] * 4)], 10_000, now)
    assert found.since_ms == START + 3 * MINUTE
    assert found.seconds(now) == 60
    assert found.coverage(now) == 1.0


def test_work_below_the_bound_is_none() -> None:
    found = idleness([busy([0.5, 0.9, 0.2])], 10_000, START + 3 * MINUTE)
    assert found.since_ms == START


def test_silence_is_not_idleness() -> None:
    found = idleness([busy([0, 0])], 10_000, START + 60 * MINUTE)
    assert found.since_ms is None
    assert found.why == "a device is not measured any more"
    assert idleness([], 10_000, NOW).provenance is Provenance.UNKNOWN


def test_a_gap_in_idle_time_lowers_what_is_known_of_it() -> None:
    quiet = busy([0] * 10)
    found = idleness([quiet.between(START, START + 2 * MINUTE)], 10_000, START + 10 * MINUTE)
    assert found.coverage(START + 10 * MINUTE) == pytest.approx(0.2)


def test_holders_of_a_cluster_are_idle_together_or_not_at_all() -> None:
    snapshot = cluster(2)
    quiet = used(snapshot, 4.0, 0.0, hours=3)
    end = max(item.end for item in quiet)
    report = fleet_report(snapshot)
    found = holders_of(snapshot, report, quiet, POLICY, end)
    assert [(item.workload.name, item.idleness.seconds(end)) for item in found] == [
        ("chat-0", 3 * 3600),
        ("chat-1", 3 * 3600),
    ]
    partly = [item for item in quiet if item.owner.pod is not None and item.owner.pod.name == "chat-0"]
    unknown = holders_of(snapshot, report, partly, POLICY, end)[1]
    assert unknown.idleness.why == "nothing measures how busy pod chat-1 is"
    assert steps(culling(found, (), POLICY, end)) == [("chat-0", Step.NOTIFY), ("chat-1", Step.NOTIFY)]


def test_what_is_noted_on_a_workload_says_the_same_as_what_was_remembered() -> None:
    found = culling([holder(idle_hours=9)], (), POLICY, NOW)
    text = found.taken[0].mark.text
    marked = Taken.marked(holder(idle_hours=9, own={"aliquot.dev/idle-step": text}))
    assert marked == found.taken[0]
    again = culling([holder(idle_hours=9)], (marked,), POLICY, NOW + HOUR)
    assert steps(again) == [("a", Step.SUSPEND)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step":"end"}', "x" * 2000])
def test_a_note_that_nobody_can_read_is_none(text: str) -> None:
    assert Mark.of({"aliquot.dev/idle-step": text}) is None
    assert Taken.marked(holder(own={"aliquot.dev/idle-step": text})) is None


def test_those_that_left_within_the_hour_before_count() -> None:
    policy = CullingPolicy(rules=(replace(RULE, at_once=2),))
    told = culling([holder(idle_hours=5), holder("b", idle_hours=6)], (), policy, NOW)
    idle = [later(holder(idle_hours=5), 1), later(holder("b", idle_hours=6), 1)]
    assert steps(culling(idle, told.taken, policy, NOW + HOUR, left=1)) == [("b", Step.SUSPEND)]
    assert culling(idle, told.taken, policy, NOW + HOUR, left=2).culls == ()


def test_what_another_controller_decides_over_is_not_suspended() -> None:
    ruled = holder(idle_hours=9, kind="Deployment", replicas=2, ruler="Model chat")
    told = culling([ruled], (), POLICY, NOW)
    found = culling([ruled], told.taken, POLICY, NOW + HOUR)
    assert found.spared[0].why == "it cannot suspend: Model chat decides over it"


def test_a_pod_that_nobody_would_make_again_is_never_evicted() -> None:
    rule = replace(RULE, steps=(IdleStep(step=Step.RECLAIM, after_seconds=3600),))
    policy = CullingPolicy(rules=(rule,))
    told = culling([holder(idle_hours=9, kind="Pod")], (), policy, NOW)
    found = culling([holder(idle_hours=9, kind="Pod")], told.taken, policy, NOW + HOUR)
    assert (found.culls, found.spared[0].why) == ((), "it cannot reclaim (Pod)")


def test_suspended_jobs_come_back_only_if_idleness_suspended_them() -> None:
    ref = ObjectRef(kind="PyTorchJob", namespace="team", name="train")
    assert woken(ref, {}) is None
    told = culling([holder(idle_hours=9)], (), POLICY, NOW)
    notice = {"aliquot.dev/idle-step": told.taken[0].mark.text}
    assert woken(ref, notice) is None
    suspended = culling([holder(idle_hours=9)], told.taken, POLICY, NOW + HOUR)
    found = woken(ref, {"aliquot.dev/idle-step": suspended.taken[0].mark.text})
    assert found is not None
    assert found.merge["spec"] == {"runPolicy": {"suspend": False}}
    assert way_back(ref) == "kubectl annotate -n team pytorchjob/train aliquot.dev/idle-resume=true"


def test_a_burst_is_work_also_when_it_was_rolled_up_with_an_hour_of_rest() -> None:
    quiet = busy([0] * 5)
    rolled = dataclasses.replace(quiet, maxima=column([0, 0, 400_000, 0, 0]))
    found = idleness([rolled], 10_000, START + 5 * MINUTE)
    assert found.since_ms == START + 3 * MINUTE
