"""Single pods: which node and devices they get, and in which order they are served."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    NOW,
    claim,
    cluster,
    gpu_node,
    gpus,
    namespace,
    node,
    pod,
    request,
    with_claim,
)
from tests.scheduling.looking import (
    admitted,
    after,
    decided,
    decision_on,
    devices_of,
    nodes_of,
    reserved,
    verdict_on,
)

from aliquot.model.core import (
    Affinity,
    ConfigMap,
    ContainerPort,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    Taint,
    Toleration,
)
from aliquot.model.meta import Condition, LabelSelector, ObjectMeta
from aliquot.model.resource import DELETE_PROTECTION, DeviceTaint
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Admit, Allocate
from aliquot.scheduling.policy import Policy


def test_a_pod_gets_a_device_its_claim_is_reserved_and_its_gate_lifted():
    plan = decided(cluster(gpu_node("n1"), with_claim("a")))

    allocate, admit = plan.actions
    assert isinstance(allocate, Allocate)
    assert allocate.claim.name == "a-gpu"
    assert allocate.resource_version == "7"
    assert [item.name for item in allocate.consumers] == ["a"]
    assert isinstance(admit, Admit)
    assert admit.placements[0].node == "n1"
    assert not admit.placements[0].pin
    assert allocate.decision == admit.decision == plan.decisions[0].id


def test_once_the_plan_is_carried_out_nothing_is_left_to_decide():
    snapshot = cluster(gpu_node("n1"), with_claim("a"))
    later = after(snapshot, decided(snapshot))

    assert decided(later).decisions == ()
    assert later.resource_claims[0].metadata.finalizers == (DELETE_PROTECTION,)
    assert later.resource_claims[0].status.allocation.allocation_timestamp == NOW


def test_the_fullest_node_that_fits_is_taken():
    held = pod("held", claims=["c"], node_name="n2")
    running = claim("c", node_name="n2", devices=["gpu-0", "gpu-1"], consumers=[held])
    plan = decided(cluster(gpu_node("n1", 4), gpu_node("n2", 4), held, running, with_claim("a")))

    assert nodes_of(plan) == {"a": "n2"}


def test_a_share_goes_to_the_device_with_the_tightest_rest():
    nodes = [*gpu_node("n1", 1, shareable=True), *gpu_node("n2", 1, shareable=True)]
    first = cluster(
        nodes,
        with_claim("big", request(memory="60Gi"), created=0),
        with_claim("small", request(memory="40Gi"), created=1),
        with_claim("last", request(memory="20Gi"), created=2),
    )
    places = nodes_of(decided(first))

    assert places["big"] != places["small"]
    assert places["last"] == places["big"]


def test_pods_without_devices_keep_off_nodes_with_idle_devices():
    plan = decided(cluster(gpu_node("a-gpus", 8), node("z-plain"), pod("web")))

    assert nodes_of(plan) == {"web": "z-plain"}
    assert decision_on(plan, "web").placements[0].pin


def test_legacy_devices_are_placed_by_node_and_pinned():
    nodes = [node("n1", **{"nvidia.com__gpu": 8}), node("n2", **{"nvidia.com__gpu": 2})]
    plan = decided(cluster(nodes, pod("a", **{"nvidia.com__gpu": 2})))

    assert nodes_of(plan) == {"a": "n2"}
    assert decision_on(plan, "a").placements[0].pin


@pytest.mark.parametrize(
    ("nodes", "options", "test"),
    [
        ([node("n1", cpu=1)], {"cpu": 2}, "cpu"),
        ([node("n1", memory="1Gi")], {"memory": "2Gi"}, "memory"),
        ([node("n1", pods=0)], {}, "pods"),
        ([node("n1")], {"nvidia.com__gpu": 1}, "nvidia.com/gpu"),
        ([node("n1", unschedulable=True)], {}, "nodeUnschedulable"),
        ([node("n1", taints=[Taint(key="k", value="v", effect="NoSchedule")])], {}, "nodeTaint"),
        ([node("n1")], {"selector": {"zone": "a"}}, "nodeSelector"),
    ],
)
def test_a_node_that_refuses_the_pod_is_named_with_its_test(nodes, options, test):
    verdict = verdict_on(decided(cluster(nodes, pod("a", **options))), "a")

    assert verdict.reason is Reason.NODE_UNFIT
    assert test in [fact.test for fact in verdict.facts]


@pytest.mark.parametrize(
    ("nodes", "options"),
    [
        ([node("n1", taints=[Taint(key="k", value="v", effect="NoSchedule")])],
         {"tolerations": [Toleration(key="k", operator="Exists")]}),
        ([node("n1", unschedulable=True)],
         {"tolerations": [Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")]}),
        ([node("n1", taints=[Taint(key="k", effect="PreferNoSchedule")])], {}),
        ([node("n0"), node("n1", labels={"zone": "a"})], {"selector": {"zone": "a"}}),
        ([node("n0", cpu=1), node("n1", cpu=2)], {"cpu": 2}),
        ([node("n0"), node("n1", labels={"gen": "7"})],
         {"affinity": Affinity(node_affinity=NodeAffinity(required=NodeSelector(node_selector_terms=(
             NodeSelectorTerm(match_expressions=(
                 NodeSelectorRequirement(key="gen", operator="Gt", values=("6",)),)),))))}),
    ],
)  # fmt: skip
def test_a_node_that_takes_the_pod_is_found(nodes, options):
    assert nodes_of(decided(cluster(nodes, pod("a", **options)))) == {"a": "n1"}


def test_requests_of_pods_already_there_and_decided_before_count():
    running = pod("running", cpu=3, node_name="n1")
    snapshot = cluster(
        node("n1", cpu=8),
        running,
        pod("a", cpu=3, created=1),
        pod("b", cpu=3, created=2),
        pod("c", created=3),
    )
    plan = decided(snapshot)

    assert sorted(nodes_of(plan)) == ["a", "c"]
    assert verdict_on(plan, "b").reason is Reason.NODE_UNFIT


def test_a_pod_that_was_let_go_to_a_node_counts_there_before_it_is_bound():
    gone = pod("gone", claims=["c"], cpu=6, gated=False)
    written = claim("c", node_name="n1", devices=["gpu-0"], consumers=[gone])
    plan = decided(cluster(gpu_node("n1", cpu=8), gone, written, pod("a", cpu=4)))

    assert nodes_of(plan) == {}
    assert verdict_on(plan, "a").reason is Reason.NODE_UNFIT


def test_pods_that_ended_hold_nothing_and_pods_being_deleted_still_do():
    ended = pod("ended", cpu=8, node_name="n1", phase="Succeeded")
    leaving = pod("leaving", cpu=8, node_name="n2", deleting=True)
    plan = decided(cluster(node("n1", cpu=8), node("n2", cpu=8), ended, leaving, pod("a", cpu=8)))

    assert nodes_of(plan) == {"a": "n1"}


def test_host_ports_are_given_once_per_node():
    plan = decided(
        cluster(
            node("n1"),
            *(with_port(pod(name, created=number)) for number, name in enumerate(["a", "b"])),
        )
    )

    assert nodes_of(plan) == {"a": "n1"}
    assert "hostPort" in [fact.test for fact in verdict_on(plan, "b").facts]


def with_port(item):
    main = replace(item.spec.containers[0], ports=(ContainerPort(container_port=80, host_port=80),))
    return replace(item, spec=replace(item.spec, containers=(main,)))


def test_pods_that_avoid_each_other_go_to_different_nodes():
    apart = Affinity(
        pod_anti_affinity=PodAffinity(
            required=(
                PodAffinityTerm(
                    label_selector=LabelSelector(match_labels={"app": "x"}),
                    topology_key="kubernetes.io/hostname",
                ),
            )
        )
    )
    pods = [pod(name, labels={"app": "x"}, affinity=apart, created=n) for n, name in enumerate("abc")]
    plan = decided(cluster(node("n1"), node("n2"), pods))

    assert sorted(nodes_of(plan).values()) == ["n1", "n2"]
    assert verdict_on(plan, "c").reason is Reason.NODE_UNFIT


def test_pods_that_want_to_be_together_go_to_one_zone():
    together = Affinity(
        pod_affinity=PodAffinity(
            required=(
                PodAffinityTerm(label_selector=LabelSelector(match_labels={"app": "x"}), topology_key="zone"),
            )
        )
    )
    nodes = [node(f"n{n}", cpu=1, labels={"zone": "ab"[n % 2]}) for n in range(4)]
    pods = [pod(f"p{n}", labels={"app": "x"}, affinity=together, created=n) for n in range(3)]
    plan = decided(cluster(nodes, pods))

    assert len(nodes_of(plan)) == 2
    assert len({name[-1] in "02" for name in nodes_of(plan).values()}) == 1


def test_priority_goes_first_then_the_older():
    pods = [
        with_claim("old", created=0),
        with_claim("urgent", created=5, priority=10),
        with_claim("young", created=9),
    ]
    plan = decided(cluster(gpu_node("n1", 2), *pods))

    assert sorted(nodes_of(plan)) == ["old", "urgent"]
    assert verdict_on(plan, "young").reason is Reason.DEVICES_IN_USE


def test_what_fits_overtakes_what_waits_and_the_verdict_says_so():
    snapshot = cluster(
        gpu_node("n1", 2), with_claim("big", request(4), created=0), with_claim("small", created=1)
    )
    plan = decided(snapshot)

    assert nodes_of(plan) == {"small": "n1"}
    waiting = decision_on(plan, "big")
    assert waiting.position == 1
    assert any(fact.test == "overtaken" and fact.count == 1 for fact in waiting.verdict.facts)


def test_pods_outside_managed_namespaces_get_their_claims_but_no_gate_is_lifted():
    plan = decided(
        cluster(namespace("open", managed=False), gpu_node("n1"), with_claim("a", ns="open", gated=False))
    )

    assert devices_of(plan) == {"a-gpu": ["n1/gpu-0"]}
    assert admitted(plan) == []
    assert nodes_of(plan) == {"a": "n1"}


def test_pods_without_gate_and_claims_are_left_to_the_scheduler_unless_the_policy_says_every_pod():
    snapshot = cluster(node("n1"), pod("a", gated=False))

    assert decided(snapshot).decisions == ()
    assert nodes_of(decided(snapshot, Policy(every_pod=True))) == {"a": "n1"}


def test_a_pod_behind_another_gate_waits():
    verdict = verdict_on(decided(cluster(gpu_node("n1"), with_claim("a", gates=["example.com/hold"]))), "a")

    assert verdict.reason is Reason.GATED_BY_OTHERS
    assert verdict.facts[0].subject == "example.com/hold"


def test_a_tainted_device_is_not_given_out():
    tainted = DeviceTaint(key="example.com/broken", effect="NoSchedule")
    plan = decided(cluster(gpu_node("n1", 2, taint=tainted), with_claim("a")))

    assert verdict_on(plan, "a").reason is Reason.DEVICES_TAINTED


def test_two_pods_that_share_an_allocated_claim_go_to_its_node():
    held = pod("held", claims=["c"], node_name="n2")
    shared = claim("c", node_name="n2", devices=["gpu-0"], consumers=[held])
    plan = decided(cluster(gpu_node("n1", 1), gpu_node("n2", 1), held, shared, pod("a", claims=["c"])))

    assert nodes_of(plan) == {"a": "n2"}
    assert reserved(plan) == {"c": ["a"]}


def test_two_pods_that_share_a_new_claim_are_placed_where_both_fit():
    plan = decided(
        cluster(
            gpu_node("n1", 1, cpu=3),
            gpu_node("n2", 8, cpu=4),
            claim("c"),
            pod("a", claims=["c"], cpu=2, created=0),
            pod("b", claims=["c"], cpu=2, created=1),
        )
    )

    assert nodes_of(plan) == {"a": "n2", "b": "n2"}
    assert reserved(plan) == {"c": ["b"]}


def test_a_claim_got_by_one_pod_lets_in_the_next_that_shares_it():
    # "big" finds no CPU beside the claim's devices, "small" does: what failed for one need not for the other.
    plan = decided(
        cluster(
            gpu_node("n1", 1, cpu=3),
            claim("c"),
            pod("big", claims=["c"], cpu=4, created=0),
            pod("small", claims=["c"], cpu=1, created=1),
            pod("tiny", claims=["c"], cpu=1, created=2),
        )
    )

    assert sorted(nodes_of(plan)) == ["small", "tiny"]


def test_a_pod_whose_claim_is_tied_to_a_full_node_waits_for_that_claim():
    plan = decided(
        cluster(
            gpu_node("n1", 1, cpu=3),
            claim("c"),
            pod("a", claims=["c"], cpu=2, created=0),
            pod("b", claims=["c"], cpu=2, created=1),
        )
    )

    assert nodes_of(plan) == {"a": "n1"}
    assert verdict_on(plan, "b").reason is Reason.NODE_UNFIT


def test_a_node_that_is_not_ready_takes_nothing():
    down = node("n1")
    down = replace(down, status=replace(down.status, conditions=(Condition(type="Ready", status="Unknown"),)))
    plan = decided(cluster(down, gpus("n1", 1), with_claim("a")))

    assert "nodeReady" in [fact.test for fact in verdict_on(plan, "a").facts]


def test_drivers_that_are_not_managed_are_left_alone():
    snapshot = cluster(gpu_node("n1"), with_claim("a", gated=False))

    assert decide(snapshot, Policy(managed_drivers=frozenset({"other.example.com"})), NOW).decisions == ()
    assert len(decide(snapshot, Policy(managed_drivers=frozenset({"gpu.example.com"})), NOW).decisions) == 1


def test_the_cluster_says_which_drivers_are_managed_unless_the_policy_does():
    def handing_over(*drivers):
        listed = ConfigMap(
            metadata=ObjectMeta(namespace="aliquot-system", name="aliquot-drivers"),
            data=dict.fromkeys(drivers, ""),
        )
        return cluster(gpu_node("n1"), with_claim("a", gated=False), listed)

    assert decide(handing_over("other.example.com"), Policy(), NOW).decisions == ()
    assert decide(handing_over(), Policy(), NOW).decisions == ()
    assert len(decide(handing_over("gpu.example.com"), Policy(), NOW).decisions) == 1
    chosen = Policy(managed_drivers=frozenset({"gpu.example.com"}))
    assert len(decide(handing_over("other.example.com"), chosen, NOW).decisions) == 1


def test_the_gate_of_a_pod_for_another_allocator_is_lifted_and_the_pod_is_not_pinned():
    snapshot = cluster(gpu_node("n1"), with_claim("a"))
    plan = decide(snapshot, Policy(managed_drivers=frozenset({"other.example.com"})), NOW)

    assert devices_of(plan) == {}
    assert admitted(plan) == ["a"]
    assert not decision_on(plan, "a").placements[0].pin
