"""Who is asked to leave: among equals those that lose least, and nobody in vain."""

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
    pod_group,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import decided, evicted

from aliquot.model.core import PodStatus
from aliquot.scheduling import reclaiming
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import KAI, Policy, Step
from aliquot.workloads import labels

QUEUE = "kueue.x-k8s.io/queue-name"


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def running(name, node, devices, *, since=1000, note=None, **options):
    """A pod that has run for a while on these GPUs."""
    options.setdefault("labels", {QUEUE: "q"})
    made = pod(name, generated=[f"{name}-gpu"], node_name=node, annotations=note or {}, **options)
    made = replace(made, status=replace(made.status, start_time=NOW - timedelta(seconds=since)))
    held = claim(
        f"{name}-gpu",
        request(len(devices)),
        owner=made,
        node_name=node,
        devices=[f"gpu-{n}" for n in devices],
        consumers=[made],
    )
    return [made, held]


def urgent(count=1, name="urgent"):
    return with_claim(name, request(count), priority=10, labels={QUEUE: "q"})


def leaving(*objects, policy=None):
    return sorted(evicted(decided(cluster(queue("q"), *objects), policy)))


def test_the_one_that_saved_its_work_last_leaves():
    saved = {"a": 900, "b": 20, "c": 500}
    pods = [
        running(name, "n1", [n], note={labels.LAST_CHECKPOINT: ago(seconds)}, created=n)
        for n, (name, seconds) in enumerate(saved.items())
    ]

    assert leaving(gpu_node("n1", 3), pods, urgent()) == ["b"]
    assert leaving(gpu_node("n1", 3), pods, urgent(), policy=Policy(victim_order="youngest")) == ["c"]


def test_a_long_start_counts_as_lost():
    slow = {labels.LAST_CHECKPOINT: ago(10), labels.STARTUP_SECONDS: "800"}
    quick = {labels.LAST_CHECKPOINT: ago(300), labels.STARTUP_SECONDS: "5"}
    pods = [running("slow", "n1", [0], note=slow), running("quick", "n1", [1], note=quick)]

    assert leaving(gpu_node("n1", 2), pods, urgent()) == ["quick"]


def test_the_checkpoint_interval_tells_how_much_is_lost_where_the_last_one_is_not_known():
    half = running("half", "n1", [0], since=1500, note={labels.CHECKPOINT_INTERVAL: "1000"})
    just = running("just", "n1", [1], since=1500, note={labels.CHECKPOINT_INTERVAL: "1450"})

    assert leaving(gpu_node("n1", 2), half, just, urgent()) == ["just"]


def test_priority_goes_before_cost():
    cheap = running("cheap", "n1", [0], note={labels.LAST_CHECKPOINT: ago(1)}, priority=5)
    dear = running("dear", "n1", [1], priority=1)

    assert leaving(gpu_node("n1", 2), cheap, dear, urgent()) == ["dear"]


@pytest.mark.parametrize(
    ("runs", "own", "leaves"),
    [
        ([0], 1, True),
        ([9, 0], 5, True),
        ([0, 9], 5, True),
        ([-2], -1, True),
        ([-2, 9], 0, True),
        ([5], 5, False),
        ([9, 5], 5, False),
        ([9], 5, False),
        ([0], -1, False),
    ],
)
def test_whoever_has_the_lowest_priority_leaves_for_work_of_a_higher_one_and_for_no_other(runs, own, leaves):
    pods = [running(f"p{n}", "n1", [n], priority=priority) for n, priority in enumerate(runs)]
    wants = with_claim("wants", request(1), priority=own, labels={QUEUE: "q"})

    gone = leaving(gpu_node("n1", len(runs)), pods, wants)

    assert gone == ([f"p{runs.index(min(runs))}"] if leaves else [])


def test_that_nobody_may_be_taken_for_some_keeps_others_from_nothing():
    runs = {"a": 5, "q": 0, "z": 5}
    pods = [
        running(name, "n1", [n], priority=priority, labels={QUEUE: name})
        for n, (name, priority) in enumerate(runs.items())
    ]
    waiting = [
        with_claim(f"{name}-{place}", request(1), priority=priority, labels={QUEUE: name})
        for name in runs
        for place, priority in enumerate((0, 5, 0))
    ]
    policy = Policy(steps=(Step.ALLOCATE, Step.PREEMPT))

    assert leaving(queue("a"), queue("z"), gpu_node("n1", 3), pods, waiting, policy=policy) == ["q"]


