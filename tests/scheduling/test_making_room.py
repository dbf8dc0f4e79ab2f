"""Whom reclaim asks, and what is known before anybody is placed."""

import itertools
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
    node,
    pod,
    pod_group,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import after, decided, decision_on, evicted

from aliquot.cli.version import core
from aliquot.model.meta import Condition
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.asking import Asked, RuledOut
from aliquot.scheduling.gang_state import Status
from aliquot.scheduling.kinds import Kinds
from aliquot.scheduling.making_room import RoomMaker
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.reclaiming import FIRST_BATCH
from aliquot.scheduling.room_bound import RoomBound
from aliquot.scheduling.stakes import Stake
from aliquot.scheduling.trial import Trial

GPU = "nvidia.com/gpu"


def labelled(name):
    return {"aliquot.dev/queue": name}


def two_queues(most="8"):
    return [queue("rich"), queue("poor", quota={"gpu": most})]


def busy(name, on, count=1, **options):
    """A pod of the queue that has too much."""
    return pod(name, node_name=on, labels=labelled("rich"), **{GPU: count}, **options)


def waits(name, count=1, **options):
    return pod(name, labels=labelled("poor"), **{GPU: count}, **options)


@pytest.mark.parametrize("members", [1, 3])
def test_who_runs_where_the_gang_could_not_be_is_not_asked(members):
    policy = Policy(refusals=0, victim_search=members)
    elsewhere = [
        item for n in range(6) for item in (node(f"a{n}", **{GPU: 1}), busy(f"old-{n}", f"a{n}", created=9))
    ]
    here = [
        item
        for n in range(3)
        for item in (node(f"b{n}", labels={"zone": "b"}, **{GPU: 1}), busy(f"mine-{n}", f"b{n}"))
    ]
    gang = [
        pod_group("new", members),
        *(waits(f"new-{n}", group="new", selector={"zone": "b"}) for n in range(members)),
    ]

    plan = decided(cluster(*two_queues(), elsewhere, here, gang), policy)

    assert len(evicted(plan)) == members
    assert all(name.startswith("mine-") for name in evicted(plan))


def test_of_a_gang_of_which_somebody_has_to_leave_already_others_may_be_asked():
    # `whole` costs `rich` a pod that can go nowhere else. What `part` leaves of the other is too little.
    old = [pod_group("old", 1), *(busy(f"old-{n}", "a", group="old") for n in range(2))]
    part = waits("part", 0, created=1, annotations={"gpu-fraction": "0.25"})
    shared = {"aliquot.dev/fractions": "ours", "nvidia.com/gpu.count": "2"}

    plan = decided(cluster(*two_queues("2"), node("a", labels=shared, **{GPU: 2}), old, waits("whole"), part))

    assert sorted(evicted(plan)) == ["old-0", "old-1"]
    assert {spot.pod.name for item in plan.decisions for spot in item.promised} == {"whole", "part"}


def test_who_has_other_devices_than_the_gang_wants_is_not_asked():
    def held(name, on, **options):
        made = pod(name, generated=[f"{name}-gpu"], node_name=on, labels=labelled("rich"), **options)
        taken = claim(
            f"{name}-gpu", request(1), owner=made, node_name=on, devices=["gpu-0"], consumers=[made]
        )
        return [made, taken]

    selector = 'device.attributes["gpu.example.com"].model == "large"'
    wanted = with_claim("new", request(1, selector=selector), labels=labelled("poor"))
    small = [(gpu_node(f"a{n}", 1, model="small"), held(f"old-{n}", f"a{n}", created=9)) for n in range(4)]
    large = [gpu_node("b", 1, model="large"), held("mine", "b")]

    plan = decided(cluster(*two_queues(), small, large, wanted), Policy(refusals=0, victim_search=1))

    assert evicted(plan) == ["mine"]


def test_room_that_is_counted_but_not_there_is_looked_for_elsewhere():
    # Devices would be free on `a` first, for those that came last are asked first; but somebody who is not
    # asked has its processors.
    nodes = [node("a", cpu=4, **{GPU: 2}), node("b", cpu=4, **{GPU: 2})]
    fixed = pod("fixed", node_name="a", cpu=3)
    running = [
        busy(f"{place}{n}", place, created=9 if place == "a" else 1) for place in "ab" for n in range(2)
    ]
    gang = [pod_group("new", 2), *(waits(f"new-{n}", group="new", cpu=2) for n in range(2))]

    plan = decided(cluster(*two_queues(), nodes, fixed, running, gang))

    assert sorted(evicted(plan)) == ["b0", "b1"]


