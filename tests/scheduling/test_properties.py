"""What holds for every plan, on small random clusters."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import (
    NOW,
    claim,
    cluster,
    gpu_node,
    namespace,
    node,
    pod,
    pod_group,
    queue,
    request,
    with_claim,
)

from aliquot.model.core import Affinity, PodAffinity, PodAffinityTerm, Taint, Toleration
from aliquot.model.meta import LabelSelector
from aliquot.model.snapshot import Snapshot
from aliquot.model.workloads import GangSchedulingPolicy, SchedulingPolicy
from aliquot.scheduling.affinity import node_fall
from aliquot.scheduling.alike import Likeness
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import decision_sentence, paragraph


def _near(app, key):
    selector = LabelSelector(match_labels={"app": app})
    return PodAffinity(required=(PodAffinityTerm(label_selector=selector, topology_key=key),))


NEIGHBOURS = [
    Affinity(pod_anti_affinity=_near("x", "kubernetes.io/hostname")),
    Affinity(pod_anti_affinity=_near("y", "zone")),
    Affinity(pod_affinity=_near("x", "zone")),
]
FIRE = Taint(key="fire", effect="NoSchedule")


@st.composite
def clusters(draw):
    """One to four nodes, up to three gangs and some single pods, in two queues with limits."""
    objects = [namespace("open", managed=False)]
    for number in range(draw(st.integers(1, 4))):
        options = {
            "cpu": draw(st.integers(1, 8)),
            "labels": {"zone": draw(st.sampled_from("ab"))},
            "taints": [FIRE] if draw(st.integers(0, 4)) == 0 else [],
        }
        count = draw(st.integers(0, 4))
        name = f"n{number}"
        if count:
            objects += gpu_node(name, count, shareable=draw(st.booleans()), per_root=2, **options)
        else:
            objects.append(node(name, **options))
    objects.append(queue("org", limits={"gpu": str(draw(st.integers(0, 8)))}))
    objects.append(
        queue("red", "org", limits={"gpu": "2500m", "cpu": "9"}, priority=draw(st.integers(0, 200)))
    )
    serial = itertools.count()
    for number in range(draw(st.integers(0, 3))):
        size = draw(st.integers(1, 3))
        objects.append(pod_group(f"g{number}", draw(st.integers(1, size))))
        for _ in range(size):
            objects += _pod(draw, next(serial), group=f"g{number}")
    for _ in range(draw(st.integers(0, 4))):
        objects += _pod(draw, next(serial))
    return cluster(objects)


def _pod(draw, number, **options):
    options |= {
        "cpu": draw(st.integers(0, 4)),
        "created": draw(st.integers(0, 3)),
        "priority": draw(st.integers(0, 2)),
        "labels": {
            **(
                {"aliquot.dev/queue": draw(st.sampled_from(["red", "org", "none"]))}
                if draw(st.booleans())
                else {}
            ),
            "app": draw(st.sampled_from("xyz")),
        },
        "affinity": draw(st.sampled_from([None, None, None, None, *NEIGHBOURS])),
        "selector": {"zone": "a"} if draw(st.integers(0, 3)) == 0 else {},
        "tolerations": [Toleration(key="fire", operator="Exists")] if draw(st.booleans()) else [],
    }
    kind = draw(st.sampled_from(["devices", "share", "match", "none", "shared", "open"]))
    name = f"p{number}"
    match kind:
        case "devices":
            return with_claim(name, request(draw(st.integers(1, 3))), **options)
        case "share":
            return with_claim(name, request(memory=f"{draw(st.integers(1, 80))}Gi"), **options)
        case "match":
            return with_claim(name, request(2), match="gpu.example.com/root", **options)
        case "shared":
            return [pod(name, claims=["common"], **options), claim("common", request())]
        case "open" if "group" not in options:
            return with_claim(name, ns="open", gated=False, **options)
        case _:
            return [pod(name, **options)]


policies = st.builds(Policy, strict_fifo=st.booleans(), gang_search=st.sampled_from([0, 200]))


@settings(max_examples=150, deadline=None)
@given(clusters(), policies)
def test_a_plan_leaves_a_sound_cluster(snapshot, policy):
    assert check_plan(snapshot, decide(snapshot, policy, NOW), policy) == ()


@settings(max_examples=60, deadline=None)
@given(clusters(), policies, st.integers())
def test_the_order_of_the_input_does_not_matter(snapshot, policy, seed):
    objects = list(snapshot.objects())
    random.Random(seed).shuffle(objects)

    assert decide(Snapshot.of(objects), policy, NOW) == decide(snapshot, policy, NOW)


@settings(max_examples=60, deadline=None)
@given(st.lists(clusters(), min_size=2, max_size=3), policies)
def test_what_was_decided_before_does_not_matter(snapshots, policy):
    memory = Memory()
    for snapshot in snapshots:
        afresh = decide(snapshot, policy, NOW)
        assert decide(snapshot, policy, NOW, memory=memory) == afresh
        later = apply(snapshot, afresh, NOW)
        assert decide(later, policy, NOW, memory=memory) == decide(later, policy, NOW)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(clusters())
def test_a_plan_leaves_nothing_behind_that_fits(snapshot):
    # A claim that several pods share may be got by a later one, which lets an earlier one in next time; and
    # so may a pod be placed later that an earlier one wants to be near.
    shared = [item for item in snapshot.resource_claims if item.name == "common"]
    assume(not shared and not any(item.spec.affinity for item in snapshot.pods))
    first = decide(snapshot, Policy(), NOW)
    later = decide(apply(snapshot, first, NOW), Policy(), NOW)

    assert not any(decision.placements for decision in later.decisions)


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_every_pod_to_decide_is_placed_or_told_why_not_and_never_both(snapshot):
    plan = decide(snapshot, Policy(), NOW)
    placed = [spot.pod.name for decision in plan.decisions for spot in decision.placements]
    waiting = [
        pod.name for decision in plan.decisions if decision.verdict is not None for pod in decision.pods
    ]

    assert sorted(placed + waiting) == sorted(pod.name for pod in snapshot.pods)


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_every_verdict_can_be_put_in_words(snapshot):
    for decision in decide(snapshot, Policy(), NOW).decisions:
        text = decision_sentence(decision)
        assert text
        assert "\n" not in text
        if decision.verdict is not None:
            assert paragraph(decision.verdict).endswith(".")
            assert decision.verdict.facts


@settings(max_examples=60, deadline=None)
@given(clusters(), st.integers(0, 3))
def test_a_lost_node_leads_to_no_second_use_of_a_device(snapshot, number):
    bound = apply(snapshot, decide(snapshot, Policy(), NOW), NOW)
    left = replace(bound, nodes=tuple(item for item in bound.nodes if item.name != f"n{number}"))
    plan = decide(left, Policy(), NOW)

    assert check_plan(left, plan, Policy()) == ()
    assert not any(isinstance(action, Evict) for action in plan.actions)


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_a_gang_that_can_be_placed_alone_is_placed(snapshot):
    """Against all assignments of a gang's pods to nodes, tried one by one."""
    group = next((item for item in snapshot.pod_groups), None)
    assume(group is not None)
    members = [item for item in snapshot.pods if item.spec.scheduling_group is not None]
    members = [item for item in members if item.spec.scheduling_group.pod_group_name == group.name]
    names = {use for item in members for use in _claims_of(item)}
    claims = tuple(item for item in snapshot.resource_claims if item.name in names)
    assume(not any(item.spec.devices.constraints for item in claims))
    whole = replace(group, spec=replace(group.spec, scheduling_policy=_gang_of(len(members))))
    alone = replace(snapshot, pods=tuple(members), resource_claims=claims, pod_groups=(whole,), queues=())
    policy = Policy(gang_search=1000)
    plan = decide(replace(alone, pods=tuple(_without_queue(item) for item in alone.pods)), policy, NOW)
    placed = any(decision.placements for decision in plan.decisions)

    assert placed == any(_fits(alone, nodes) for nodes in itertools.product(alone.nodes, repeat=len(members)))


