"""Extended resources that device classes stand for: found a node, let go one at a time, verified."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    CLASS,
    NOW,
    claim,
    cluster,
    device_class,
    gpu_node,
    job,
    namespace,
    node,
    pod,
    q,
    queue,
    with_claim,
)
from tests.scheduling.looking import admitted, decided, devices_of, evicted, nodes_of, verdict_on

from aliquot.model.core import Container, Pod, PodSpec, ResourceRequirements
from aliquot.model.meta import Condition, OwnerReference
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.extended import backing_classes, device_requests
from aliquot.scheduling.plan import Admit
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy

GPU = "example.com/gpu"
ASKS = {"example.com__gpu": 1}


def backed(name: str = CLASS, resource: str = GPU, created: int = 0):  # type: ignore[no-untyped-def]
    made = device_class(name)
    when = NOW + timedelta(seconds=created)
    return replace(
        made,
        metadata=replace(made.metadata, creation_timestamp=when),
        spec=replace(made.spec, extended_resource_name=resource),
    )


def asking(name: str, count: int = 1, **about) -> Pod:  # type: ignore[no-untyped-def]
    return pod(name, **{"example.com__gpu": count}, **about)


def let_go(name: str, node_name: str, count: int = 1, **about) -> Pod:  # type: ignore[no-untyped-def]
    """A pod without its gate, pinned to a node and not bound."""
    return asking(name, count, gated=False, selector={"kubernetes.io/hostname": node_name}, **about)


def special(user: Pod, node_name: str, *devices: str, age: float = 60) -> ResourceClaim:
    """The claim that the scheduler made for a pod."""
    made = claim(f"{user.name}-x", owner=user, node_name=node_name, devices=devices, consumers=[user])
    allocation = made.status.allocation
    assert allocation is not None
    return replace(
        made,
        metadata=replace(
            made.metadata, annotations={"resource.kubernetes.io/extended-resource-claim": "true"}
        ),
        status=replace(
            made.status,
            allocation=replace(allocation, allocation_timestamp=NOW - timedelta(seconds=age)),
        ),
    )


def written(made: ResourceClaim, age: float) -> ResourceClaim:
    """The claim as allocated so many seconds ago."""
    allocation = replace(made.status.allocation, allocation_timestamp=NOW - timedelta(seconds=age))
    return replace(made, status=replace(made.status, allocation=allocation))


def test_a_pod_is_pinned_to_a_node_with_free_devices_and_no_claim_is_written():
    plan = decided(cluster(backed(), gpu_node("n1", 0), gpu_node("n2", 2), asking("a", 2)))

    (admit,) = plan.actions
    assert isinstance(admit, Admit)
    assert [(spot.pod.name, spot.node, spot.pin) for spot in admit.placements] == [("a", "n2", True)]


def test_the_implicit_name_of_a_class_works_too():
    user = pod("a", **{f"deviceclass.resource.kubernetes.io__{CLASS}": 1})
    assert nodes_of(decided(cluster(gpu_node("n1", 1), user))) == {"a": "n1"}


def test_before_1_36_the_scheduler_serves_no_extended_resources():
    plan = decided(cluster(backed(), gpu_node("n1", 1), asking("a")), Policy(kubernetes=(1, 35)))

    assert verdict_on(plan, "a").reason is Reason.NODE_UNFIT


def test_too_few_free_devices_make_it_wait_like_a_claim():
    held = claim("c", node_name="n1", devices=["gpu-0"], consumers=[pod("u", claims=["c"], node_name="n1")])
    plan = decided(
        cluster(backed(), gpu_node("n1", 2), pod("u", claims=["c"], node_name="n1"), held, asking("a", 2))
    )

    assert verdict_on(plan, "a").reason is Reason.DEVICES_IN_USE


def test_a_device_plugin_serves_the_resource_on_its_own_node():
    legacy = node("n1", **{"example.com__gpu": 1})
    plan = decided(cluster(backed(), legacy, gpu_node("n2", 1), asking("a")))
    assert nodes_of(plan) == {"a": "n1"}

    busy = asking("b", node_name="n1")
    plan = decided(cluster(backed(), legacy, gpu_node("n2", 1), busy, asking("a")))
    assert nodes_of(plan) == {"a": "n2"}


def test_devices_beside_a_full_device_plugin_are_not_for_the_resource():
    both = gpu_node("n1", 4, **{"example.com__gpu": 1})
    plan = decided(cluster(backed(), both, asking("b", node_name="n1"), asking("a")))

    assert nodes_of(plan) == {}


def test_pods_go_one_at_a_time_on_a_node():
    plan = decided(cluster(backed(), gpu_node("n1", 4), asking("a"), asking("b"), gpu_node("n2", 4)))

    assert sorted(nodes_of(plan).values()) == ["n1", "n2"]
    plan = decided(cluster(backed(), gpu_node("n1", 4), asking("a"), asking("b")))
    assert nodes_of(plan) == {"a": "n1"}


def test_of_a_gang_on_one_node_one_goes_and_the_others_settle():
    members = [asking(f"m{n}", job="j") for n in range(3)]
    plan = decided_freely(cluster(backed(), gpu_node("n1", 3), job("j", 3), members))

    assert admitted(plan) == ["m0"]
    verdict = verdict_on(plan, "m1")
    assert (verdict.reason, verdict.facts[0].subject) == (Reason.NODE_SETTLING, "n1")


def decided_freely(snapshot, policy=None):  # type: ignore[no-untyped-def]
    """The plan of a gang that is let go in parts, which `check_plan` rightly notices."""
    plan = decide(snapshot, policy or Policy(), NOW)
    rules = {breach.rule for breach in check_plan(snapshot, plan, policy or Policy())}
    assert rules <= {"GangInPart"}
    return plan


def test_a_gang_that_does_not_fit_as_a_whole_waits():
    members = [asking(f"m{n}", job="j") for n in range(4)]
    plan = decided(cluster(backed(), gpu_node("n1", 3), job("j", 4), members))

    assert admitted(plan) == []


def test_nothing_is_given_out_on_a_node_where_the_scheduler_allocates():
    flying = let_go("a", "n1")
    snapshot = cluster(backed(), gpu_node("n1", 4), flying, with_claim("b"))
    assert devices_of(decided(snapshot)) == {}

    snapshot = cluster(backed(), gpu_node("n1", 4), gpu_node("n2", 1), flying, with_claim("b"))
    assert devices_of(decided(snapshot)) == {"b-gpu": ["n2/gpu-0"]}


def test_once_the_schedulers_claim_is_there_the_rest_is_given_out():
    flying = let_go("a", "n1")
    snapshot = cluster(backed(), gpu_node("n1", 2), flying, special(flying, "n1", "gpu-0"), with_claim("b"))

    assert devices_of(decided(snapshot)) == {"b-gpu": ["n1/gpu-1"]}


def test_a_bound_pod_whose_claim_has_not_been_seen_holds_the_node_up():
    bound = asking("a", node_name="n1")
    assert devices_of(decided(cluster(backed(), gpu_node("n1", 2), bound, with_claim("b")))) == {}


@pytest.mark.parametrize(("age", "goes"), [(4, False), (6, True)])
def test_a_pod_goes_when_the_scheduler_had_time_to_see_what_was_written(age, goes):
    user = pod("u", claims=["c"], node_name="n1")
    held = written(claim("c", node_name="n1", devices=["gpu-0"], consumers=[user]), age)
    plan = decided(cluster(backed(), gpu_node("n1", 2), user, held, asking("a")), Policy(settle_seconds=5))

    assert admitted(plan) == (["a"] if goes else [])
    if not goes:
        assert verdict_on(plan, "a").reason is Reason.NODE_SETTLING


def test_what_the_plan_itself_writes_has_to_settle_first():
    plan = decided(cluster(backed(), gpu_node("n1", 2), with_claim("a", created=0), asking("b", created=1)))

    assert devices_of(plan) == {"a-gpu": ["n1/gpu-0"]}
    assert verdict_on(plan, "b").reason is Reason.NODE_SETTLING


def test_a_pod_with_a_claim_besides_gets_that_first():
    both = asking("a", generated=["a-gpu"])
    plan = decided(cluster(backed(), gpu_node("n1", 2), both, claim("a-gpu", owner=both)))
    assert list(devices_of(plan)) == ["a-gpu"]
    assert admitted(plan) == []

    held = written(claim("a-gpu", owner=both, node_name="n1", devices=["gpu-0"], consumers=[both]), 60)
    plan = decided(cluster(backed(), gpu_node("n1", 2), both, held))
    assert admitted(plan) == ["a"]
    assert devices_of(plan) == {}


def test_the_schedulers_claim_counts_once_in_the_queue():
    bound = asking("a", node_name="n1")
    objects = [
        backed(),
        namespace(**{"aliquot.dev/queue": "q"}),
        queue("q", limits={"gpu": "2"}),
        gpu_node("n1", 4),
        bound,
        special(bound, "n1", "gpu-0"),
    ]

    assert admitted(decided(cluster(objects, asking("b")))) == ["b"]
    assert verdict_on(decided(cluster(objects, asking("b", 2))), "b").reason is Reason.OVER_LIMIT


def unschedulable(user: Pod, since: float) -> Pod:
    """The pod as one let go so long ago and found unschedulable."""
    at = NOW - timedelta(seconds=since)
    found = Condition(type="PodScheduled", status="False", reason="Unschedulable", last_transition_time=at)
    told = Condition(type=PLACED, status="True", reason="Placed", last_transition_time=at)
    return replace(user, status=replace(user.status, conditions=(found, told)))


@pytest.mark.parametrize(("since", "gone"), [(59, []), (61, ["a"])])
def test_a_pod_that_the_scheduler_cannot_serve_is_replaced(since, gone):
    stuck = unschedulable(let_go("a", "n1", owner="web"), since)
    plan = decided(cluster(backed(), gpu_node("n1", 2), stuck), Policy(bind_patience_seconds=60))

    assert evicted(plan) == gone


def test_a_bare_pod_that_the_scheduler_cannot_serve_does_not_hold_the_node_up_for_ever():
    stuck = unschedulable(let_go("a", "n1"), 100)
    plan = decided(cluster(backed(), gpu_node("n1", 2), stuck, with_claim("b")))

    assert devices_of(plan) == {"b-gpu": ["n1/gpu-0"]}
    assert evicted(plan) == []


def test_a_device_that_both_gave_out_costs_the_schedulers_pod_its_place():
    ours, theirs = pod("u", claims=["c"], node_name="n1"), asking("a", node_name="n1")
    held = claim("c", node_name="n1", devices=["gpu-0"], consumers=[ours])
    snapshot = cluster(backed(), gpu_node("n1", 2), ours, held, theirs, special(theirs, "n1", "gpu-0"))
    plan = decide(snapshot, Policy(), NOW)

    assert evicted(plan) == ["a"]
    verdict = verdict_on(plan, "a")
    assert (verdict.reason, verdict.facts[0].available) == (Reason.DEVICE_HELD_TWICE, "c")


def container(name: str, count: int, **about: str) -> Container:
    amounts = {GPU: q(str(count)), "cpu": q("1")} if count else {}
    return Container(name=name, resources=ResourceRequirements(requests=amounts), **about)


@pytest.mark.parametrize(
    ("init", "regular", "wanted"),
    [
        ((), (1, 0, 2), {"container-0-request-1": 1, "container-2-request-1": 2}),
        ((3,), (1, 1), {"container-0-request-1": 1, "container-1-request-1": 1, "container-2-request-1": 1}),
        ((2,), (1, 1), {"container-1-request-1": 1, "container-2-request-1": 1}),
        ((4, 3), (1,), {"container-0-request-1": 3, "container-2-request-1": 1}),
    ],
)
def test_requests_are_made_as_the_scheduler_makes_them(init, regular, wanted):
    spec = PodSpec(
        init_containers=tuple(container(f"i{n}", count) for n, count in enumerate(init)),
        containers=tuple(container(f"c{n}", count) for n, count in enumerate(regular)),
    )
    requests, _ = device_requests(spec, {GPU: CLASS})

    assert {item.name: item.exactly.count for item in requests} == wanted


def test_sidecars_keep_their_devices_and_containers_before_them_cannot_use_less():
    spec = PodSpec(
        init_containers=(container("early", 1), container("side", 1, restart_policy="Always")),
        containers=(container("main", 1),),
    )
    requests, mapped = device_requests(spec, {GPU: CLASS})

    assert [item.name for item in requests] == ["container-1-request-1", "container-2-request-1"]
    assert sorted(mapped) == [
        ("early", GPU, "container-1-request-1"),
        ("main", GPU, "container-2-request-1"),
        ("side", GPU, "container-1-request-1"),
    ]


def test_the_newest_class_stands_for_a_name_and_of_equals_the_first():
    classes = [backed("b", created=5), backed("a", created=5), backed("c", created=1)]
    assert backing_classes(classes)[GPU] == "a"


def test_a_special_claim_is_never_taken_for_unused():
    gone = special(asking("a", node_name="n1"), "n1", "gpu-0")
    orphan = replace(
        gone,
        metadata=replace(gone.metadata, owner_references=(OwnerReference(kind="Pod", name="a", uid="x"),)),
        status=replace(gone.status, reserved_for=()),
    )
    assert decided(cluster(backed(), gpu_node("n1", 2), orphan)).actions == ()
