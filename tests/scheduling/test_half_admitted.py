"""Gangs of which pods were let go and too few came to be bound are replaced as a whole, in bounded time."""

from datetime import timedelta

import pytest
from tests.scheduling.builders import NOW, claim, cluster, gpu_node, job, pod
from tests.scheduling.looking import evicted, verdict_on

from aliquot.model.core import PodResourceClaimStatus, PodStatus
from aliquot.model.meta import Condition
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Admit
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import sentence
from aliquot.workloads.labels import ADMITTED_AT, STALE_SINCE

BOUND = Policy().admission_seconds or 0
MESSAGE = "0/1 nodes are available: 1 Insufficient cpu."


def let_go(name, seconds_ago, *, bound=False, said="", owned=True, **options):
    """A member of the gang that was let go so long ago, with its claim."""
    at = (NOW - timedelta(seconds=seconds_ago)).isoformat()
    conditions = (
        (Condition(type="PodScheduled", status="False", reason="Unschedulable", message=said),)
        if said
        else ()
    )
    status = PodStatus(
        phase="Running" if bound else "Pending",
        conditions=conditions,
        resource_claim_statuses=(PodResourceClaimStatus(name="t0", resource_claim_name=f"{name}-gpu"),),
    )
    made = pod(
        name,
        generated=[f"{name}-gpu"],
        job="gang" if owned else "",
        gated=False,
        node_name="n1" if bound else "",
        annotations={ADMITTED_AT: at},
        status=status,
        **options,
    )
    number = name[-1]
    return [
        made,
        claim(f"{name}-gpu", owner=made, node_name="n1", devices=[f"gpu-{number}"], consumers=[made]),
    ]


def plan_for(*members, size=2, policy=None):
    return decide(cluster(gpu_node("n1"), job("gang", size), *members), policy or Policy(), NOW)


def test_a_gang_that_is_half_bound_for_too_long_is_replaced_as_a_whole_and_why_is_kept():
    plan = plan_for(let_go("m0", BOUND + 1, bound=True), let_go("m1", BOUND + 1, said=MESSAGE))

    assert sorted(evicted(plan)) == ["m0", "m1"]
    verdict = verdict_on(plan, "m1")
    assert verdict.reason is Reason.NOT_BOUND_IN_TIME
    assert sentence(verdict).endswith(
        f"only 1 of 2 pods were bound within {BOUND}s of the first being let go; "
        f"of m1 the scheduler says: {MESSAGE}"
    )


@pytest.mark.parametrize("seconds", [0, BOUND])
def test_until_then_it_is_left_alone(seconds):
    assert evicted(plan_for(let_go("m0", seconds, bound=True), let_go("m1", seconds))) == []


def test_a_gang_that_is_bound_as_far_as_it_needs_is_left_alone():
    plan = plan_for(let_go("m0", BOUND + 1, bound=True), let_go("m1", BOUND + 1, bound=True))
    assert evicted(plan) == []


def test_a_pod_on_its_own_waits_for_the_scheduler():
    assert evicted(plan_for(let_go("m0", BOUND + 1), size=1)) == []


def test_members_without_an_owner_keep_their_place():
    bare = let_go("m1", BOUND + 1, owned=False)
    assert evicted(plan_for(let_go("m0", BOUND + 1, bound=True), bare, size=1)) == []


def test_a_policy_may_allow_any_time():
    policy = Policy(admission_seconds=None)
    assert evicted(plan_for(let_go("m0", 9999, bound=True), let_go("m1", 9999), policy=policy)) == []


def test_what_completes_a_gang_goes_on_from_when_it_was_first_seen_to_be_short():
    since = NOW - timedelta(seconds=30)
    first, its_claim = let_go("m0", 40, bound=True)
    first.metadata.annotations[STALE_SINCE] = since.isoformat()
    second = pod("m1", generated=["m1-gpu"], job="gang")
    plan = plan_for([first, its_claim], [second, claim("m1-gpu", owner=second)])

    (admission,) = [action for action in plan.actions if isinstance(action, Admit)]
    assert admission.since == since
