"""Why neither preemption nor consolidation helps work that waits for room."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import NOW, claim, cluster, gpu_node, pod, queue, request, with_claim
from tests.scheduling.looking import verdict_on

from aliquot.model.meta import ObjectMeta
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.taking_wording import taking_sentences

IN = "aliquot.dev/queue"
QUEUES = [queue("a", quota={"gpu": "64"})]
MOVING = Policy(steps=(Step.ALLOCATE, Step.PREEMPT, Step.CONSOLIDATE))


class Listening:
    """Asks about one workload."""

    def __init__(self, name):
        self.name = name
        self.told = []

    def fell(self, workload, pod, node, fact):
        pass

    def asks(self, workload):
        return workload.name == self.name

    def unhelped(self, workload, facts):
        self.told.append(facts)

    def decided(self, decision):
        pass


def running(name, count, first=0, *, node_name="n1", priority=0, started=None, **notes):
    """A pod with its own claim of devices from `first` on."""
    annotations = {f"aliquot.dev/{key}": value for key, value in notes.items()}
    held = pod(
        name,
        generated=[f"{name}-c"],
        node_name=node_name,
        labels={IN: "a"},
        annotations=annotations,
        priority=priority,
    )
    if started is not None:
        held = replace(held, status=replace(held.status, start_time=NOW - started))
    devices = [f"gpu-{number}" for number in range(first, first + count)]
    made = claim(
        f"{name}-c", request(count), owner=held, node_name=node_name, devices=devices, consumers=[held]
    )
    return [held, made]


def wanting(count, *, name="w", **options):
    return with_claim(name, request(count), labels={IN: "a"}, **{"priority": 5, **options})


def sentences(*objects, policy=None, name="w"):
    """On preemption and on consolidation, after proof that asking changes nothing."""
    snapshot, policy, listening = cluster(*objects), policy or Policy(), Listening(name)
    plan = decide(snapshot, policy, NOW, observer=listening)
    assert plan == decide(snapshot, policy, NOW)
    assert verdict_on(plan, name)
    (facts,) = listening.told
    return taking_sentences(facts)


def test_where_nothing_of_a_lower_priority_runs_it_is_said_what_does():
    told = sentences(gpu_node("n1"), QUEUES, running("h", 8, priority=5), wanting(4))

    assert told[0] == (
        "Preemption does not help: nothing that runs in its queue has a lower priority "
        "(1 workload holds 8 gpu)."
    )
    assert told[1] == "Consolidation is off by policy."


def test_what_may_not_be_taken_is_told_by_why():
    queues = [replace(item, spec=replace(item.spec, preempt_min_runtime="2h")) for item in QUEUES]
    fixed = running("f", 4, preemptible="false")
    young = running("y", 4, 4, started=timedelta(minutes=30))
    told = sentences(gpu_node("n1"), queues, fixed, young, wanting(4))

    assert told[0] == (
        "Preemption does not help: of lower priority in its queue, 1 workload holds 4 gpu and cannot be "
        "preempted and 1 workload holds 4 gpu in its minimum run time (the first until 2026-06-01T13:30:00Z)."
    )


def test_too_little_of_a_lower_priority_is_counted_with_what_is_idle():
    low, high = running("l", 3), running("h", 4, 3, priority=5)
    told = sentences(gpu_node("n1"), QUEUES, low, high, wanting(6))

    assert told[0] == (
        "Preemption does not help: of lower priority in its queue, 1 workload holds 3 gpu and may be asked "
        "to leave; with what is idle that makes 4 of the 6 gpu that it wants."
    )


def test_of_work_for_which_others_leave_in_the_next_decision_that_is_said():
    low = [running(f"l{n}", 1, n) for n in range(8)]
    first = wanting(1, name="v", priority=9)
    told = sentences(gpu_node("n1"), QUEUES, low, first, wanting(1), policy=Policy(beneficiaries=1))

    assert told[0] == (
        "Preemption does not help: of lower priority in its queue, 7 workloads hold 7 gpu and may be asked "
        "to leave; the next decision looks at that, as this one has others leave for as many workloads as it "
        "may (beneficiaries)."
    )


def test_enough_that_is_on_different_nodes_does_not_help_one_pod():
    nodes = [gpu_node("n1", 4), gpu_node("n2", 4)]
    low = [running("l", 2), running("m", 2, node_name="n2")]
    high = [running("h", 2, 2, priority=5), running("i", 2, 2, node_name="n2", priority=5)]
    told = sentences(nodes, QUEUES, low, high, wanting(4))

    assert told[0].endswith(
        "2 workloads hold 4 gpu and may be asked to leave; with what is idle that is enough for the 4 gpu "
        "that it wants, but not on nodes and of devices that would do."
    )


def test_enough_that_is_in_different_racks_does_not_help_a_gang_that_wants_one():
    levels = (TopologyLevel(name="rack", node_label="r"),)
    topology = Topology(metadata=ObjectMeta(name="dc"), spec=TopologySpec(levels=levels))
    nodes = [gpu_node(f"n{number}", 4, labels={"r": f"r{number // 2}"}) for number in range(4)]
    low = [running(f"l{n}", 4, node_name=f"n{n}") for n in (0, 2)]
    high = [running(f"h{n}", 4, node_name=f"n{n}", priority=5) for n in (1, 3)]
    notes = {
        "aliquot.dev/gang": "g",
        "aliquot.dev/gang-size": "2",
        "aliquot.dev/topology": "dc",
        "aliquot.dev/topology-required": "rack",
    }
    gang = [wanting(4, name=f"g{n}", annotations=notes) for n in range(2)]
    snapshot, listening = cluster(nodes, topology, QUEUES, low, high, gang), Listening("g")
    decide(snapshot, Policy(), NOW, observer=listening)
    (facts,) = listening.told

    assert taking_sentences(facts)[0].endswith(
        "2 workloads hold 8 gpu and may be asked to leave; with what is idle that is enough for the 8 gpu "
        "that it wants, but not in one rack."
    )


def test_a_gang_that_wants_to_wait_first_is_told_until_when():
    notes = {"kai.scheduler/preemption-delay": "2h"}
    told = sentences(gpu_node("n1"), QUEUES, running("l", 8), wanting(8, annotations=notes))

    assert told[0].endswith("it waits until 2026-06-01T13:00:00Z before others leave for it.")


class TestConsolidation:
    def test_it_wants_more_than_is_idle(self):
        told = sentences(gpu_node("n1", 4), QUEUES, running("h", 3), wanting(4, priority=0), policy=MOVING)

        assert told[1] == "Consolidation does not help: 1 gpu is idle in all, it wants 4."

    def test_nothing_is_moved_for_work_that_stays_for_good(self):
        keeps = wanting(4, annotations={"aliquot.dev/preemptible": "false"}, priority=0)
        told = sentences(gpu_node("n1", 4), QUEUES, running("h", 3), keeps, policy=MOVING)

        assert told[1] == "Nothing is moved for work that cannot be preempted itself."

    def test_what_cannot_be_moved_is_told(self):
        nodes = [gpu_node("n1", 4), gpu_node("n2", 4)]
        fixed = running("f", 2, preemptible="false"), running("g", 2, node_name="n2", preemptible="false")
        told = sentences(nodes, QUEUES, fixed, wanting(4, priority=0), policy=MOVING)

        assert told[1] == (
            "Consolidation does not help, as no way to move others makes room: "
            "4 gpu are held by work that cannot be moved (2 workloads)."
        )

    @pytest.mark.parametrize(
        ("budget", "moves"), [(0, "off by policy"), (1, "by moving 3 workloads; the policy")]
    )
    def test_more_moves_than_the_budget_allows_are_counted(self, budget, moves):
        """Three of n1 would go to n2 and n3, which have room for as many."""
        nodes = [gpu_node("n1", 4), gpu_node("n2", 4), gpu_node("n3", 4)]
        here = [running(f"h{n}", 1, n) for n in range(3)]
        there = running("t", 2, node_name="n2"), running("u", 3, node_name="n3")
        policy = replace(MOVING, consolidation_budget=budget)
        told = sentences(nodes, QUEUES, here, there, wanting(4, priority=0), policy=policy)

        assert moves in told[1]
