"""Parts of devices of device plugins: who gets which, written down, read back, and never too much."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import NOW, cluster, namespace, node, pod, q
from tests.scheduling.looking import decided, nodes_of, verdict_on

from aliquot.dra.nodeselection import names_node
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.fractions.overuse import overuse
from aliquot.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import fix_sentence, sentence
from aliquot.workloads.labels import ADMITTED_AT

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
MEMORY = 10_000
REGISTER = "".join(f"GPU-{name},10,{MEMORY},100,NVIDIA-A10,0,true:" for name in "ab")


def plugin_node(name, devices=2, *, register="", **labels):
    """A node whose device plugin offers devices of 10,000 MiB."""
    made = node(name, labels={"nvidia.com/gpu.memory": str(MEMORY), **labels})
    if register:
        notes = {"hami.io/node-nvidia-register": register, "hami.io/node-handshake": "Requesting_2026"}
        made = replace(made, metadata=replace(made.metadata, annotations=notes))
    offered = {**made.status.allocatable, GPU: q(str(devices))}
    return replace(made, status=replace(made.status, allocatable=offered))


def asking(name, notes=None, **options):
    """A pod with limits by resource; notes: its annotations."""
    limits = {key: options.pop(key) for key in list(options) if "/" in key}
    made = pod(name, annotations=notes or {}, **options)
    container = made.spec.containers[0]
    needs = replace(
        container.resources,
        requests={
            **container.resources.requests,
            **{key: q(str(number)) for key, number in limits.items()},
        },
    )
    return replace(made, spec=replace(made.spec, containers=(replace(container, resources=needs),)))


def groups_of(plan):
    return {spot.pod.name: spot.groups for item in plan.decisions for spot in item.placements}


WORDS = {GPU: 1, "nvidia.com/gpumem": 6_000, "nvidia.com/gpucores": 30}


class TestHami:
    """Requests in HAMi's words, on nodes on which its plugin has registered two devices with 20 slots."""

    def test_a_part_in_hamis_words_gets_a_device_by_its_id(self):
        nodes = [plugin_node("h", 20, register=REGISTER), plugin_node("p")]
        plan = decided(cluster(nodes, [asking(f"w{number}", **WORDS) for number in range(3)]))

        assert nodes_of(plan) == {"w0": "h", "w1": "h"}
        assert groups_of(plan) == {"w0": ("GPU-a",), "w1": ("GPU-b",)}
        assert verdict_on(plan, "w2").reason is Reason.DEVICES_IN_USE

    def test_slots_are_not_devices(self):
        """20 slots are two devices, of which one is shared: no room for two whole ones."""
        nodes = [plugin_node("h", 20, register=REGISTER)]
        held = asking(
            "w", {"hami.io/vgpu-devices-allocated": "GPU-b,NVIDIA,6000,30:;"}, node_name="h", **WORDS
        )
        plan = decided(cluster(nodes, held, [asking(f"whole{number}", **{GPU: 1}) for number in range(2)]))

        assert nodes_of(plan) == {"whole0": "h"}
        assert verdict_on(plan, "whole1").reason is Reason.NODE_UNFIT

    def test_where_nobody_knows_which_device_is_idle_hami_chooses(self):
        nodes = [plugin_node("h", 20, register=REGISTER)]
        whole = asking("whole", node_name="h", **{GPU: 1})
        plan = decided(cluster(nodes, whole, asking("w", **WORDS)))

        assert groups_of(plan) == {"w": ("shared-1",)}

    def test_without_hami_they_are_refused_and_told_what_would_help(self):
        nodes = [plugin_node("p"), plugin_node("q", **{"aliquot.dev/fractions": "ours"})]
        verdict = verdict_on(decided(cluster(nodes, asking("w", **WORDS))), "w")

        assert verdict.reason is Reason.FRACTION_REFUSED
        assert "all 2 nodes do not run HAMi, in whose words the request is" in sentence(verdict)
        assert fix_sentence(verdict.fix).startswith("run HAMi on nodes")


@pytest.mark.parametrize(
    ("labels", "register", "told", "fix"),
    [
        ({}, REGISTER, "the only node runs HAMi, which reads no annotations", "ask in HAMi's words"),
        (
            {"nvidia.com/gpu.sharing-strategy": "mps", "nvidia.com/gpu.replicas": "2"},
            "",
            "the only node shares devices by MPS, of which the device plugin gives parts by resource only",
            "ask for nvidia.com/gpu in the container's limits",
        ),
    ],
)
def test_who_asks_by_annotation_is_not_served_by_what_reads_none(labels, register, told, fix):
    asks = pod("f", annotations={"gpu-fraction": "0.5"})
    verdict = verdict_on(decided(cluster(plugin_node("h", 4, register=register, **labels), asks)), "f")
    assert verdict.reason is Reason.FRACTION_REFUSED
    assert told in sentence(verdict)
    assert fix_sentence(verdict.fix).startswith(fix)

    translated = {**labels, "aliquot.dev/fractions": "mps"}
    plan = decided(cluster(plugin_node("h", 4, register=register, **translated), asks))
    assert nodes_of(plan) == {"f": "h"}


LINUX = Affinity(
    node_affinity=NodeAffinity(
        required=NodeSelector(
            node_selector_terms=(
                NodeSelectorTerm(
                    match_expressions=(NodeSelectorRequirement(key=HOSTNAME, operator="Exists", values=()),)
                ),
            )
        )
    )
)


