"""What is put right before anything new is decided."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import NOW, claim, cluster, gpu_node, node, pod, with_claim
from tests.scheduling.looking import decided, evicted, nodes_of, verdict_on

from aliquot.model.core import PodResourceClaimStatus, PodStatus
from aliquot.model.meta import Condition
from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Deallocate
from aliquot.scheduling.policy import Policy


def test_a_pod_that_was_bound_beside_its_devices_is_replaced():
    beside = pod("a", claims=["c"], node_name="n2", owner="web")
    elsewhere = claim("c", node_name="n1", devices=["gpu-0"], consumers=[beside])
    plan = decided(cluster(gpu_node("n1"), gpu_node("n2"), beside, elsewhere))

    assert evicted(plan) == ["a"]
    verdict = verdict_on(plan, "a")
    assert verdict.reason is Reason.CLAIM_ELSEWHERE
    assert (verdict.facts[0].wanted, verdict.facts[0].available) == ("n1", "n2")


def test_a_bare_pod_beside_its_devices_keeps_its_place_and_is_told_why():
    beside = pod("a", claims=["c"], node_name="n2")
    elsewhere = claim("c", node_name="n1", devices=["gpu-0"], consumers=[beside])
    plan = decided(cluster(gpu_node("n1"), gpu_node("n2"), beside, elsewhere))

    assert evicted(plan) == []
    assert verdict_on(plan, "a").fix.change == "replacePod"


def test_a_pod_on_the_node_of_its_devices_is_left_alone():
    right = pod("a", claims=["c"], node_name="n1", owner="web")
    held = claim("c", node_name="n1", devices=["gpu-0"], consumers=[right])

    assert decided(cluster(gpu_node("n1"), right, held)).decisions == ()


@pytest.mark.parametrize("gated", [True, False])
def test_a_pod_that_holds_on_to_a_claim_being_deleted_is_replaced(gated):
    waiting = pod("a", generated=["c"], owner="web", gated=gated)
    leaving = claim("c", owner=waiting, node_name="n1", devices=["gpu-0"], consumers=[waiting], deleting=True)
    plan = decided(cluster(gpu_node("n1"), waiting, leaving))

    assert evicted(plan) == ["a"]
    assert verdict_on(plan, "a").reason is Reason.WAITING_FOR_CLAIMS


def test_devices_of_a_claim_being_deleted_are_given_back_where_only_bare_pods_behind_gates_hold_them():
    waiting = pod("a", claims=["c"])
    leaving = claim("c", node_name="n1", devices=["gpu-0"], consumers=[waiting], deleting=True)
    plan = decided(cluster(gpu_node("n1"), waiting, leaving))

    assert [type(action) for action in plan.actions] == [Deallocate]
    assert verdict_on(plan, "a").facts[0].test == "claimDeleting"


def test_a_claim_being_deleted_stays_while_a_pod_that_was_let_go_may_use_it():
    waiting, going = pod("a", claims=["c"]), pod("b", claims=["c"], gated=False)
    leaving = claim("c", node_name="n1", devices=["gpu-0"], consumers=[waiting, going], deleting=True)

    assert decided(cluster(gpu_node("n1"), waiting, going, leaving)).actions == ()


def test_a_pod_waits_for_a_claim_being_deleted_that_is_not_its_own():
    waiting = pod("a", claims=["c"], owner="web")
    plan = decided(cluster(gpu_node("n1"), waiting, claim("c", deleting=True)))

    assert evicted(plan) == []
    assert verdict_on(plan, "a").facts[0].test == "claimDeleting"


def test_a_pod_let_go_to_a_node_that_is_gone_is_replaced():
    lost = pod("a", generated=["c"], owner="web", gated=False)
    written = claim("c", owner=lost, node_name="n9", devices=["gpu-0"], consumers=[lost])
    plan = decided(cluster(gpu_node("n1"), lost, written))

    assert evicted(plan) == ["a"]


def test_a_pod_let_go_to_a_node_that_was_cordoned_is_replaced():
    lost = pod("a", generated=["c"], owner="web", gated=False)
    written = claim("c", owner=lost, node_name="n1", devices=["gpu-0"], consumers=[lost])
    plan = decided(cluster(gpu_node("n1", unschedulable=True), lost, written))

    assert evicted(plan) == ["a"]
    assert verdict_on(plan, "a").facts[0].test == "nodeUnschedulable"


@pytest.mark.parametrize(
    ("found", "allocated", "gone"),
    [(59, 90, []), (61, 90, ["a"]), (600, 59, []), (600, 61, ["a"]), (600, None, [])],
)
def test_a_pod_found_unschedulable_with_its_devices_is_replaced_when_patience_ends(found, allocated, gone):
    """found, allocated: seconds ago."""
    condition = Condition(
        type="PodScheduled",
        status="False",
        reason="Unschedulable",
        last_transition_time=NOW - timedelta(seconds=found),
    )
    status = PodStatus(
        conditions=(condition,),
        resource_claim_statuses=(PodResourceClaimStatus(name="t0", resource_claim_name="c"),),
    )
    stuck = pod("a", generated=["c"], owner="web", gated=False, status=status)
    written = claim("c", owner=stuck, node_name="n1", devices=["gpu-0"], consumers=[stuck])
    if allocated is not None:
        at = NOW - timedelta(seconds=allocated)
        allocation = replace(written.status.allocation, allocation_timestamp=at)
        written = replace(written, status=replace(written.status, allocation=allocation))
    plan = decided(cluster(gpu_node("n1"), stuck, written), Policy(bind_patience_seconds=60))

    assert evicted(plan) == gone


def test_a_pod_whose_second_claim_was_lost_gets_it_again_beside_the_first():
    torn = pod("a", generated=["c", "d"], owner="web", gated=False)
    written = claim("c", owner=torn, node_name="n1", devices=["gpu-0"], consumers=[torn])
    plan = decided(cluster(gpu_node("n1", 2), gpu_node("n2", 1), torn, written, claim("d", owner=torn)))

    assert nodes_of(plan) == {"a": "n1"}


def test_a_pod_whose_lost_claim_fits_no_more_beside_the_first_is_replaced():
    torn = pod("a", generated=["c", "d"], owner="web", gated=False)
    written = claim("c", owner=torn, node_name="n1", devices=["gpu-0"], consumers=[torn])
    plan = decided(cluster(gpu_node("n1", 1), gpu_node("n2", 1), torn, written, claim("d", owner=torn)))

    assert nodes_of(plan) == {}
    assert evicted(plan) == ["a"]


def test_a_gated_pod_whose_claim_was_written_for_a_node_that_is_gone_is_replaced():
    lost = pod("a", generated=["c"], owner="web")
    written = claim("c", owner=lost, node_name="n9", devices=["gpu-0"], consumers=[lost])
    plan = decided(cluster(gpu_node("n1"), lost, written))

    assert evicted(plan) == ["a"]


def test_replacing_does_not_help_a_pod_whose_claim_is_its_users():
    waiting = pod("a", claims=["c"], owner="web", cpu=8)
    other = pod("b", claims=["c"], node_name="n1", cpu=8)
    shared = claim("c", node_name="n1", devices=["gpu-0"], consumers=[other])
    plan = decided(cluster(gpu_node("n1", cpu=8), waiting, other, shared))

    assert evicted(plan) == []
    assert verdict_on(plan, "a").reason is Reason.NODE_UNFIT


def test_a_claim_that_holds_devices_for_nobody_is_released():
    left = claim("c", node_name="n1", devices=["gpu-0"])
    plan = decided(cluster(gpu_node("n1"), left))

    (action,) = plan.actions
    assert isinstance(action, Deallocate)
    assert action.claim.name == "c"


def test_a_claim_that_a_waiting_pod_will_use_is_kept():
    left = claim("c", node_name="n1", devices=["gpu-0"])
    plan = decided(cluster(gpu_node("n1"), left, pod("a", claims=["c"])))

    assert not any(isinstance(action, Deallocate) for action in plan.actions)
    assert nodes_of(plan) == {"a": "n1"}


def test_a_pod_that_leaves_does_not_hold_up_the_others():
    waiting = pod("a", generated=["c"], owner="web")
    leaving = claim("c", owner=waiting, node_name="n1", devices=["gpu-0"], consumers=[waiting], deleting=True)
    plan = decided(cluster(gpu_node("n1", 2), node("n2"), waiting, leaving, with_claim("b")))

    assert nodes_of(plan) == {"b": "n1"}


def test_claims_of_drivers_that_are_not_managed_are_left_alone():
    beside = pod("a", claims=["c"], node_name="n2", owner="web")
    elsewhere = claim("c", node_name="n1", devices=["gpu-0"], consumers=[beside])
    idle = claim("d", node_name="n1", devices=["gpu-1"])
    snapshot = cluster(gpu_node("n1"), gpu_node("n2"), beside, elsewhere, idle)

    assert len(decided(snapshot).actions) == 2
    assert decided(snapshot, Policy(managed_drivers=frozenset({"other.example.com"}))).actions == ()