def _claims_of(item):
    made = [status.resource_claim_name for status in item.status.resource_claim_statuses]
    return made + [use.resource_claim_name for use in item.spec.resource_claims if use.resource_claim_name]


def _gang_of(size):
    return SchedulingPolicy(gang=GangSchedulingPolicy(min_count=size))


def _without_queue(item):
    spec = replace(item.spec, affinity=None)
    return replace(item, metadata=replace(item.metadata, labels={}), spec=spec)


def _fits(snapshot, nodes):
    """Whether this assignment holds by counting: CPU, labels, taints, and devices or shares of devices."""
    free = {item.name: item.spec.devices for item in snapshot.resource_slices}
    claims = {item.name: item for item in snapshot.resource_claims}
    cpu = {item.name: item.status.allocatable["cpu"].value() for item in snapshot.nodes}
    wanted = {item.name: [] for item in snapshot.nodes}
    where = {}
    for item, at in zip(snapshot.pods, nodes):
        if node_fall(item.spec, at) is not None:
            return False
        cpu[at.name] -= item.spec.containers[0].resources.requests["cpu"].value()
        for name in _claims_of(item):
            if where.setdefault(name, at.name) != at.name:
                return False
    for name, at in where.items():
        wanted[at].append(claims[name].spec.devices.requests[0].exactly)
    if any(left < 0 for left in cpu.values()):
        return False
    return all(
        _devices_suffice(free.get(f"{name}-gpu.example.com", ()), requests)
        for name, requests in wanted.items()
    )


def _devices_suffice(devices, requests):
    shareable = bool(devices) and bool(devices[0].allow_multiple_allocations)
    whole = 80
    room = [whole] * len(devices)
    # Whole devices first, then shares from the largest on, each tried on every device.
    shares = []
    for exactly in requests:
        part = exactly.capacity.requests["memory"].value() >> 30 if exactly.capacity is not None else whole
        if not shareable:
            part = whole
        shares += [(part, exactly)] * (exactly.count or 1)
    return _pack(room, sorted(shares, key=lambda item: -item[0]), [])


def _pack(room, shares, used):
    if not shares:
        return True
    part, exactly = shares[0]
    for number, left in enumerate(room):
        if left < part or (exactly, number) in used:
            continue
        rest = [*room[:number], left - part, *room[number + 1 :]]
        if _pack(rest, shares[1:], [*used, (exactly, number)] if exactly.count != 1 else used):
            return True
    return False


@settings(max_examples=40, deadline=None)
@given(clusters())
def test_looking_at_one_of_several_nodes_that_are_alike_tells_the_same(snapshot):
    together = decide(snapshot, Policy(), NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Likeness, "of", lambda self, node: None)
        one_by_one = decide(snapshot, Policy(), NOW)

    assert together == one_by_one
