"""The tree of queues: order, limits at every level, and queues that cannot be used."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scheduling.builders import (
    claim,
    cluster,
    device_class,
    gpu_node,
    job,
    namespace,
    node,
    pod,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import decided, decision_on, nodes_of, verdict_on

from aliquot.model.verdicts import Reason
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import UNIT, QueueTree, shown
from aliquot.scheduling.policy import Policy

RED = {"aliquot.dev/queue": "red"}


def test_a_tree_knows_the_way_from_each_queue_to_the_top():
    tree = QueueTree.of([queue("org"), queue("red", "org"), queue("lab", "red")])

    assert tree.path("lab") == ("lab", "red", "org")
    assert tree.children("org") == ("red",)
    assert tree.children("") == ("org",)


@pytest.mark.parametrize(
    ("queues", "name", "kind", "subject"),
    [
        ([], "red", "missing", "red"),
        ([queue("red", "org")], "red", "parentMissing", "org"),
        ([queue("red", "blue"), queue("blue", "red")], "red", "cycle", "red"),
        ([queue("red", "red")], "red", "cycle", "red"),
        ([queue("red", "blue"), queue("blue", "gone")], "red", "parentMissing", "gone"),
    ],
)
def test_a_broken_chain_of_parents_is_told(queues, name, kind, subject):
    problem = QueueTree.of(queues).problem(name)

    assert (problem.kind, problem.subject) == (kind, subject)


def test_work_of_a_broken_queue_waits_and_that_of_others_goes_on():
    plan = decided(
        cluster(
            gpu_node("n1"),
            queue("red", "blue"),
            queue("blue", "red"),
            with_claim("a", labels=RED),
            with_claim("b", labels={"aliquot.dev/queue": "none"}),
            with_claim("c"),
        )
    )

    assert list(nodes_of(plan)) == ["c"]
    assert verdict_on(plan, "a").facts[0].test == "queueCycle"
    assert verdict_on(plan, "b").facts[0].test == "queueMissing"
    assert verdict_on(plan, "b").reason is Reason.UNKNOWN_QUEUE


@pytest.mark.parametrize(
    ("labels_on", "named"),
    [("pod", "red"), ("job", "red"), ("namespace", "red"), ("nothing", "default")],
)
def test_a_queue_is_named_on_the_pod_its_job_or_its_namespace(labels_on, named):
    spaces = [namespace("team", **RED)] if labels_on == "namespace" else []
    marks = RED if labels_on == "pod" else {}
    owner = job("j", 1, **(RED if labels_on == "job" else {}))
    plan = decided(
        cluster(
            gpu_node("n1"),
            spaces,
            queue("red"),
            queue("default"),
            owner,
            with_claim("a", job="j", labels=marks),
        )
    )

    assert decision_on(plan, "a").queue == named


def test_the_first_label_wins():
    labels = {"kai.scheduler/queue": "blue", "kueue.x-k8s.io/queue-name": "green", **RED}
    plan = decided(
        cluster(gpu_node("n1"), queue("red"), queue("green"), queue("blue"), with_claim("a", labels=labels))
    )

    assert decision_on(plan, "a").queue == "red"


@pytest.mark.parametrize("limited", ["red", "org"])
def test_a_limit_holds_at_every_level(limited):
    queues = [
        queue("org", limits={"gpu": "2"} if limited == "org" else None),
        queue("red", "org", limits={"gpu": "2"} if limited == "red" else None),
    ]
    pods = [item for n in range(3) for item in with_claim(f"p{n}", labels=RED, created=n)]
    plan = decided(cluster(gpu_node("n1"), queues, pods))

    assert sorted(nodes_of(plan)) == ["p0", "p1"]
    verdict = verdict_on(plan, "p2")
    assert verdict.reason is Reason.OVER_LIMIT
    assert verdict.facts[0].subject == f"{limited}/gpu"
    assert (verdict.facts[0].wanted, verdict.facts[0].available) == ("1", "0")
    assert verdict.fix.change == "raiseLimit"
    assert verdict.fix.amount == "1"


def test_what_runs_counts_against_the_limit():
    running = pod("running", claims=["c"], node_name="n1", labels=RED)
    held = claim("c", node_name="n1", devices=["gpu-0", "gpu-1"], consumers=[running])
    plan = decided(
        cluster(gpu_node("n1"), queue("red", limits={"gpu": "2"}), running, held, with_claim("a", labels=RED))
    )

    verdict = verdict_on(plan, "a")
    assert verdict.reason is Reason.OVER_LIMIT
    assert verdict.fix.holders == ("pod/team/running",)


@pytest.mark.parametrize(
    ("resource", "limit", "options"),
    [("cpu", "3", {"cpu": 2}), ("memory", "3Gi", {"memory": "2Gi"}), ("gpu", "3", {"nvidia.com__gpu": 2})],
)
def test_cpu_memory_and_legacy_devices_are_limited_too(resource, limit, options):
    pods = [pod(f"p{n}", labels=RED, created=n, **options) for n in range(2)]
    plan = decided(
        cluster(node("n1", **{"nvidia.com__gpu": 8}), queue("red", limits={resource: limit}), pods)
    )

    assert list(nodes_of(plan)) == ["p0"]
    assert verdict_on(plan, "p1").facts[0].subject == f"red/{resource}"


def test_devices_of_a_class_are_limited_by_its_name():
    wanted = request(2, device_class_name="gold")
    pods = [item for n in range(3) for item in with_claim(f"p{n}", wanted, labels=RED, created=n)]
    plan = decided(cluster(gpu_node("n1"), device_class("gold"), queue("red", limits={"gold": "4"}), pods))

    assert sorted(nodes_of(plan)) == ["p0", "p1"]
    assert verdict_on(plan, "p2").facts[0].subject == "red/gold"


def test_a_gang_is_refused_whole_and_told_what_all_of_it_wants():
    pods = [item for n in range(4) for item in with_claim(f"p{n}", job="j", labels=RED)]
    plan = decided(cluster(gpu_node("n1"), queue("red", limits={"gpu": "3"}), job("j", 4), pods))

    assert nodes_of(plan) == {}
    fact = verdict_on(plan, "p0").facts[0]
    assert (fact.wanted, fact.available) == ("4", "3")


def test_mig_instances_of_device_plugins_count_as_sevenths():
    plugin = {"nvidia.com__mig_1g.10gb": 1}
    pods = [pod(f"p{n}", labels=RED, created=n, **plugin) for n in range(3)]
    fixed = node("n1", **{"nvidia.com__mig_1g.10gb": 7})
    plan = decided(cluster(fixed, queue("red", limits={"gpu": "300m"}), pods))

    assert len(nodes_of(plan)) == 2
    assert verdict_on(plan, "p2").facts[0].wanted == "1/7"


def test_shares_of_a_device_count_as_their_exact_part():
    pods = [
        item for n in range(3) for item in with_claim(f"p{n}", request(memory="20Gi"), labels=RED, created=n)
    ]
    plan = decided(cluster(gpu_node("n1", shareable=True), queue("red", limits={"gpu": "500m"}), pods))

    assert len(nodes_of(plan)) == 2
    assert verdict_on(plan, "p2").facts[0].wanted == "0.25"


def test_a_shared_claim_counts_once():
    pods = [pod(f"p{n}", claims=["c"], labels=RED, created=n) for n in range(3)]
    plan = decided(cluster(gpu_node("n1"), queue("red", limits={"gpu": "1"}), claim("c"), pods))

    assert len(nodes_of(plan)) == 3


def test_the_queue_of_higher_priority_goes_first():
    plan = decided(
        cluster(
            gpu_node("n1", 1),
            queue("red", priority=200),
            queue("default"),
            with_claim("early", created=0, priority=1000),
            with_claim("late", created=9, labels=RED),
        )
    )

    assert list(nodes_of(plan)) == ["late"]


def test_work_like_work_that_failed_waits_for_the_same_reason_in_its_place():
    snapshot = cluster(
        gpu_node("n1", 2),
        queue("red"),
        queue("default"),
        [with_claim(f"big{n}", request(4), labels=RED, created=n) for n in range(3)],
        with_claim("small", labels=RED, created=3),
        [with_claim(f"late{n}", request(4), labels=RED, created=4 + n) for n in range(2)],
        with_claim("other", request(4), created=9),
    )
    plan = decided(snapshot)

    waiting = ["big0", "big1", "big2", "late0", "late1"]
    assert list(nodes_of(plan)) == ["small"]
    assert [decision_on(plan, name).position for name in waiting] == [1, 2, 3, 4, 5]
    assert decision_on(plan, "other").position == 1
    assert {verdict_on(plan, name).reason for name in waiting} == {verdict_on(plan, "other").reason}
    overtaken = [
        [fact.count for fact in verdict_on(plan, name).facts if fact.test == "overtaken"] for name in waiting
    ]
    assert overtaken == [[1], [1], [1], [], []]


def test_in_strict_order_nothing_overtakes_in_its_own_queue():
    snapshot = cluster(
        gpu_node("n1", 2),
        queue("red"),
        queue("default"),
        with_claim("big", request(4), labels=RED, created=0),
        with_claim("small", labels=RED, created=1),
        with_claim("other", created=2),
    )
    plan = decided(snapshot, Policy(strict_fifo=True))

    assert list(nodes_of(plan)) == ["other"]
    verdict = verdict_on(plan, "small")
    assert verdict.reason is Reason.BEHIND_IN_QUEUE
    assert verdict.facts[0].subject == "pod/team/big"
    assert [decision_on(plan, name).position for name in ("big", "small")] == [1, 2]


amounts = st.fractions(0, 8, max_denominator=56)


@given(st.lists(st.tuples(st.sampled_from(["org", "red", "lab"]), amounts)))
def test_usage_adds_up_exactly_and_is_taken_back_exactly(charges):
    tree = QueueTree.of([queue("org"), queue("red", "org"), queue("lab", "red")])
    usage = Ledger(tree)
    usage.add("red", {"gpu": Fraction(1, 7) * UNIT})
    before = dict(usage.of("org"))
    mark = usage.mark()
    for name, number in charges:
        usage.add(name, {"gpu": number * UNIT})

    below = sum((number for name, number in charges if name in ("red", "lab")), Fraction(1, 7))
    assert usage.of("red").get("gpu", 0) == below * UNIT
    usage.undo(mark)
    assert usage.of("org") == before


@pytest.mark.parametrize(
    ("amount", "text"),
    [(UNIT, "1"), (Fraction(UNIT, 2), "500m"), (Fraction(UNIT, 7), "1/7"), (Fraction(15 * UNIT, 7), "15/7")],
)
def test_amounts_are_shown_exactly(amount, text):
    assert shown(amount) == text


def test_parts_of_devices_are_shown_as_decimals():
    assert [shown(number, "gpu") for number in (UNIT * 17 // 2, UNIT // 8, 3 * UNIT)] == ["8.5", "0.125", "3"]
    assert shown(UNIT // 2, "cpu") == "500m"