@pytest.mark.parametrize(
    "there",
    [
        pytest.param({"priority": 5}, id="nothing lower runs"),
        pytest.param({"note": {labels.PREEMPTIBLE: "false"}}, id="nothing preemptible runs"),
    ],
)
def test_who_may_take_from_nobody_does_not_make_work_beside_it_wait_for_other_queues(there):
    # `first` goes before `second`. With what it wants, but may take from nobody, `left` would have most.
    queues = [
        queue("left"),
        queue("first", "left", priority=200),
        queue("second", "left"),
        queue("right"),
        queue("third", "right"),
    ]
    runs = {"first": there, "second": {}, "third": {}}
    pods = [
        running(name, "n1", [n], labels={QUEUE: name}, **options)
        for n, (name, options) in enumerate(runs.items())
    ]
    pods.append(running("high", "n1", [3], priority=9, labels={QUEUE: "third"}))
    waiting = [
        with_claim(f"for-{name}", request(count), priority=5, labels={QUEUE: name})
        for name, count in {"first": 3, "second": 1, "third": 1}.items()
    ]
    policy = Policy(steps=(Step.ALLOCATE, Step.PREEMPT), beneficiaries=1)

    assert leaving(queues, gpu_node("n1", 4), pods, waiting, policy=policy) == ["second"]


def test_stepwise_those_are_asked_too_that_this_decision_gave_a_place():
    # Nothing of `poor` runs before: `old`, of three, leaves for pods with a lower priority than `new` has.
    gpu, policy = "nvidia.com/gpu", replace(KAI, every_pod=True)
    fixed = {labels.PREEMPTIBLE: "false"}
    old = [pod(f"old-{n}", node_name="n", group="old", labels={QUEUE: "rich"}, **{gpu: 1}) for n in range(3)]
    low = [pod(f"low-{n}", labels={QUEUE: "poor"}, created=2, **{gpu: 1}) for n in range(2)]
    new = [
        pod(f"new-{n}", group="new", labels={QUEUE: "poor"}, priority=10, annotations=fixed, **{gpu: 1})
        for n in range(2)
    ]
    groups = [pod_group("old", 3), pod_group("new", 2)]
    queues = [queue("rich", quota={"gpu": "0"}), queue("poor", quota={"gpu": "2"})]

    plan = decided(cluster(queues, node("n", **{gpu: 4}), groups, old, low, new), policy)

    given = [spot.pod.name for item in plan.decisions for spot in (*item.promised, *item.placements)]
    assert sorted(given) == ["low-0", "low-1", "new-0", "new-1"]


def test_one_large_pod_leaves_rather_than_many_small_ones_that_lose_as_much():
    small = [running(f"small{n}", "n1", [n]) for n in range(4)]
    large = running("large", "n2", [0, 1, 2, 3])

    assert leaving(gpu_node("n1", 4), gpu_node("n2", 4), small, large, urgent(4)) == ["large"]


def test_a_small_pod_leaves_for_a_small_need_even_if_a_large_one_loses_less_a_device():
    small = running("small", "n1", [0], since=200)
    large = running("large", "n2", [0, 1, 2, 3], since=100)

    assert leaving(gpu_node("n1", 1), gpu_node("n2", 4), small, large, urgent(1)) == ["small"]


def test_the_node_is_cleared_where_least_is_lost_together():
    # The single pod that loses least stands beside one that loses most.
    lost = {"n1": (10, 900), "n2": (300, 350), "n3": (400, 500)}
    nodes = [gpu_node(name, 2) for name in lost]
    pods = [
        running(f"{name}-{n}", name, [n], since=seconds)
        for name, both in lost.items()
        for n, seconds in enumerate(both)
    ]

    assert leaving(*nodes, pods, urgent(2)) == ["n2-0", "n2-1"]


@pytest.mark.parametrize("asking", ["q", "other"])
def test_who_leaves_for_one_is_not_counted_as_room_for_the_next(asking):
    # For `large` n1 would be the cheapest, if what has to leave for `small` were there to be asked again.
    lost = {"n1": (10, 20), "n2": (300, 310)}
    pods = [
        running(f"{name}-{n}", name, [n], since=seconds)
        for name, both in lost.items()
        for n, seconds in enumerate(both)
    ]
    waiting = [
        with_claim(name, request(count), priority=priority, labels={QUEUE: asking})
        for name, count, priority in (("small", 1, 10), ("large", 2, 9))
    ]
    other = queue("other", quota={"gpu": "4"})

    gone = leaving(
        other, *(gpu_node(name, 2) for name in lost), pods, waiting, policy=Policy(victim_search=2)
    )

    assert gone == ["n1-0", "n2-0", "n2-1"]


def test_what_is_left_of_a_gang_that_gave_up_a_pod_is_judged_by_what_it_still_has():
    # `e` gives up `e-1` for `small`. If that were counted for `large`, too, n1 would be the cheapest.
    loose = {labels.GANG: "e", labels.GANG_SIZE: "2", labels.GANG_MIN: "1"}
    pods = [
        running("e-0", "n3", [0], since=10, note=loose),
        running("e-1", "n1", [0], since=10, note=loose),
        running("n1-1", "n1", [1], since=20),
        running("n2-0", "n2", [0], since=300),
        running("n2-1", "n2", [1], since=310),
    ]
    waiting = [urgent(1, "small"), with_claim("large", request(2), priority=9, labels={QUEUE: "q"})]
    nodes = [gpu_node("n1", 2), gpu_node("n2", 2), gpu_node("n3", 1)]

    gone = leaving(*nodes, pods, waiting, policy=Policy(victim_search=2))

    assert gone == ["e-1", "n2-0", "n2-1"]


