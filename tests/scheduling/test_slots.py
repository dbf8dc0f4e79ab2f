"""Devices that a device plugin shares by time-slicing or MPS: queues count a slot as its part of a device."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduling.builders import NOW, cluster, namespace, node, pod, queue
from tests.scheduling.looking import after, decided, evicted, nodes_of, verdict_on

from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason
from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.decide import opened
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import KAI, Policy

PLUGIN = "nvidia.com/gpu"
RENAMED = "nvidia.com/gpu.shared"


def slotted(name, devices, slots, resource=PLUGIN, strategy="time-slicing", **labels):
    """A node whose plugin shares each of its devices in so many slots."""
    told = {"nvidia.com/gpu.replicas": str(slots), "nvidia.com/gpu.sharing-strategy": strategy, **labels}
    return node(name, labels=told, **{resource: devices * slots})


def wants(name, count=1, resource=PLUGIN, **options):
    return pod(name, **{resource: count}, **options)


def capacity(*objects, policy=None):
    state = opened(cluster(*objects), policy or Policy(), NOW).state
    return sum(state.capacity(number) for number in range(len(state.table.nodes))) / UNIT


def held(snapshot: Snapshot, name="default"):
    return opened(snapshot, Policy(), NOW).state.queues.of(name).get(GPU, 0)


def asked(*objects, policy=None):
    session = opened(cluster(queue("default"), *objects), policy or Policy(), NOW)
    (crew,) = session.crews.waiting.values()
    return session.next_charge(crew).get(GPU, 0) / UNIT


@pytest.mark.parametrize(
    ("machine", "devices"),
    [
        (node("n", **{PLUGIN: 8}), 8),
        (slotted("n", 8, 4), 8),
        (slotted("n", 8, 4, strategy="mps"), 8),
        (slotted("n", 2, 7), 2),
        (slotted("n", 8, 4, RENAMED), 8),
        (slotted("n", 8, 1, strategy="none"), 8),
        (node("n", labels={"nvidia.com/gpu.replicas": "many"}, **{PLUGIN: 8}), 8),
    ],
)
def test_a_node_has_as_many_devices_as_there_are_however_many_slots_they_have(machine, devices):
    assert capacity(machine) == devices


@pytest.mark.parametrize("resource", [PLUGIN, RENAMED])
def test_a_pod_with_a_slot_holds_its_part_of_a_device(resource):
    snapshot = cluster(queue("default"), slotted("n", 1, 3, resource), wants("a", 2, resource, node_name="n"))

    assert held(snapshot) == Fraction(2 * UNIT, 3)


def test_under_kai_schedulers_rules_slots_count_as_devices():
    assert capacity(slotted("n", 8, 4), policy=KAI) == 32
    assert asked(slotted("n", 8, 4), wants("a"), policy=KAI) == 1


WHOLE = node("whole", labels={"kind": "whole"}, **{PLUGIN: 8})
QUARTERS = slotted("quarters", 8, 4, kind="quarters")


@pytest.mark.parametrize(
    ("nodes", "options", "charge"),
    [
        pytest.param([WHOLE], {}, 1, id="whole"),
        pytest.param([QUARTERS], {}, Fraction(1, 4), id="slots"),
        pytest.param([WHOLE, QUARTERS], {}, 1, id="either"),
        pytest.param([WHOLE, QUARTERS], {"selector": {"kind": "quarters"}}, Fraction(1, 4), id="only-there"),
        pytest.param([QUARTERS, slotted("halves", 8, 2)], {}, Fraction(1, 2), id="the-larger-slot"),
    ],
)
def test_a_pod_without_a_node_counts_as_on_the_node_where_it_counts_most(nodes, options, charge):
    assert asked(*nodes, wants("a", **options)) == charge


def test_a_limit_is_held_against_what_a_pod_counts_for_where_it_is_placed():
    snapshot = cluster(
        queue("default", limits={"gpu": "500m"}), WHOLE, QUARTERS, [wants(f"a-{n}") for n in range(3)]
    )

    plan = decided(snapshot)

    assert nodes_of(plan) == {"a-0": "quarters", "a-1": "quarters"}
    assert verdict_on(plan, "a-2").reason is Reason.OVER_LIMIT
    assert held(after(snapshot, plan)) == UNIT // 2


def test_a_limit_of_whole_devices_admits_as_many_slots():
    snapshot = cluster(queue("default", limits={"gpu": "1"}), QUARTERS, [wants(f"a-{n}") for n in range(5)])

    assert len(nodes_of(decided(snapshot))) == 4


def test_a_share_is_reclaimed_slot_by_slot():
    # One device in four slots, two queues with half of it each: `other` gets two slots back.
    snapshot = cluster(
        namespace(),
        queue("default", quota={"gpu": "500m"}),
        queue("other", quota={"gpu": "500m"}),
        slotted("n", 1, 4),
        [wants(f"old-{n}", node_name="n") for n in range(4)],
        [wants(f"new-{n}", labels={"aliquot.dev/queue": "other"}, created=n) for n in range(3)],
    )

    plan = decided(snapshot)

    assert len(evicted(plan)) == 2


def test_where_only_a_slot_is_free_somebody_who_could_have_a_whole_device_finds_it():
    snapshot = cluster(
        queue("default"),
        WHOLE,
        slotted("quarters", 1, 4),
        wants("large", 8, node_name="whole"),
        [wants(f"a-{n}", node_name="quarters") for n in range(4)],
        wants("urgent", priority=10, selector={"kubernetes.io/hostname": "quarters"}),
    )

    assert len(evicted(decided(snapshot))) == 1


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4)), min_size=1, max_size=3),
    st.lists(st.integers(1, 3), max_size=6),
    st.integers(1, 4),
)
def test_what_is_held_and_what_there_is_agree_everywhere(machines, wanted, limit):
    nodes = [slotted(f"n{place}", devices, slots) for place, (devices, slots) in enumerate(machines)]
    pods = [wants(f"a-{place}", count) for place, count in enumerate(wanted)]
    snapshot = cluster(queue("default", limits={"gpu": str(limit)}), nodes, pods)

    later = after(snapshot, decided(snapshot))

    there = sum(devices for devices, _ in machines)
    assert capacity(nodes) == there
    shown = Report.of(later, Plan(decisions=()), Policy())
    assert len(shown.devices.devices) == there
    assert shown.queues.queues[0].resource(GPU).used == held(later) <= min(limit, there) * UNIT
