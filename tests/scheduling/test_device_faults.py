"""Devices that are tainted or not made ready while claims hold them."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import DRIVER, NOW, claim, cluster, gpu_node, pod, with_claim
from tests.scheduling.looking import decided, devices_of, evicted, nodes_of, verdict_on

from aliquot.model.core import Pod
from aliquot.model.meta import Condition, ObjectMeta
from aliquot.model.resource import (
    AllocatedDeviceStatus,
    DeviceTaint,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintSelector,
    DeviceToleration,
    ResourceClaim,
)
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Deallocate, Plan
from aliquot.scheduling.policy import Policy


def ago(seconds: float):
    return NOW - timedelta(seconds=seconds)


def rule(seconds: float, *, device: str = "gpu-0", effect: str = "NoExecute") -> DeviceTaintRule:
    """A taint put on a device of n1 so long ago."""
    taint = DeviceTaint(key="broken", effect=effect, time_added=ago(seconds))
    selector = DeviceTaintSelector(driver=DRIVER, pool="n1", device=device)
    return DeviceTaintRule(
        metadata=ObjectMeta(name="rule"), spec=DeviceTaintRuleSpec(device_selector=selector, taint=taint)
    )


def held(user: Pod, *, tolerated: int | None = None, owned: bool = True) -> ResourceClaim:
    """gpu-0 of n1, allocated an hour ago; the taint is tolerated for so many seconds."""
    made = claim("c", owner=user if owned else None, node_name="n1", devices=["gpu-0"], consumers=[user])
    return changed(
        made,
        tolerations=()
        if tolerated is None
        else (DeviceToleration(key="broken", operator="Exists", toleration_seconds=tolerated),),
    )


def changed(made: ResourceClaim, *, allocated: float = 3600, **about) -> ResourceClaim:  # type: ignore[no-untyped-def]
    """The claim with its first result changed and allocated so many seconds ago."""
    allocation = made.status.allocation
    assert allocation is not None
    results = (replace(allocation.devices.results[0], **about), *allocation.devices.results[1:])
    allocation = replace(
        allocation,
        devices=replace(allocation.devices, results=results),
        allocation_timestamp=ago(allocated),
    )
    return replace(made, status=replace(made.status, allocation=allocation))


def deallocated(plan: Plan) -> list[str]:
    return [action.claim.name for action in plan.actions if isinstance(action, Deallocate)]


@pytest.mark.parametrize(
    ("tainted", "tolerated", "patience", "gone"),
    [
        (9, None, 10, False),
        (11, None, 10, True),
        (11, None, None, False),
        (0, None, 0, True),
        (65, 60, 10, False),
        (71, 60, 10, True),
        (71, -5, 10, True),
    ],
)
def test_a_bound_pod_is_evicted_when_kubernetes_had_its_time(tainted, tolerated, patience, gone):
    user = pod("a", generated=["c"], node_name="n1")
    plan = decided(
        cluster(gpu_node("n1"), user, held(user, tolerated=tolerated), rule(tainted)),
        Policy(taint_patience_seconds=patience),
    )

    assert evicted(plan) == (["a"] if gone else [])


def test_the_verdict_names_the_device_and_its_taint():
    user = pod("a", generated=["c"], node_name="n1")
    verdict = verdict_on(decided(cluster(gpu_node("n1"), user, held(user), rule(60))), "a")

    assert verdict.reason is Reason.DEVICE_EVICTED
    assert (verdict.facts[0].subject, verdict.facts[0].available) == (
        f"{DRIVER}/n1/gpu-0",
        "broken:NoExecute",
    )


def test_a_taint_on_another_device_or_with_another_effect_evicts_nobody():
    user = pod("a", generated=["c"], node_name="n1")
    for harmless in (rule(60, device="gpu-1"), rule(60, effect="NoSchedule")):
        assert decided(cluster(gpu_node("n1"), user, held(user), harmless)).decisions == ()


def test_a_pod_that_was_bound_a_moment_ago_is_left_to_kubernetes():
    user = pod("a", generated=["c"], node_name="n1")
    bound = Condition(type="PodScheduled", status="True", last_transition_time=ago(3))
    user = replace(user, status=replace(user.status, conditions=(bound,)))

    assert evicted(decided(cluster(gpu_node("n1"), user, held(user), rule(600)))) == []


def test_a_rule_holds_for_a_device_that_is_published_no_longer():
    user = pod("a", generated=["c"], node_name="n1")
    plan = decided(cluster(gpu_node("n1", 0), user, held(user), rule(60)))

    assert evicted(plan) == ["a"]


def test_a_pod_that_was_let_go_is_replaced_at_once():
    user = pod("a", generated=["c"], owner="web", gated=False)
    plan = decided(cluster(gpu_node("n1"), user, held(user), rule(0)))

    assert evicted(plan) == ["a"]


def test_a_gated_pod_gives_its_tainted_device_back_and_gets_another():
    user = pod("a", generated=["c"])
    before = cluster(gpu_node("n1", 2), user, held(user), rule(0))
    plan = decided(before)

    assert deallocated(plan) == ["c"]
    assert nodes_of(plan) == {}
    assert verdict_on(plan, "a").reason is Reason.DEVICE_EVICTED
    freed = claim("c", owner=user)
    assert devices_of(decided(cluster(gpu_node("n1", 2), user, freed, rule(0)))) == {"c": ["n1/gpu-1"]}


def test_nobody_joins_a_claim_whose_pods_are_being_evicted():
    first, second = pod("a", claims=["c"], node_name="n1"), pod("b", claims=["c"])
    plan = decided(cluster(gpu_node("n1", 2), first, second, held(first, owned=False), rule(0)))

    assert nodes_of(plan) == {}
    assert deallocated(plan) == []
    assert verdict_on(plan, "b").reason is Reason.DEVICE_EVICTED


def awaiting(user: Pod, *, allocated: float, reserved: bool = True, **conditions: str) -> ResourceClaim:
    """A claim for gpu-0 of n1 that is bound when `attached` is true and has failed when `broken` is."""
    made = claim("c", owner=user, node_name="n1", devices=["gpu-0"], consumers=[user] if reserved else [])
    made = changed(
        made, allocated=allocated, binding_conditions=("attached",), binding_failure_conditions=("broken",)
    )
    told = tuple(
        Condition(type=name, status=value, message="no cable", last_transition_time=ago(allocated))
        for name, value in conditions.items()
    )
    device = AllocatedDeviceStatus(driver=DRIVER, pool="n1", device="gpu-0", conditions=told)
    return replace(made, status=replace(made.status, devices=(device,)))


def waiting(user: Pod, made: ResourceClaim) -> Snapshot:
    return cluster(gpu_node("n1"), user, made)


def test_a_pod_whose_devices_may_become_ready_is_left_alone():
    user = pod("a", generated=["c"], owner="web", gated=False)
    for made in (
        awaiting(user, allocated=599),
        awaiting(user, allocated=700, attached="True"),
        awaiting(user, allocated=30, broken="False", attached="False"),
    ):
        assert decided(waiting(user, made)).decisions == ()


@pytest.mark.parametrize(
    ("allocated", "conditions", "test"),
    [(601, {}, "bindingTimeout"), (5, {"broken": "True"}, "bindingFailure")],
)
def test_devices_that_the_scheduler_gave_up_on_are_taken_back_under_the_pod(allocated, conditions, test):
    user = pod("a", generated=["c"], gated=False)
    plan = decided(waiting(user, awaiting(user, allocated=allocated, reserved=False, **conditions)))

    assert deallocated(plan) == ["c"]
    assert evicted(plan) == []
    verdict = verdict_on(plan, "a")
    assert (verdict.reason, verdict.facts[0].test) == (Reason.BINDING_FAILED, test)


def test_a_pod_is_placed_anew_without_its_gate_when_its_devices_were_taken_back():
    user = pod("a", generated=["c"], gated=False)
    plan = decided(waiting(user, claim("c", owner=user)))

    assert devices_of(plan) == {"c": ["n1/gpu-0"]}


@pytest.mark.parametrize(("failed", "gone"), [(30, []), (61, ["a"])])
def test_a_reserved_pod_is_left_to_the_scheduler_for_a_while(failed, gone):
    user = pod("a", generated=["c"], owner="web", gated=False)
    plan = decided(waiting(user, awaiting(user, allocated=failed, broken="True")))

    assert deallocated(plan) == []
    assert evicted(plan) == gone


def test_a_reservation_that_the_scheduler_stripped_is_restored_while_devices_may_become_ready():
    user = pod("a", generated=["c"], gated=False)
    plan = decided(waiting(user, awaiting(user, allocated=30, reserved=False)))

    assert [(action.claim.name, action.consumers[0].name) for action in plan.actions] == [("c", "a")]


def test_a_pod_that_runs_keeps_its_claim_whatever_its_conditions_say():
    user = pod("a", generated=["c"], node_name="n1")
    assert decided(waiting(user, awaiting(user, allocated=900, broken="True"))).decisions == ()


def test_a_gated_pod_gives_devices_back_that_cannot_be_made_ready():
    user = pod("a", generated=["c"])
    plan = decided(waiting(user, awaiting(user, allocated=5, broken="True")))

    assert deallocated(plan) == ["c"]


def test_another_pod_takes_the_device_that_was_not_tainted():
    other = with_claim("b")
    user = pod("a", generated=["c"], node_name="n1")
    plan = decided(cluster(gpu_node("n1", 2), user, held(user), other, rule(0)))

    assert devices_of(plan) == {"b-gpu": ["n1/gpu-1"]}
