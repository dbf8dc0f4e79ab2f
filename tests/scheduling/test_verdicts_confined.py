"""Why work waits that must be close together, or that wants parts of devices."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    DRIVER,
    claim,
    cluster,
    gpu_node,
    node,
    pod,
    q,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import decided, nodes_of, verdict_on

from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import CELDeviceSelector, DeviceSelector
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.model.verdicts import Fix, Reason
from aliquot.scheduling.wording import fix_sentence, paragraph, sentence

LEVELS = (TopologyLevel(name="block", node_label="b"), TopologyLevel(name="rack", node_label="r"))
TOPOLOGY = Topology(metadata=ObjectMeta(name="dc"), spec=TopologySpec(levels=LEVELS))


def fleet():
    """Three racks of two nodes of 8 devices; two racks are in block b1, one in b2."""
    return [
        gpu_node(f"n{number}", labels={"b": "b1" if number < 4 else "b2", "r": f"r{number // 2}"})
        for number in range(6)
    ]


def gang(size, level="rack", *, topology="dc", devices=8):
    notes = {
        "aliquot.dev/gang": "g",
        "aliquot.dev/gang-size": str(size),
        "aliquot.dev/topology": topology,
        "aliquot.dev/topology-required": level,
    }
    return [with_claim(f"g{number}", request(devices), annotations=notes) for number in range(size)]


def test_a_gang_that_may_be_apart_is_not_refused_like_one_that_may_not():
    close = gang(3)
    apart = [
        with_claim(
            f"h{number}",
            request(8),
            created=9,
            annotations={"aliquot.dev/gang": "h", "aliquot.dev/gang-size": "3"},
        )
        for number in range(3)
    ]

    plan = decided(cluster(queue("default"), TOPOLOGY, fleet(), close, apart))

    assert sorted(nodes_of(plan)) == ["h0", "h1", "h2"]


def holding(name, node_name, count):
    held = pod(name, claims=[f"{name}-c"], node_name=node_name)
    devices = [f"gpu-{number}" for number in range(count)]
    return [
        held,
        claim(f"{name}-c", request(count), node_name=node_name, devices=devices, consumers=[held]),
    ]


def plugin_node(name, **labels):
    """A node whose device plugin offers 8 GPUs of 80 GiB."""
    made = node(name, labels={"nvidia.com/gpu.memory": "81920", **labels})
    return replace(
        made, status=replace(made.status, allocatable={**made.status.allocatable, "nvidia.com/gpu": q("8")})
    )


def test_the_best_domain_of_the_required_level_is_named_and_a_coarser_one_that_would_do():
    verdict = verdict_on(decided(cluster(fleet(), TOPOLOGY, gang(3))), "g0")

    assert verdict.reason is Reason.TOPOLOGY_NOT_MET
    assert sentence(verdict) == (
        "no rack has room for 3 pods that must be in one: rack b1/r0 holds 2 of 3 pods, the best of 3, "
        "block b1 would hold them"
    )
    assert verdict.fix == Fix(change="relaxTopology", subject="block")


def test_who_would_have_to_leave_the_nearest_domain_is_named():
    held = [holding(f"h{number}", f"n{number}", 4) for number in (0, 2, 4)]
    verdict = verdict_on(decided(cluster(fleet(), TOPOLOGY, held, gang(2))), "g0")

    assert verdict.reason is Reason.TOPOLOGY_NOT_MET
    assert verdict.fix == Fix(
        change="freeDevices", subject="gpu on node n0", amount="4", holders=("pod/team/h0",)
    )


def test_a_gang_that_fits_nowhere_at_all_does_not_blame_the_topology():
    verdict = verdict_on(decided(cluster(fleet(), TOPOLOGY, gang(8))), "g0")

    assert verdict.reason is Reason.GANG_DOES_NOT_FIT
    assert sentence(verdict).startswith("only 6 of 8 pods that must start together find a place")


@pytest.mark.parametrize(
    ("size", "named", "text"),
    [
        (
            1,
            {"level": "zone"},
            "topology dc has no level zone (it has: block, rack, node, numaNode, pcieRoot)",
        ),
        (1, {"topology": "none"}, "topology none does not exist (there are: dc)"),
    ],
)
def test_a_topology_or_level_that_is_not_there_is_said_before_anything_is_tried(size, named, text):
    verdict = verdict_on(decided(cluster(fleet(), TOPOLOGY, gang(size, **named))), "g0")

    assert verdict.reason is Reason.TOPOLOGY_NOT_MET
    assert sentence(verdict) == text


def test_a_part_that_nothing_enforces_is_refused_and_nodes_are_counted_by_the_ground():
    nodes = [
        plugin_node("p0"),
        plugin_node("p1"),
        plugin_node("p2", **{"nvidia.com/gpu.sharing-strategy": "time-slicing"}),
        node("cpu"),
    ]
    verdict = verdict_on(decided(cluster(nodes, pod("f", annotations={"gpu-fraction": "0.5"}))), "f")

    assert verdict.reason is Reason.FRACTION_REFUSED
    assert [(fact.subject, fact.count) for fact in verdict.facts[1:]] == [
        ("notEnforced", 2),
        ("noDevices", 1),
        ("timeSliced", 1),
    ]
    assert "aliquot.dev/fractions" in fix_sentence(verdict.fix)


def test_parts_larger_than_what_is_left_wait_for_a_holder_of_one():
    nodes = [plugin_node("p0", **{"aliquot.dev/fractions": "MPS"}), node("cpu")]
    pods = [pod(f"f{number}", annotations={"gpu-fraction": "0.7"}) for number in range(9)]
    verdict = verdict_on(decided(cluster(nodes, pods)), "f8")

    assert verdict.reason is Reason.DEVICES_IN_USE
    assert sentence(verdict).startswith("no node has a device with 0.7 of it free")
    assert fix_sentence(verdict.fix) == "free 0.7 of a device on node p0 (held by pod/team/f0)"


@pytest.mark.parametrize(
    ("notes", "beside", "text"),
    [
        ({"gpu-fraction": "1.5"}, False, "the request gpu-fraction '1.5' is no part of a device"),
        ({"gpu-memory": "much"}, False, "the request gpu-memory 'much' is no amount of memory"),
        (
            {"gpu-fraction": "0.5"},
            True,
            "the request nvidia.com/gpu '1' stands beside a part by annotation",
        ),
    ],
)
def test_a_request_for_parts_that_is_malformed_waits_and_is_never_placed(notes, beside, text):
    made = pod("f", annotations=notes)
    if beside:
        container = made.spec.containers[0]
        needs = replace(
            container.resources, requests={**container.resources.requests, "nvidia.com/gpu": q("1")}
        )
        made = replace(made, spec=replace(made.spec, containers=(replace(container, resources=needs),)))
    plan = decided(cluster(plugin_node("p0", **{"aliquot.dev/fractions": "MPS"}), made))

    assert nodes_of(plan) == {}
    verdict = verdict_on(plan, "f")
    assert verdict.reason is Reason.FRACTION_REFUSED
    assert sentence(verdict) == text
    assert verdict.fix.change == "correctRequest"


def test_members_beyond_the_minimum_that_are_malformed_are_not_placed_either():
    """A gang of one that must start and two that may: the malformed one stays behind."""
    notes = {"aliquot.dev/gang": "g", "aliquot.dev/gang-size": "1"}
    pods = [
        pod("a", annotations={**notes, "gpu-fraction": "0.5"}),
        pod("b", annotations={**notes, "gpu-fraction": "half"}),
    ]
    plan = decided(cluster(plugin_node("p0", **{"aliquot.dev/fractions": "MPS"}), pods))

    assert nodes_of(plan) == {"a": "p0"}
    assert verdict_on(plan, "b").reason is Reason.FRACTION_REFUSED


def test_it_is_counted_which_selector_rules_out_how_many_devices():
    other = f'device.attributes["{DRIVER}"].model == "a100"'
    more = f'device.capacity["{DRIVER}"].memory.isGreaterThan(quantity("90Gi"))'
    wanted = replace(
        request(),
        exactly=replace(
            request().exactly,
            selectors=tuple(DeviceSelector(cel=CELDeviceSelector(expression=text)) for text in (other, more)),
        ),
    )
    nodes = [gpu_node("n1", 4, model="a100"), gpu_node("n2", 8)]
    verdict = verdict_on(decided(cluster(nodes, with_claim("a", wanted))), "a")

    assert verdict.reason is Reason.NO_MATCHING_DEVICES
    assert [(fact.count, fact.available) for fact in verdict.facts if fact.test == "rulesOut"] == [
        (0, "12"),
        (8, "4"),
        (4, "0"),
    ]
    assert (
        f"Of 12 devices 8 are ruled out by the selector {other} and 4 are ruled out by the selector {more}."
        in paragraph(verdict)
    )


def test_a_level_that_no_topology_knows_is_said_where_none_is_named():
    pods = [
        replace(item, metadata=replace(item.metadata, annotations=without_topology(item)))
        if item.metadata.annotations
        else item
        for part in gang(2, "floor")
        for item in part
    ]
    verdict = verdict_on(decided(cluster(fleet(), TOPOLOGY, pods)), "g0")

    assert verdict.reason is Reason.TOPOLOGY_NOT_MET
    assert sentence(verdict) == "no topology has the level floor, or several have it and none is named"
    assert fix_sentence(verdict.fix) == "name the topology that has the level floor, or create one"


def without_topology(item):
    return {
        name: value for name, value in item.metadata.annotations.items() if name != "aliquot.dev/topology"
    }


def test_a_level_inside_a_node_is_known_to_every_topology():
    plan = decided(cluster(fleet(), TOPOLOGY, gang(1, "numaNode", devices=1)))

    assert set(nodes_of(plan)) == {"g0"}
