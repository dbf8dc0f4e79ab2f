"""Gangs that have to leave, leave whole."""

import pytest
from tests.scheduling.builders import cluster, namespace, node, pod, pod_group, queue
from tests.scheduling.looking import decided, decision_on, evicted, nodes_of

GPU = "nvidia.com/gpu"


def test_a_gang_is_not_left_in_part_when_others_take_the_room_to_which_one_would_move():
    # Two of `new` fit where something leaves. The third needs one of `old`, of which two would be too few.
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("a", **{GPU: 2}),
        node("b", **{GPU: 3}),
        pod_group("old", 3),
        pod_group("new", 3),
        [pod(f"leaves-{n}", node_name="a", deleting=True, **{GPU: 1}) for n in range(2)],
        [pod(f"old-{n}", node_name="b", group="old", **{GPU: 1}) for n in range(3)],
        [pod(f"new-{n}", group="new", priority=10, **{GPU: 1}) for n in range(3)],
    )

    plan = decided(snapshot)

    assert sorted(evicted(plan)) == ["old-0", "old-1", "old-2"]
    assert len(decision_on(plan, "new-0").promised) == 3


def test_who_would_join_a_gang_waits_for_those_of_it_that_have_to_move():
    # One of `old` is placed on `a` at first. Then those that run there have to move to `b`: until they are
    # there the gang has fewer than two.
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("a", **{GPU: 4}),
        node("b", **{GPU: 2}),
        pod_group("old", 2),
        [pod(f"old-{n}", node_name="a", group="old", **{GPU: 1}) for n in range(2)],
        pod("old-2", group="old", selector={"kubernetes.io/hostname": "a"}, **{GPU: 1}),
        pod("new", priority=10, created=9, **{GPU: 3}),
    )

    plan = decided(snapshot)

    assert sorted(evicted(plan)) == ["old-0", "old-1"]
    assert nodes_of(plan) == {}


@pytest.mark.parametrize(
    ("mode", "leave"),
    [
        (None, 1),
        ("Pod", 1),
        ({"single": {}}, 1),
        ("PodGroup", 4),
        ({"all": {}}, 4),
    ],
)
@pytest.mark.parametrize("least", [2, None])
def test_a_pod_group_says_whether_its_pods_can_be_disrupted_one_by_one(mode, leave, least):
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("a", **{GPU: 4}),
        pod_group("old", least, disruption_mode=mode),
        [pod(f"old-{n}", node_name="a", group="old", **{GPU: 1}) for n in range(4)],
        pod("new", priority=10, **{GPU: 1}),
    )

    plan = decided(snapshot)

    assert len(evicted(plan)) == leave
    assert len(decision_on(plan, "new").promised) == 1
