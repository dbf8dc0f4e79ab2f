"""Other allocators, schedulers and namespaces: what is theirs is seen and respected, and left to them."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    DRIVER,
    TEAM,
    claim,
    cluster,
    gpu_node,
    job,
    namespace,
    pod,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import admitted, decided, devices_of, evicted, nodes_of, verdict_on

from aliquot.model.core import ConfigMap
from aliquot.model.meta import ObjectMeta
from aliquot.model.verdicts import Reason
from aliquot.scheduling.policy import Policy

ELSEWHERE = "elsewhere"
KUEUE_GATE = "kueue.x-k8s.io/admission"


def outside(*objects, count=1):
    """A cluster with a namespace that is not managed and one node."""
    return cluster(gpu_node("n1", count), namespace(ELSEWHERE, managed=False), *objects)


def test_claims_of_a_managed_driver_are_allocated_in_every_namespace_without_a_gate():
    plan = decided(outside(with_claim("a", ns=ELSEWHERE, gated=False)))
    assert devices_of(plan) == {"a-gpu": ["n1/gpu-0"]}
    assert admitted(plan) == []


def test_there_it_is_first_come_by_pod_and_no_gang_waits_for_all_of_it():
    members = [with_claim(f"m{n}", ns=ELSEWHERE, gated=False, job="gang") for n in range(2)]
    plan = decided(outside(job("gang", 2, ns=ELSEWHERE), *members))
    assert devices_of(plan) == {"m0-gpu": ["n1/gpu-0"]}
    assert verdict_on(plan, "m1").reason is Reason.DEVICES_IN_USE


def test_there_no_queue_limits_anybody():
    none = queue("default", limits={"gpu": "0"})
    plan = decided(outside(none, with_claim("a", ns=ELSEWHERE, gated=False)))
    assert devices_of(plan) == {"a-gpu": ["n1/gpu-0"]}


def test_admin_access_is_given_there_to_a_device_in_use():
    holder = pod("b", claims=["held"], node_name="n1")
    held = claim("held", node_name="n1", devices=["gpu-0"], consumers=[holder])
    wanted = request()
    wanted = replace(wanted, exactly=replace(wanted.exactly, admin_access=True))
    watching = with_claim("a", wanted, ns=ELSEWHERE, gated=False)
    plan = decided(outside(holder, held, watching))
    assert devices_of(plan) == {"a-gpu": ["n1/gpu-0"]}


def test_pods_of_other_namespaces_never_leave_for_managed_work():
    there = [pod("b", generated=["b-gpu"], ns=ELSEWHERE, node_name="n1")]
    held = claim("b-gpu", ns=ELSEWHERE, owner=there[0], node_name="n1", devices=["gpu-0"], consumers=there)
    high = with_claim("a", priority=1000)
    plan = decided(outside(queue("default", quota={"gpu": "1"}), *there, held, high))
    assert evicted(plan) == []
    assert verdict_on(plan, "a").reason is Reason.DEVICES_IN_USE


def test_a_driver_that_is_not_managed_is_left_to_the_scheduler():
    policy = Policy(managed_drivers=frozenset({"other.example.com"}))
    plan = decided(outside(with_claim("a", ns=ELSEWHERE, gated=False)), policy)
    assert plan.actions == ()


def test_a_driver_that_moves_over_keeps_what_the_scheduler_gave_and_back_again():
    holder = pod("b", generated=["b-gpu"], ns=ELSEWHERE, node_name="n1")
    held = claim("b-gpu", ns=ELSEWHERE, owner=holder, node_name="n1", devices=["gpu-0"], consumers=[holder])
    snapshot = outside(holder, held, with_claim("a", ns=ELSEWHERE, gated=False), count=2)
    nobody = Policy(managed_drivers=frozenset({"other.example.com"}))
    mine = Policy(managed_drivers=frozenset({DRIVER}))

    assert decided(snapshot, nobody).actions == ()
    assert devices_of(decided(snapshot, mine)) == {"a-gpu": ["n1/gpu-1"]}
    assert decided(snapshot, nobody).actions == ()


def listed(words):
    """The cluster's list of what is Aliquot's, with these words beside the driver."""
    return ConfigMap(
        metadata=ObjectMeta(namespace="aliquot-system", name="aliquot-drivers"), data={DRIVER: words}
    )


def test_of_a_driver_of_which_some_pools_are_aliquots_only_these_are_given_out():
    nodes = [gpu_node("mine-1", 1), gpu_node("theirs-1", 1)]
    pods = [with_claim(name) for name in ("a", "b")]

    plan = decided(cluster(listed("pool=mine-* pool=x"), *nodes, *pods))
    assert devices_of(plan) == {"a-gpu": ["mine-1/gpu-0"]}
    assert verdict_on(plan, "b").reason is Reason.DEVICES_IN_USE
    assert len(devices_of(decided(cluster(listed(""), *nodes, *pods)))) == 2


def test_what_the_scheduler_gave_in_other_pools_is_left_as_it_is():
    nodes = [gpu_node("mine-1", 1), gpu_node("theirs-1", 1), namespace(ELSEWHERE, managed=False)]
    holder = pod("b", generated=["b-gpu"], ns=ELSEWHERE, node_name="theirs-1")
    there = {"ns": ELSEWHERE, "node_name": "theirs-1", "devices": ["gpu-0"]}
    held = claim("b-gpu", owner=holder, consumers=[holder], **there)
    unused = claim("c-gpu", **there)

    assert decided(cluster(listed("pool=mine-*"), *nodes, holder, held)).actions == ()
    assert decided(cluster(listed("pool=mine-*"), *nodes, unused)).actions == ()
    plan = decided(cluster(listed("pool=mine-*"), *nodes, holder, held, with_claim("a")))
    assert devices_of(plan) == {"a-gpu": ["mine-1/gpu-0"]}


def test_a_pod_that_kueue_has_not_admitted_holds_nothing():
    plan = decided(cluster(gpu_node("n1", 1), with_claim("a", gates=[KUEUE_GATE])))
    assert plan.actions == ()
    verdict = verdict_on(plan, "a")
    assert (verdict.reason, verdict.facts[0].subject) == (Reason.GATED_BY_OTHERS, KUEUE_GATE)


def test_once_kueue_has_admitted_it_the_pod_is_placed():
    plan = decided(cluster(gpu_node("n1", 1), with_claim("a")))
    assert (admitted(plan), nodes_of(plan)) == (["a"], {"a": "n1"})


@pytest.mark.parametrize("ns", [TEAM, ELSEWHERE])
def test_a_pod_that_was_put_on_its_node_by_hand_is_reported_and_left_there(ns):
    placed = pod("a", generated=["a-gpu"], ns=ns, node_name="n1", phase="Pending")
    plan = decided(outside(placed, claim("a-gpu", ns=ns, owner=placed)))
    assert plan.actions == ()
    assert verdict_on(plan, "a").reason is Reason.HAND_PLACED
