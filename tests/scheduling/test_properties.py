"""What holds for every plan, on small random clusters."""

import itertools
import random

from hypothesis import given, settings
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

from aliquot.model.core import Taint, Toleration
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import decision_sentence, paragraph

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
        "labels": {"aliquot.dev/queue": draw(st.sampled_from(["red", "org", "none"]))}
        if draw(st.booleans())
        else {},
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


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_once_carried_out_a_plan_leaves_only_what_waits_for_the_same_reasons(snapshot):
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
