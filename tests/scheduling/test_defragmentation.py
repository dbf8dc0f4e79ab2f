"""Plans to empty nodes by moving pods: what is gained, what it costs, and what never happens."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import (
    NOW,
    claim,
    cluster,
    gpu_node,
    job,
    node,
    pod,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import evicted, verdict_on

from aliquot.model.verdicts import Reason
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.decide import decide
from aliquot.scheduling.defragmentation import Budget, defragment
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy, Step
from aliquot.workloads import labels

QUEUE = "kueue.x-k8s.io/queue-name"


def running(name, on, devices, *, since=1000, note=None, **options):
    made = pod(
        name, generated=[f"{name}-gpu"], node_name=on, labels={QUEUE: "q"}, annotations=note or {}, **options
    )
    made = replace(made, status=replace(made.status, start_time=NOW - timedelta(seconds=since)))
    held = claim(
        f"{name}-gpu",
        request(len(devices)),
        owner=made,
        node_name=on,
        devices=[f"gpu-{n}" for n in devices],
        consumers=[made],
    )
    return [made, held]


def found(*objects, moves=16, device_seconds=None, policy=None):
    snapshot = cluster(queue("q"), *objects)
    return defragment(snapshot, policy or Policy(), NOW, Budget(moves=moves, device_seconds=device_seconds))


def moved(plan):
    return {move.pod.name: (move.origin, move.target) for move in plan.moves}


def two_halves(**options):
    return [
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        running("a", "n1", [0], **options),
        running("b", "n2", [0, 1], **options),
    ]


def test_the_node_that_holds_least_is_emptied_onto_one_in_use():
    plan = found(*two_halves())

    assert moved(plan) == {"a": ("n1", "n2")}
    (relief,) = plan.reliefs
    assert (relief.node, relief.accelerators) == ("n1", 4)
    assert (plan.idle_before, plan.idle_after) == (0, 1)


def test_moves_tell_what_is_lost_by_them():
    saved = {labels.LAST_CHECKPOINT: (NOW - timedelta(seconds=100)).isoformat(), labels.STARTUP_SECONDS: "20"}
    plan = found(
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        running("a", "n1", [0, 1], note=saved),
        running("b", "n2", [0, 1, 2]),
    )
    assert moved(plan) == {}
    plan = found(
        gpu_node("n1", 4),
        gpu_node("n2", 5),
        running("a", "n1", [0, 1], note=saved),
        running("b", "n2", [0, 1, 2]),
    )

    assert [(move.devices, move.lost_device_seconds) for move in plan.moves] == [(2 * UNIT, 2 * 120)]
    assert plan.lost_device_seconds == 240


def test_gangs_that_wait_and_could_start_then_are_named():
    plan = found(*two_halves(), with_claim("big", request(4), labels={QUEUE: "q"}))

    assert [ref.name for ref in plan.starts] == ["big"]
    gains = {shape.devices // UNIT: (shape.before, shape.after) for shape in plan.shapes}
    assert gains == {4: (0, 1), 2: (2, 2), 1: (5, 5)}


def test_what_waits_and_fits_gets_what_is_free_before_anything_is_moved():
    plan = found(*two_halves(), with_claim("fits", request(2), labels={QUEUE: "q"}))

    assert moved(plan) == {}


@pytest.mark.parametrize(("moves", "idle"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_no_more_pods_are_moved_than_the_budget_allows(moves, idle):
    objects = [gpu_node(f"n{n}", 4) for n in range(3)]
    objects += [running(f"p{n}", f"n{n}", [0]) for n in range(3)]
    plan = found(*objects, moves=moves)

    assert len(plan.moves) <= moves
    assert plan.idle_after == idle


def test_no_more_work_is_lost_than_the_budget_allows():
    assert moved(found(*two_halves(), device_seconds=999)) == {}
    assert moved(found(*two_halves(), device_seconds=1000)) == {"a": ("n1", "n2")}


def test_what_is_not_preemptible_stays():
    fixed = running("a", "n1", [0], note={labels.PREEMPTIBLE: "false"})
    plan = found(gpu_node("n1", 4), gpu_node("n2", 4), fixed, running("b", "n2", [0, 1]))

    assert moved(plan) == {"b": ("n2", "n1")}


def test_a_gang_is_moved_whole_or_not_at_all():
    gang = [running("m0", "n1", [0], job="train"), running("m1", "n2", [0], job="train")]
    apart = found(
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        gpu_node("n3", 4),
        job("train", 2),
        gang,
        running("b", "n3", [0, 1]),
    )
    names = set(moved(apart))

    assert "b" in names or not names & {"m0", "m1"} or names >= {"m0", "m1"}
    whole = found(
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        job("train", 2),
        [running(f"m{n}", "n1", [n], job="train") for n in range(2)],
        running("b", "n2", [0, 1]),
        moves=1,
    )
    assert moved(whole) == {"b": ("n2", "n1")}


def test_a_member_that_a_gang_can_do_without_for_a_while_is_moved_alone():
    note = {labels.GANG_SIZE: "1"}
    plan = found(
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        job("serve", 2),
        running("m0", "n1", [0], job="serve", note=note),
        running("m1", "n2", [0, 1], job="serve", note=note),
    )

    assert moved(plan) == {"m0": ("n1", "n2")}


def test_nodes_that_take_no_pods_are_no_targets():
    plan = found(
        gpu_node("n1", 4),
        gpu_node("n2", 4, unschedulable=True),
        running("a", "n1", [0]),
        running("b", "n2", [0, 1]),
    )

    assert moved(plan) == {"b": ("n2", "n1")}


def test_devices_of_device_plugins_count_alike():
    resource = {"nvidia.com/gpu": 4}
    plan = found(
        node("n1", **resource),
        node("n2", **resource),
        plugin_pod("a", "n1", 1),
        plugin_pod("b", "n2", 2),
    )

    assert moved(plan) == {"a": ("n1", "n2")}


def plugin_pod(name, where, count):
    made = pod(name, node_name=where, labels={QUEUE: "q"}, **{"nvidia.com/gpu": count})
    return replace(made, status=replace(made.status, start_time=NOW - timedelta(seconds=50)))


@given(
    data=st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=2, max_size=5),
    moves=st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_every_plan_leaves_each_pod_a_place_and_more_nodes_idle(data, moves):
    size = 4
    objects, held = [], {}
    for number, pods in enumerate(data):
        objects.append(gpu_node(f"n{number}", size))
        first = 0
        for place, count in enumerate(pods):
            if first + count > size:
                break
            name = f"p{number}-{place}"
            objects.append(running(name, f"n{number}", range(first, first + count)))
            held[name] = (f"n{number}", count)
            first += count
    plan = found(*objects, moves=moves)
    after = {name: (moved(plan).get(name, (None, where))[1], count) for name, (where, count) in held.items()}
    load: dict[str, int] = {}
    for where, count in after.values():
        load[where] = load.get(where, 0) + count

    assert len(plan.moves) <= moves
    assert all(total <= size for total in load.values())
    assert len(data) - len(load) == plan.idle_after
    assert plan.idle_after == plan.idle_before + len(plan.reliefs)
    assert all(load.get(relief.node, 0) == 0 for relief in plan.reliefs)


STEPS = (Step.ALLOCATE, Step.CONSOLIDATE, Step.RECLAIM, Step.PREEMPT)


def test_consolidation_is_off_unless_the_policy_names_it():
    snapshot = cluster(queue("q"), *two_halves(), with_claim("big", request(4), labels={QUEUE: "q"}))

    assert evicted(decide(snapshot, Policy(), NOW)) == []
    assert Step.CONSOLIDATE not in Policy().steps


def test_consolidation_moves_a_pod_for_a_gang_that_waits():
    objects = [
        gpu_node("n1", 4),
        gpu_node("n2", 4),
        running("a", "n1", [0], since=100),
        running("b", "n2", [0, 1]),
    ]
    snapshot = cluster(queue("q"), objects, with_claim("big", request(4), labels={QUEUE: "q"}))
    policy = Policy(steps=STEPS)
    plan = decide(snapshot, policy, NOW)

    assert check_plan(snapshot, plan, policy) == ()
    assert evicted(plan) == ["a"]
    promised = {spot.pod.name: spot.node for decision in plan.decisions for spot in decision.promised}
    assert promised == {"big": "n1", "a": "n2"}
    assert verdict_on(plan, "big").reason is Reason.ROOM_PROMISED
    none = decide(snapshot, Policy(steps=STEPS, consolidation_budget=0), NOW)
    assert evicted(none) == []