def test_idle_devices_of_a_node_lower_its_price():
    full = [running(f"f{n}", "n1", [n], since=100) for n in range(4)]
    half = running("half", "n2", [0, 1], since=150)

    assert leaving(gpu_node("n1", 4), gpu_node("n2", 4), full, half, urgent(4)) == ["half"]


def test_room_is_found_among_many_small_pods_on_many_nodes():
    nodes = [gpu_node(f"n{n}", 8) for n in range(40)]
    pods = [running(f"p{n}-{k}", f"n{n}", [k], since=100, created=k) for n in range(40) for k in range(8)]
    plan = decided(cluster(queue("q"), nodes, pods, urgent(8)), Policy(victim_search=16))

    assert len({name.split("-")[0] for name in evicted(plan)}) == 1
    assert len(evicted(plan)) == 8


def test_nobody_leaves_in_vain():
    # a and b lose least and are asked first, but it takes the four GPUs of c, and those are enough.
    a = running("a", "n1", [0], since=10)
    b = running("b", "n1", [1], since=20)
    c = running("c", "n1", [2, 3, 4, 5], since=400)

    assert leaving(gpu_node("n1", 6), a, b, c, urgent(4)) == ["c"]


def test_a_gang_leaves_as_a_whole_and_is_not_spared_in_part():
    pods = [running(f"m{n}", "n1", [n], job="train") for n in range(3)]

    assert leaving(gpu_node("n1", 3), job("train", 3), pods, urgent(1)) == ["m0", "m1", "m2"]


def test_pods_beyond_the_minimum_are_spared_one_by_one():
    grown = [
        running(f"m{n}", "n1", [n], job="serve", note={labels.GANG_SIZE: "1"}, since=100 + n)
        for n in range(4)
    ]

    assert len(leaving(gpu_node("n1", 4), job("serve", 4), grown, urgent(2))) == 2


@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2000)), min_size=1, max_size=6),
    need=st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_every_victim_is_needed(sizes, need):
    """On one node of whole GPUs: without any one of the victims the gang would not fit."""
    total = sum(size for size, _ in sizes)
    pods, first = [], 0
    for number, (size, seconds) in enumerate(sizes):
        pods.append(running(f"v{number}", "n1", range(first, first + size), since=seconds))
        first += size
    gone = leaving(gpu_node("n1", total), pods, urgent(need))

    assert bool(gone) == (need <= total)
    freed = [sizes[int(name[1:])][0] for name in gone]
    assert not gone or sum(freed) >= need
    assert all(sum(freed) - size < need for size in freed)


@pytest.mark.parametrize("since", [None, 0])
def test_a_pod_that_has_not_started_loses_nothing(since):
    fresh = running("fresh", "n1", [0], since=0)
    if since is None:
        fresh[0] = replace(
            fresh[0],
            status=PodStatus(
                phase="Pending", resource_claim_statuses=fresh[0].status.resource_claim_statuses
            ),
        )
        fresh[0] = replace(fresh[0], metadata=replace(fresh[0].metadata, creation_timestamp=NOW))
    old = running("old", "n1", [1], since=5000)

    assert leaving(gpu_node("n1", 2), fresh, old, urgent()) == ["fresh"]


@pytest.mark.parametrize("zone", ["a", "b"])
@pytest.mark.parametrize("first", [1, reclaiming.FIRST_BATCH])
def test_queues_are_asked_though_the_work_of_others_goes_first_if_that_is_of_no_use(monkeypatch, first, zone):
    monkeypatch.setattr(reclaiming, "FIRST_BATCH", first)
    pods = []
    for place in ("a", "b"):
        for n in range(6):
            pods.append(running(f"{place}{n}", place, [n], since=100 + n, labels={QUEUE: place}))
    there = with_claim("there", request(1), labels={QUEUE: "q"}, selector={"zone": zone})
    more = [with_claim(f"m{n}", request(1), labels={QUEUE: "q"}, selector={"zone": "c"}) for n in range(3)]
    nodes = [gpu_node(place, 6, labels={"zone": place}) for place in ("a", "b")]

    plan = decided(cluster(queue("q"), queue("a"), queue("b"), *nodes, *pods, there, *more))

    assert evicted(plan) == [f"{zone}0"]


def test_who_leaves_does_not_depend_on_who_was_asked_before():
    gpu = "nvidia.com/gpu"
    old = [pod(f"old-{n}", node_name="a", group="old", cpu=1 + n, **{gpu: 1}) for n in range(3)]
    there = [queue("default"), node("a", **{gpu: 3}), pod_group("old", 1), old]
    memory = Memory()
    decide(cluster(*there, pod("large", priority=10, **{gpu: 3})), Policy(), NOW, memory=memory)

    small = cluster(*there, pod("small", priority=10, **{gpu: 1}))

    assert evicted(decide(small, Policy(), NOW, memory=memory)) == ["old-2"]
    assert evicted(decide(small, Policy(), NOW)) == ["old-2"]