def test_a_gang_that_cannot_have_all_that_it_lacks_takes_from_nobody():
    nodes = [node(name, **{GPU: 2}) for name in "abc"]
    running = [busy(f"{place}{n}", place) for place in "abc" for n in range(2)]
    gang = [pod_group("new", 5), *(waits(f"new-{n}", group="new") for n in range(5))]
    queues = [queue("rich", quota={"gpu": "2"}), queue("poor", quota={"gpu": "8"})]

    assert evicted(decided(cluster(queues, nodes, running, gang))) == []


def beside_others(count, cleared):
    """Nodes with two devices: one of the queue that has most too much, and one that is of use on the nodes to
    be cleared only. A gang waits whose pods want two devices each."""
    queues = [
        queue("poor", quota={"gpu": "8"}),
        queue("rich", quota={"gpu": "0"}),
        queue("other", quota={"gpu": "0"}),
    ]
    names = [f"n{n:02}" for n in range(count)]
    objects = [node(name, **{GPU: 2}) for name in names]
    objects += [busy(f"rich-{name}", name) for name in names]
    for number, name in enumerate(names):
        labels = labelled("other") if number in cleared else {}
        objects.append(pod(f"other-{name}", node_name=name, labels=labels, **{GPU: 1}))
    gang = [pod_group("new", 2), *(waits(f"new-{n}", 2, group="new") for n in range(2))]
    return cluster(queues, objects, gang)


def test_a_node_is_cleared_of_gangs_of_several_queues():
    plan = decided(beside_others(FIRST_BATCH + 4, {7, 18}))

    assert sorted(evicted(plan)) == ["other-n07", "other-n18", "rich-n07", "rich-n18"]


def test_nobody_is_asked_if_all_together_would_not_clear_enough_nodes(monkeypatch):
    asked = []
    monkeypatch.setattr(Asked, "pop", lambda *_: asked.append("somebody"))
    plan = decided(beside_others(FIRST_BATCH + 4, {7}))

    assert (evicted(plan), asked) == ([], [])


@pytest.mark.skipif(core() == "native", reason="calls within the native core cannot be watched")
def test_a_gang_for_which_all_that_may_be_taken_is_too_little_gets_no_turn(monkeypatch):
    # The other queue has 2 devices too much, and pods with one each: 2 may go at most, but 3 are wanted.
    nodes = [node(f"n{n}", **{GPU: 1}) for n in range(9)]
    running = [busy(f"one-{n}", f"n{n}") for n in range(9)]
    gangs = [
        item
        for size in (3, 2)
        for item in (
            pod_group(f"new-{size}", size),
            *(waits(f"new-{size}-{n}", group=f"new-{size}") for n in range(size)),
        )
    ]
    queues = [queue("rich", quota={"gpu": "7"}), queue("poor", quota={"gpu": "8"})]
    turns = []
    original = RoomMaker.make_room

    def watched(self, crew, **options):
        turns.append(crew.gang.ref.name)
        return original(self, crew, **options)

    monkeypatch.setattr(RoomMaker, "make_room", watched)
    plan = decided(cluster(queues, nodes, running, gangs))

    assert turns == ["new-2"]
    assert len(evicted(plan)) == 2


def test_in_place_of_those_found_last_who_may_not_be_taken_others_leave():
    # First `small` and `large` are found, with 3 devices. `rich` may lose 2.
    queues = [queue("rich", quota={"gpu": "2"}), queue("poor", quota={"gpu": "2"})]
    nodes = [node("a", **{GPU: 1}), node("b", **{GPU: 3})]
    old = [pod_group("old", 1), busy("large", "b", 2, group="old"), busy("small", "b", group="old")]
    new = [pod_group("new", 2), *(waits(f"new-{n}", group="new") for n in range(2))]

    plan = decided(cluster(queues, nodes, old, busy("single", "a"), new))

    assert sorted(evicted(plan)) == ["single", "small"]
    assert len(decision_on(plan, "new-0").promised) == 2


def test_members_for_whom_there_are_devices_enough_that_they_cannot_use_get_others():
    # 3 devices are idle, 2 of them where the gang cannot be.
    nodes = [node("a", **{GPU: 2}), node("b", labels={"zone": "b"}, **{GPU: 3})]
    old = busy("old", "b", 2, selector={"zone": "b"})
    new = [pod_group("new", 3), *(waits(f"new-{n}", group="new", selector={"zone": "b"}) for n in range(3))]

    plan = decided(cluster(*two_queues("4"), nodes, old, new))

    assert evicted(plan) == ["old"]
    assert len(decision_on(plan, "new-0").promised) == 3


