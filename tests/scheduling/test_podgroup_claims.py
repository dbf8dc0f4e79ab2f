"""Claims that belong to a PodGroup: reserved once, for the group."""

from msgspec.structs import replace
from tests.scheduling.builders import claim, cluster, gpu_node, namespace, pod, pod_group, queue, request
from tests.scheduling.looking import admitted, decided, nodes_of, verdict_on

from aliquot.model.core import Pod, PodResourceClaim
from aliquot.model.meta import OwnerReference
from aliquot.model.resource import ConsumerReference, ResourceClaim
from aliquot.model.verdicts import Reason
from aliquot.model.workloads import PodGroup, PodGroupResourceClaim
from aliquot.scheduling.plan import Allocate, Deallocate, Reserve

TEAM = ConsumerReference(api_group="scheduling.k8s.io", resource="podgroups", name="team", uid="uid-pg-team")


def group(minimum: int) -> PodGroup:
    """The PodGroup "team" with an entry t0 made from the template t."""
    made = pod_group("team", minimum)
    entry = PodGroupResourceClaim(name="t0", resource_claim_template_name="t")
    return replace(made, spec=replace(made.spec, resource_claims=(entry,)))


def shared(*requests, consumers=(), **about) -> ResourceClaim:  # type: ignore[no-untyped-def]
    """The claim made for the group."""
    made = claim("shared", *requests, **about)
    owner = OwnerReference(
        api_version="scheduling.k8s.io/v1alpha2",
        kind="PodGroup",
        name="team",
        uid="uid-pg-team",
        controller=True,
    )
    return replace(
        made,
        metadata=replace(made.metadata, owner_references=(owner,)),
        status=replace(made.status, reserved_for=tuple(consumers)),
    )


def member(name: str, **about) -> Pod:  # type: ignore[no-untyped-def]
    return pod(name, generated=["shared"], group="team", **about)


def test_a_gang_of_a_group_gets_its_claim_once_for_the_group():
    snapshot = cluster(gpu_node("n1", 4), group(3), shared(request(2)), [member(f"m{n}") for n in range(3)])
    plan = decided(snapshot)

    assert nodes_of(plan) == {"m0": "n1", "m1": "n1", "m2": "n1"}
    (given,) = [action for action in plan.actions if isinstance(action, Allocate)]
    assert given.consumers == (TEAM,)
    assert sorted(admitted(plan)) == ["m0", "m1", "m2"]


def test_a_pod_that_comes_later_needs_no_reservation_of_its_own():
    held = shared(node_name="n1", devices=["gpu-0"], consumers=[TEAM])
    snapshot = cluster(gpu_node("n1"), group(1), held, member("m0", node_name="n1"), member("m1"))
    plan = decided(snapshot)

    assert nodes_of(plan) == {"m1": "n1"}
    assert not any(isinstance(action, Reserve) for action in plan.actions)


def test_300_pods_use_a_claim_of_their_group():
    pods = [member(f"m{n:03}", cpu="10m", memory="1Mi") for n in range(300)]
    plan = decided(cluster(gpu_node("n1", 1, pods=500), group(300), shared(), pods))

    assert len(nodes_of(plan)) == 300


def test_an_entry_that_is_not_the_groups_is_the_pods_own():
    user = pod("a", group="team", claims=["own"])
    plan = decided(cluster(gpu_node("n1"), group(1), claim("own"), user))

    (given,) = [action for action in plan.actions if isinstance(action, Allocate)]
    assert [(item.resource, item.name) for item in given.consumers] == [("pods", "a")]


def test_an_entry_of_the_same_name_for_another_claim_is_the_pods_own():
    user = pod("a", group="team", claims=["own"])
    entries = (PodResourceClaim(name="t0", resource_claim_name="own"),)
    user = replace(user, spec=replace(user.spec, resource_claims=entries))
    plan = decided(cluster(gpu_node("n1"), group(1), claim("own"), user))

    (given,) = [action for action in plan.actions if isinstance(action, Allocate)]
    assert given.consumers[0].resource == "pods"


def test_a_claim_of_another_group_is_not_used():
    foreign = replace(
        shared(),
        metadata=replace(
            shared().metadata,
            owner_references=(replace(shared().metadata.owner_references[0], name="other"),),
        ),
    )
    plan = decided(cluster(gpu_node("n1"), group(1), foreign, member("m0")))

    assert verdict_on(plan, "m0").reason is Reason.WAITING_FOR_CLAIMS


def test_a_groups_claim_counts_in_its_queue():
    held = shared(request(2), node_name="n1", devices=["gpu-0", "gpu-1"], consumers=[TEAM])
    waiting = pod("b", claims=["c"])
    snapshot = cluster(
        gpu_node("n1"),
        namespace(**{"aliquot.dev/queue": "q"}),
        queue("q", limits={"gpu": "2"}),
        *(group(1), held, member("m0", node_name="n1")),
        *(waiting, claim("c")),
    )

    assert verdict_on(decided(snapshot), "b").reason is Reason.OVER_LIMIT


def test_a_groups_claim_that_nobody_can_use_where_it_is_is_given_back():
    held = shared(node_name="n1", devices=["gpu-0"], consumers=[TEAM])
    full = pod("full", cpu=63, node_name="n1")
    objects = [gpu_node("n1"), gpu_node("n2"), group(2), full, member("m0"), member("m1")]
    plan = decided(cluster(objects, held))

    assert [action.claim.name for action in plan.actions if isinstance(action, Deallocate)] == ["shared"]
    assert nodes_of(decided(cluster(objects, shared()))) == {"m0": "n2", "m1": "n2"}


def test_a_groups_claim_stays_while_one_of_its_pods_is_on_its_way():
    held = shared(node_name="n1", devices=["gpu-0"], consumers=[TEAM])
    full = pod("full", cpu=63, node_name="n1")
    objects = [gpu_node("n1"), gpu_node("n2"), group(2), full, member("m0", gated=False), member("m1")]

    assert not any(isinstance(action, Deallocate) for action in decided(cluster(objects, held)).actions)