def let_go(waiting, spot):
    """The pod as the one write that lets it go leaves it: without the gate, with its node and its devices."""
    notes = {**waiting.metadata.annotations, ADMITTED_AT: "2026-06-01T12:00:00Z"}
    if spot.groups:
        notes[GROUPS_ANNOTATION] = ",".join(spot.groups)
    affinity = waiting.spec.affinity or Affinity(node_affinity=NodeAffinity(required=names_node(spot.node)))
    spec = replace(waiting.spec, scheduling_gates=(), node_selector={HOSTNAME: spot.node}, affinity=affinity)
    return replace(waiting, spec=spec, metadata=replace(waiting.metadata, annotations=notes))


def bound(pod):
    status = replace(pod.status, phase="Running")
    return replace(pod, spec=replace(pod.spec, node_name=pod.spec.node_selector[HOSTNAME]), status=status)


@st.composite
def pods(draw):
    found = []
    for number in range(draw(st.integers(1, 7))):
        affinity = draw(st.sampled_from([None, LINUX]))
        notes, limits = {}, {}
        match draw(st.sampled_from(["part", "part", "memory", "whole"])):
            case "part":
                notes = {"gpu-fraction": draw(st.sampled_from(["0.3", "0.5", "0.34", "0.6", "1"]))}
            case "memory":
                notes = {"aliquot.dev/gpu-memory": draw(st.sampled_from(["2000", "3300", "5000", "6000"]))}
            case _:
                limits = {GPU: draw(st.integers(1, 2))}
        if notes and draw(st.integers(0, 3)) == 0:
            notes["gpu-fraction-num-devices"] = "2"
        found.append(asking(f"p{number}", notes, affinity=affinity, created=number, **limits))
    return found


@st.composite
def fleets(draw):
    return [
        plugin_node(f"n{number}", draw(st.integers(1, 3)), **{"aliquot.dev/fractions": "ours"})
        for number in range(draw(st.integers(1, 2)))
    ]


def overused(nodes, found):
    """By the marks on pods alone, let-go ones counted on the node that they are let go for."""
    at = {item.name: [] for item in nodes}
    for item in found.values():
        where = item.spec.node_name or item.spec.node_selector.get(HOSTNAME)
        if where and not item.spec.scheduling_gates:
            at[where].append(item)
    return {item.name: told for item in nodes if (told := list(overuse(item, at[item.name])))}


def size(asks):
    """What a pod asks of each device, and of how many; counted by other means than the product's."""
    notes = asks.metadata.annotations
    count = int(notes.get("gpu-fraction-num-devices", 1))
    if "gpu-fraction" in notes:
        return Fraction(notes["gpu-fraction"]), count
    if "aliquot.dev/gpu-memory" in notes:
        return Fraction(int(notes["aliquot.dev/gpu-memory"]), MEMORY), count
    return None, asks.spec.containers[0].resources.requests[GPU].value()


def has_room(here, running, asks):
    """Whether a node has the devices that a pod asks for: shared ones with enough left, and idle ones."""
    shared, whole = {}, 0
    for item in running:
        part, count = size(item)
        if part is None:
            whole += count
        else:
            for name in item.metadata.annotations[GROUPS_ANNOTATION].split(","):
                shared[name] = shared.get(name, 0) + part
    idle = here.status.allocatable[GPU].value() - whole - len(shared)
    part, count = size(asks)
    return count <= idle + (0 if part is None else sum(used + part <= 1 for used in shared.values()))


def check_lives(nodes, asking_pods, choose):
    found = {item.name: item for item in asking_pods}
    memory, kept, policy = Memory(), (namespace(), *nodes), Policy()
    for _ in range(12):
        snapshot = cluster(kept, list(found.values()))
        plan = decide(snapshot, policy, NOW, memory=memory)
        assert plan == decide(snapshot, policy, NOW)
        spots = [spot for item in plan.decisions for spot in item.placements]
        # The controller dies after some of the writes, the scheduler binds some of the pods let go.
        done = spots[: choose(len(spots))] if choose is not None else spots
        for spot in done:
            found[spot.pod.name] = let_go(found[spot.pod.name], spot)
        on_their_way = [
            item for item in found.values() if not item.spec.node_name and not item.spec.scheduling_gates
        ]
        binding = on_their_way[: choose(len(on_their_way))] if choose is not None else on_their_way
        for item in binding:
            found[item.name] = bound(item)
        assert overused(nodes, found) == {}
        if not spots and not on_their_way:
            return found
        if choose is not None and choose(3) == 0:
            memory = Memory()
            running = [item for item in found.values() if item.spec.node_name]
            if running:
                del found[running[choose(len(running) - 1)].name]
    return found


EXAMPLES = pytest.mark.parametrize("examples", [15, pytest.param(200, marks=pytest.mark.prove)])


@EXAMPLES
def test_whenever_the_controller_dies_no_device_is_given_out_beyond_what_it_has(examples):
    @settings(max_examples=examples, deadline=None)
    @given(fleets(), pods(), st.data())
    def check(nodes, asks, data):
        check_lives(nodes, asks, lambda most: data.draw(st.integers(0, most)))

    check()


@EXAMPLES
def test_nothing_waits_beside_devices_that_have_room_for_it(examples):
    @settings(max_examples=examples, deadline=None)
    @given(fleets(), pods())
    def check(nodes, asks):
        found = check_lives(nodes, asks, None)
        running = [item for item in found.values() if item.spec.node_name]
        for waiting in found.values():
            if not waiting.spec.node_name:
                for here in nodes:
                    there = [item for item in running if item.spec.node_name == here.name]
                    assert not has_room(here, there, waiting), (waiting.name, here.name)

    check()