@st.composite
def contests(draw):
    """Up to three nodes full of gangs of one queue, and a gang of another that wants room."""
    rooms = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3)))]
    objects = [*two_queues(str(draw(st.integers(0, 8))))]
    objects += [node(f"n{number}", **{GPU: room}) for number, room in enumerate(rooms)]
    serial = itertools.count()
    free = dict(enumerate(rooms))
    for gang in range(draw(st.integers(1, 5))):
        size = draw(st.integers(1, 3))
        objects.append(pod_group(f"g{gang}", draw(st.integers(1, size))))
        for _ in range(size):
            places = [number for number, room in free.items() if room]
            if not places:
                break
            number = draw(st.sampled_from(places))
            count = draw(st.integers(1, free[number]))
            free[number] -= count
            objects.append(busy(f"p{next(serial)}", f"n{number}", count, group=f"g{gang}"))
    size, count = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    objects.append(pod_group("new", size))
    objects += [waits(f"new-{n}", count, group="new") for n in range(size)]
    return cluster(objects)


@settings(max_examples=150, deadline=None)
@given(contests())
def test_of_whom_it_is_said_that_all_are_lost_nobody_keeps_or_finds_a_place(snapshot):
    original, judged = Trial.outcome, RoomBound.costs_all
    said = []

    def watched(self, members, leaving, asked, near):
        all_lost = judged(self.space, leaving)
        outcome, placed = original(self, members, leaving, asked, near)
        if placed and all_lost:
            said.append(all(member.status is Status.EVICTED for member in leaving))
        return outcome, placed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "outcome", watched)
        # Else nobody would be tried to be placed again.
        patch.setattr(RoomBound, "costs_all", lambda *_: False)
        decided(snapshot)

    assert all(said)


@settings(max_examples=100, deadline=None)
@given(contests())
def test_what_is_judged_before_anybody_is_placed_does_not_change_who_leaves(snapshot):
    plan = decided(snapshot)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoomBound, "costs_all", lambda *_: False)
        assert sorted(evicted(decided(snapshot))) == sorted(evicted(plan))


def test_queues_are_ruled_out_on_their_side_if_nobody_there_would_give_up_less():
    least = {name: Stake(0, False, (("gpu", held),), held) for name, held in {"a": 4, "b": 2, "c": 4}.items()}
    found = RuledOut(least.__getitem__, {"a": "left", "b": "left", "c": "right"}.__getitem__)

    assert [found.covers(name) for name in "abc"] == [False, False, False]
    found.add("left", {"gpu": 3})
    assert [found.covers(name) for name in "abc"] == [True, False, False]


def test_terms_have_the_same_number_only_if_they_are_equal(monkeypatch):
    monkeypatch.setattr("aliquot.scheduling.kinds.MOST", 3)
    kinds = Kinds()
    given_ = {}
    for terms in [*"abcabdeaf", *"abc"]:
        number = kinds.number(terms)
        assert given_.setdefault(number, terms) == terms

    assert kinds.number("c") == kinds.number("c")


def test_others_leave_for_so_many_gangs_by_one_decision_and_for_the_rest_by_the_next():
    running = [(node(f"n{n}", **{GPU: 1}), busy(f"old-{n}", f"n{n}")) for n in range(7)]
    wanted = [waits(f"new-{n}", created=n) for n in range(5)]
    policy = Policy(beneficiaries=2)
    snapshot = cluster(*two_queues("5"), running, wanted)

    served = []
    while evicted(plan := decided(snapshot, policy)):
        served.append(sorted(spot.pod.name for item in plan.decisions for spot in item.promised))
        snapshot = after(snapshot, plan)

    assert served == [["new-0", "new-1"], ["new-2", "new-3"], ["new-4"]]
    assert len(evicted(decided(cluster(*two_queues("5"), running, wanted), Policy(beneficiaries=None)))) == 5


def test_those_that_were_promised_room_before_keep_nobody_from_a_turn():
    # Nobody has left for the first, though its promise has lapsed: a disruption budget may be in the way.
    running = [(node(f"n{n}", **{GPU: 1}), busy(f"old-{n}", f"n{n}")) for n in range(7)]
    wanted = [waits(f"new-{n}", created=n) for n in range(3)]
    lapsed = Condition(
        type=PLACED,
        status="False",
        reason=Reason.ROOM_PROMISED.value,
        last_transition_time=NOW - timedelta(hours=1),
    )
    wanted[0] = replace(wanted[0], status=replace(wanted[0].status, conditions=(lapsed,)))

    plan = decided(cluster(*two_queues("5"), running, wanted), Policy(beneficiaries=1))

    assert sorted(spot.pod.name for item in plan.decisions for spot in item.promised) == ["new-0", "new-1"]
