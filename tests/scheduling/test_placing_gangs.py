"""Gangs: all that must start together is placed together, or nothing is."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    claim,
    cluster,
    gpu_node,
    job,
    node,
    pod,
    pod_group,
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
    verdict_on,
)

from aliquot.cli.version import core
from aliquot.model.core import WorkloadReference
from aliquot.model.meta import ObjectMeta
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.model.verdicts import Reason
from aliquot.model.workloads import (
    GangSchedulingPolicy,
    PodGroupTemplate,
    SchedulingPolicy,
    Workload,
    WorkloadSpec,
)
from aliquot.scheduling.closeness import Closeness
from aliquot.scheduling.plan import Admit
from aliquot.workloads.gangs import GANG_ANNOTATION, GANG_SIZE_ANNOTATION


def members(count, *requests, **options):
    return [item for n in range(count) for item in with_claim(f"p{n}", *requests, **options)]


def test_the_pods_of_a_job_are_let_go_together():
    plan = decided(cluster(gpu_node("n1", 2), gpu_node("n2", 2), job("train", 4), members(4, job="train")))

    assert len(nodes_of(plan)) == 4
    (decision,) = plan.decisions
    assert decision.workload.kind == "Job"
    admits = [action for action in decision.actions if isinstance(action, Admit)]
    assert len(admits) == 1
    assert len(admits[0].placements) == 4
    assert decision.actions[-1] is admits[0]


def test_a_job_that_fits_in_part_gets_nothing():
    plan = decided(cluster(gpu_node("n1", 3), job("train", 4), members(4, job="train")))

    assert nodes_of(plan) == {}
    verdict = verdict_on(plan, "p0")
    assert verdict.reason is Reason.GANG_DOES_NOT_FIT
    assert (verdict.facts[0].wanted, verdict.facts[0].available) == ("4", "3")
    assert verdict.facts[1].subject == Reason.DEVICES_IN_USE.value


def test_a_gang_that_does_not_fit_leaves_room_for_what_does():
    plan = decided(
        cluster(gpu_node("n1", 3), job("train", 4), members(4, job="train"), with_claim("alone", created=5))
    )

    assert nodes_of(plan) == {"alone": "n1"}


def test_a_job_waits_until_all_its_pods_are_there():
    plan = decided(cluster(gpu_node("n1", 8), job("train", 4), members(3, job="train")))

    verdict = verdict_on(plan, "p0")
    assert verdict.reason is Reason.WAITING_FOR_MEMBERS
    assert (verdict.facts[0].wanted, verdict.facts[0].available) == ("4", "3")


def test_the_last_pods_of_a_job_need_no_more_than_are_left_to_complete():
    done = [pod(f"done{n}", job="train", node_name="n1", phase="Succeeded") for n in range(2)]
    plan = decided(cluster(gpu_node("n1", 8), job("train", 4, completions=3), done, members(1, job="train")))

    assert len(nodes_of(plan)) == 1


def test_a_replaced_pod_of_a_running_job_is_placed_alone():
    running = [pod(f"r{n}", job="train", node_name="n1") for n in range(3)]
    plan = decided(cluster(gpu_node("n1", 8), job("train", 4), running, members(1, job="train")))

    assert list(nodes_of(plan)) == ["p0"]


def test_pods_of_a_job_may_be_declared_independent():
    pods = members(4, job="sweep", annotations={GANG_SIZE_ANNOTATION: "1"})
    plan = decided(cluster(gpu_node("n1", 3), job("sweep", 4), pods))

    assert len(nodes_of(plan)) == 3
    assert [len(decision.pods) for decision in plan.decisions] == [3, 1]


def test_a_pod_group_starts_with_its_minimum_and_grows_as_far_as_it_can():
    plan = decided(cluster(gpu_node("n1", 3), pod_group("g", 2), members(4, group="g")))

    assert len(nodes_of(plan)) == 3
    assert verdict_on(plan, "p3").reason is Reason.DEVICES_IN_USE


def test_a_pod_group_below_its_minimum_gets_nothing():
    plan = decided(cluster(gpu_node("n1", 3), pod_group("g", 4), members(4, group="g")))

    assert nodes_of(plan) == {}


def test_pods_of_a_pod_group_without_gang_policy_stand_alone():
    plan = decided(cluster(gpu_node("n1", 1), pod_group("g", None), members(2, group="g")))

    assert len(nodes_of(plan)) == 1


def test_a_pod_group_that_does_not_exist_is_named():
    verdict = verdict_on(decided(cluster(gpu_node("n1"), members(1, group="nowhere"))), "p0")

    assert verdict.reason is Reason.WAITING_FOR_MEMBERS
    assert verdict.facts[0].subject == "podgroup/team/nowhere"


def test_a_workload_of_kubernetes_1_35_makes_a_gang_per_group_and_replica():
    template = PodGroupTemplate(
        name="workers", policy=SchedulingPolicy(gang=GangSchedulingPolicy(min_count=2))
    )
    workload = Workload(
        metadata=ObjectMeta(name="w", namespace="team"), spec=WorkloadSpec(pod_groups=(template,))
    )
    objects = []
    for number, item in enumerate(["a", "b", "c"]):
        made, of_pod = with_claim(item)
        reference = WorkloadReference(name="w", pod_group="workers", pod_group_replica_key=str(number // 2))
        objects += [replace(made, spec=replace(made.spec, workload_ref=reference)), of_pod]
    plan = decided(cluster(gpu_node("n1"), workload, objects))

    assert sorted(nodes_of(plan)) == ["a", "b"]
    assert verdict_on(plan, "c").reason is Reason.WAITING_FOR_MEMBERS


@pytest.mark.parametrize(("size", "placed"), [("3", 3), ("4", 0), ("x", 0)])
def test_a_gang_may_be_named_by_annotation(size, placed):
    marks = {GANG_ANNOTATION: "ring", GANG_SIZE_ANNOTATION: size}
    plan = decided(cluster(gpu_node("n1"), members(3, annotations=marks)))

    assert len(nodes_of(plan)) == placed


def test_a_larger_member_that_would_be_locked_out_is_given_its_place_first():
    small = with_claim("a-small", request(1), group="g")
    large = with_claim("b-large", request(2), cpu=8, group="g")
    plan = decided(cluster(gpu_node("n1", 2), gpu_node("n2", 1, cpu=4), pod_group("g", 2), small, large))

    assert nodes_of(plan) == {"a-small": "n2", "b-large": "n1"}


def test_members_are_moved_when_best_fit_leaves_another_without_a_place():
    # "any" goes to the fullest node first, which is the only one that "picky" may use.
    anywhere = with_claim("any", request(1), cpu=4, group="g")
    picky = with_claim("picky", request(1), cpu=1, selector={"zone": "a"}, group="g")
    plan = decided(
        cluster(
            gpu_node("n1", 1, labels={"zone": "a"}),
            gpu_node("n2", 2),
            pod_group("g", 2),
            anywhere,
            picky,
        )
    )

    assert nodes_of(plan) == {"any": "n2", "picky": "n1"}


def test_pods_of_a_gang_that_share_a_claim_go_to_one_node_with_room_for_all():
    sharing = [pod(f"p{n}", claims=["c"], cpu=2, group="g") for n in range(3)]
    plan = decided(
        cluster(gpu_node("n1", 1, cpu=4), gpu_node("n2", 2, cpu=6), pod_group("g", 3), claim("c"), sharing)
    )

    assert set(nodes_of(plan).values()) == {"n2"}
    (allocate,) = [action for action in plan.actions if hasattr(action, "allocation")]
    assert [item.name for item in allocate.consumers] == ["p0", "p1", "p2"]


def test_a_gang_of_more_pods_than_a_claim_takes_waits():
    sharing = [pod(f"p{n:03}", claims=["c"], cpu="1m", memory="1Mi", group="g") for n in range(257)]
    plan = decided(cluster(gpu_node("n1", 1, pods=300), pod_group("g", 257), claim("c"), sharing))

    assert nodes_of(plan) == {}
    assert verdict_on(plan, "p000").reason is Reason.CLAIM_IN_USE


def test_a_gang_half_let_go_before_a_crash_is_completed_around_what_is_written():
    gone = pod("p0", generated=["p0-gpu"], group="g", gated=False)
    written = claim("p0-gpu", owner=gone, node_name="n1", devices=["gpu-0"], consumers=[gone])
    half = pod("p1", generated=["p1-gpu"], group="g")
    half_claim = claim("p1-gpu", owner=half, node_name="n2", devices=["gpu-1"], consumers=[half])
    snapshot = cluster(
        gpu_node("n1", 2), gpu_node("n2", 2), pod_group("g", 3), gone, written, half, half_claim,
        with_claim("p2", group="g"),
    )  # fmt: skip
    plan = decided(snapshot)

    assert nodes_of(plan)["p1"] == "n2"
    assert sorted(admitted(plan)) == ["p1", "p2"]
    assert list(devices_of(plan)) == ["p2-gpu"]
    assert decided(after(snapshot, plan)).decisions == ()


def test_what_was_written_for_a_gang_that_can_not_be_completed_is_given_back_by_replacing_its_pod():
    half = pod("p0", generated=["p0-gpu"], job="train")
    half_claim = claim("p0-gpu", owner=half, node_name="n1", devices=["gpu-0"], consumers=[half])
    snapshot = cluster(gpu_node("n1", 1), job("train", 2), half, half_claim, with_claim("p1", job="train"))
    plan = decided(snapshot)

    assert verdict_on(plan, "p1").reason is Reason.GANG_DOES_NOT_FIT
    assert [action.pod.name for action in plan.actions if hasattr(action, "pod")] == ["p0"]


def test_a_gang_waits_for_the_claim_of_one_member():
    lacking = pod("p1", not_made=["gpu"], group="g")
    plan = decided(cluster(gpu_node("n1"), pod_group("g", 2), with_claim("p0", group="g"), lacking))

    verdict = verdict_on(plan, "p0")
    assert verdict.reason is Reason.WAITING_FOR_CLAIMS
    assert verdict.facts[0].test == "claimNotMade"


def test_gangs_of_one_snapshot_are_told_apart():
    snapshot = cluster(
        gpu_node("n1", 4),
        pod_group("g", 2),
        pod_group("h", 2),
        members(2, group="g"),
        [item for n in range(2) for item in with_claim(f"h{n}", group="h")],
    )
    plan = decided(snapshot)

    assert {decision.workload.name for decision in plan.decisions} == {"g", "h"}
    assert len(nodes_of(plan)) == 4


def test_a_gang_without_devices_is_placed_and_pinned():
    plan = decided(
        cluster(
            node("n1", cpu=2), node("n2", cpu=2), job("mpi", 4), [pod(f"p{n}", job="mpi") for n in range(4)]
        )
    )

    assert all(spot.pin for spot in decision_on(plan, "p0").placements)
    assert sorted(nodes_of(plan).values()) == ["n1", "n1", "n2", "n2"]


@pytest.mark.skipif(core() == "native", reason="calls within the native core cannot be watched")
@pytest.mark.parametrize(("devices", "looked"), [(2, False), (1, True)])
def test_no_domain_is_looked_at_for_pods_that_fit_on_no_node(devices, looked, monkeypatch):
    # Four nodes in two racks have one device free each: two pods with one fit into a rack, with two nowhere.
    gpu = "nvidia.com/gpu"
    rack = TopologyLevel(name="rack", node_label="r")
    topology = Topology(metadata=ObjectMeta(name="dc"), spec=TopologySpec(levels=(rack,)))
    nodes = [node(f"n{n}", labels={"r": f"r{n // 2}"}, **{gpu: 4}) for n in range(4)]
    running = [pod(f"old-{n}", node_name=f"n{n}", **{gpu: 3}) for n in range(4)]
    notes = {
        GANG_ANNOTATION: "pair",
        GANG_SIZE_ANNOTATION: "2",
        "aliquot.dev/topology": "dc",
        "aliquot.dev/topology-required": "rack",
    }
    pair = [pod(f"pair-{n}", annotations=notes, **{gpu: devices}) for n in range(2)]
    asked = []
    original = Closeness.domains

    def watched(self, *arguments):
        asked.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(Closeness, "domains", watched)
    plan = decided(cluster(topology, nodes, running, pair))

    assert bool(asked) is looked
    assert len(admitted(plan)) == (2 if looked else 0)
    if not looked:
        assert verdict_on(plan, "pair-0").reason is Reason.NODE_UNFIT
