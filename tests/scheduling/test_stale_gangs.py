"""Gangs that run with fewer members than they need: noted first, taken down after a time of grace."""

from datetime import timedelta

from msgspec.structs import replace
from tests.scheduling.builders import NOW, cluster, gpu_node, job, pod
from tests.scheduling.test_verdicts_entitled import QUEUES

from aliquot.model.verdicts import Reason
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Evict
from aliquot.scheduling.policy import Policy
from aliquot.workloads.labels import STALE_SINCE

GRACE = Policy().staleness_seconds or 0


def member(name, **options):
    return pod(name, job="gang", node_name="n1", gated=False, phase="Running", **options)


def short_of_one():
    return cluster(gpu_node("n1"), QUEUES, job("gang", 2), member("one"))


def evicted(plan):
    return [action.pod.name for action in plan.actions if isinstance(action, Evict)]


def test_a_gang_that_is_seen_short_for_the_first_time_is_noted_and_left_alone():
    plan = decide(short_of_one(), Policy(), NOW)

    (found,) = plan.staleness
    assert ([ref.name for ref in found.pods], found.since) == (["one"], NOW)
    assert evicted(plan) == []


def test_it_is_taken_down_once_the_time_of_grace_is_over_and_not_before():
    snapshot = short_of_one()
    noted = apply(snapshot, decide(snapshot, Policy(), NOW), NOW)
    assert STALE_SINCE in noted.pods[0].metadata.annotations

    early = decide(noted, Policy(), NOW + timedelta(seconds=GRACE - 1))
    late = decide(noted, Policy(), NOW + timedelta(seconds=GRACE))

    assert (evicted(early), early.staleness) == ([], ())
    assert evicted(late) == ["one"]
    verdicts = [action.verdict.reason for action in late.actions if isinstance(action, Evict)]
    assert verdicts == [Reason.GANG_BROKEN]


def test_the_note_goes_when_the_gang_is_whole_again():
    snapshot = short_of_one()
    noted = apply(snapshot, decide(snapshot, Policy(), NOW), NOW)
    whole = replace(noted, pods=(*noted.pods, member("two")))

    plan = decide(whole, Policy(), NOW + timedelta(seconds=GRACE))

    (found,) = plan.staleness
    assert ([ref.name for ref in found.pods], found.since) == (["one"], None)
    assert evicted(plan) == []
    healed = apply(whole, plan, NOW)
    assert all(STALE_SINCE not in item.metadata.annotations for item in healed.pods)
