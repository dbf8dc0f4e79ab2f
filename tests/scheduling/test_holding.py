"""Nodes are held for who is first in line for long enough, for a bounded time."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import NOW, gpu_node, job, queue, request, with_claim
from tests.scheduling.looking import decision_on, nodes_of
from tests.scheduling.test_reservations import Cluster, expecting, in_queue, running

from aliquot.model.core import Pod
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy

HOUR = 3600
POLICY = Policy(hold_after_seconds=HOUR, hold_seconds=2 * HOUR)


def waiting(name, devices, hours, *, queue="a", **options):
    """A pod that wants devices and came so many hours ago."""
    came = NOW - timedelta(hours=hours)
    return [
        replace(item, metadata=replace(item.metadata, creation_timestamp=came))
        if isinstance(item, Pod)
        else item
        for item in with_claim(name, request(devices), **in_queue(queue), **options)
    ]


def crowded(hours, *more, nodes=2, free=1, policy=POLICY):
    """Nodes with four devices of which all but some are in use, and pods that want four and one."""
    held = [
        running(f"r{node}{n}", f"n{node}", [n])
        for node in range(nodes)
        for n in range(4 - (free if node == 0 else 0))
    ]
    return Cluster(
        *(gpu_node(f"n{node}", 4) for node in range(nodes)),
        queue("a"),
        held,
        waiting("large", 4, hours),
        waiting("small", 1, 0.1),
        *more,
        policy=policy,
    )


def test_small_work_goes_ahead_until_the_first_in_line_has_waited_long():
    assert nodes_of(decide(crowded(0.9).snapshot, POLICY, NOW)) == {"small": "n0"}


def test_what_becomes_free_is_held_for_the_first_in_line_that_has_waited_long():
    world = crowded(1.1)
    plan = decide(world.snapshot, POLICY, NOW)
    assert nodes_of(plan) == {}
    verdict = decision_on(plan, "small").verdict
    assert verdict.reason is Reason.BEHIND_IN_QUEUE
    assert verdict.facts[0].subject == "pod/team/large"
    assert decision_on(plan, "large").verdict.reason is Reason.DEVICES_IN_USE
    assert check_plan(world.snapshot, plan, POLICY) == ()


@pytest.mark.parametrize(
    ("hours", "held"), [(0.9, False), (1.1, True), (2.9, True), (3.1, False), (3.9, False), (4.1, True)]
)
def test_room_is_held_for_a_bounded_time_and_then_others_have_their_turn(hours, held):
    placed = nodes_of(decide(crowded(hours).snapshot, POLICY, NOW))
    assert ("small" not in placed) == held


def test_the_emptiest_nodes_are_held_and_others_stay_open():
    world = crowded(1.1, gpu_node("n9", 4), running("x", "n9", [0, 1, 2]), nodes=1, free=2)
    assert nodes_of(decide(world.snapshot, POLICY, NOW)) == {"small": "n9"}


def test_work_that_is_gone_before_the_last_of_those_nodes_uses_them():
    world = crowded(1.1, nodes=1)
    pods = [item for item in world.snapshot.objects() if isinstance(item, Pod) and item.name.startswith("r")]
    rest = [item for item in world.snapshot.objects() if item not in pods]
    short, long = expecting(waiting("short", 1, 0.2), 600), expecting(waiting("long", 1, 0.3), 6 * HOUR)
    world.snapshot = type(world.snapshot).of([*rest, *expecting(pods, 3 * HOUR), *short, *long])

    assert nodes_of(decide(world.snapshot, POLICY, NOW)) == {"short": "n0"}


def test_nothing_is_held_for_what_would_not_fit_on_empty_nodes():
    world = crowded(0.1, waiting("huge", 5, 5))
    assert nodes_of(decide(world.snapshot, POLICY, NOW)) == {"small": "n0"}


def test_a_gang_has_as_many_nodes_held_as_it_needs():
    gang = [waiting(f"gang{n}", 4, 2, job="wide") for n in range(2)]
    world = Cluster(
        *(gpu_node(f"n{node}", 4) for node in range(3)),
        queue("a"),
        running("a0", "n0", [0, 1, 2]),
        running("a1", "n1", [0, 1]),
        running("a2", "n2", [0, 1]),
        replace(
            job("wide", 2),
            metadata=replace(job("wide", 2).metadata, creation_timestamp=NOW - timedelta(hours=2)),
        ),
        gang,
        waiting("small", 1, 0.1),
        policy=POLICY,
    )
    assert nodes_of(decide(world.snapshot, POLICY, NOW)) == {"small": "n0"}


def test_no_more_than_a_share_of_all_devices_is_held_unless_one_gang_needs_it():
    world = crowded(0.1, waiting("second", 4, 2), waiting("third", 4, 2.5), nodes=3)
    held = decide(world.snapshot, POLICY, NOW)
    assert nodes_of(held) == {}
    assert decision_on(held, "small").verdict.facts[0].subject == "pod/team/third"


def test_the_large_one_starts_when_the_nodes_are_empty():
    world = crowded(1.1)
    for number in range(8):
        world.add(*waiting(f"s{number}", 1, 0.0))
    gone = {"r00", "r01", "r02"}
    objects = [
        item for item in world.snapshot.objects() if item.metadata.name.removesuffix("-gpu") not in gone
    ]
    world.snapshot = type(world.snapshot).of(objects)
    assert nodes_of(decide(world.snapshot, POLICY, NOW))["large"] == "n0"
