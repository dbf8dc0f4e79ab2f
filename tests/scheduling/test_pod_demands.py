"""What a pod takes of its node, and which nodes its labels, tolerations and ports allow."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import node, q, quantities

from aliquot.model.core import (
    Affinity,
    Container,
    ContainerPort,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    ResourceRequirements,
    Taint,
    Toleration,
)
from aliquot.model.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta
from aliquot.scheduling.affinity import matches_labels, matches_node, named_node, tolerates
from aliquot.scheduling.facts import PodTraits
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import Demand, host_ports, ports_clash
from aliquot.scheduling.requests import pod_requests, written


def container(restart: str = "", **requests):
    return Container(resources=ResourceRequirements(requests=quantities(**requests)), restart_policy=restart)


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        (PodSpec(containers=(container(cpu="250m"), container(cpu=1))), 1250),
        (PodSpec(containers=(container(cpu=1),), init_containers=(container(cpu=3),)), 3000),
        (PodSpec(containers=(container(cpu=2),), init_containers=(container(cpu=1),)), 2000),
        # A sidecar runs beside the containers and beside the init containers after it.
        (PodSpec(containers=(container(cpu=1),), init_containers=(container("Always", cpu=1),)), 2000),
        (
            PodSpec(
                containers=(container(cpu=1),), init_containers=(container("Always", cpu=1), container(cpu=3))
            ),
            4000,
        ),
        (
            PodSpec(
                containers=(container(cpu=1),), init_containers=(container(cpu=3), container("Always", cpu=1))
            ),
            3000,
        ),
        (PodSpec(containers=(container(cpu=1),), overhead={"cpu": q("100m")}), 1100),
        (
            PodSpec(
                containers=(container(cpu=1), container(cpu=1)),
                resources=ResourceRequirements(requests={"cpu": q("500m")}),
            ),
            500,
        ),
        (PodSpec(containers=(container(cpu="100u"), container(cpu="100u"))), 1),
        (PodSpec(containers=(Container(resources=ResourceRequirements(limits={"cpu": q("2")})),)), 2000),
    ],
)
def test_requests_follow_the_formula_of_the_scheduler(spec, cpu):
    assert pod_requests(spec) == {"cpu": cpu, "pods": 1}


def test_resources_other_than_cpu_are_counted_in_whole_units():
    found = pod_requests(PodSpec(containers=(container(memory="1.5Ki", **{"nvidia.com__gpu": 2}),)))

    assert found == {"memory": 1536, "nvidia.com/gpu": 2, "pods": 1}


def test_pod_level_requests_do_not_replace_devices():
    spec = PodSpec(
        containers=(container(**{"nvidia.com__gpu": 2}),),
        resources=ResourceRequirements(requests={"nvidia.com/gpu": q("7")}),
    )

    assert pod_requests(spec)["nvidia.com/gpu"] == 2


@pytest.mark.parametrize(
    ("resource", "number", "text"),
    [("cpu", 1500, "1500m"), ("cpu", 2000, "2"), ("memory", 3 << 30, "3Gi"), ("memory", 1000, "1k"),
     ("memory", 0, "0"), ("nvidia.com/gpu", 2, "2")],
)  # fmt: skip
def test_amounts_are_written_as_quantities(resource, number, text):
    assert written(resource, number) == text


@pytest.mark.parametrize(
    ("toleration", "taint", "result"),
    [
        (Toleration(key="a", operator="Exists"), Taint(key="a", value="x", effect="NoSchedule"), True),
        (Toleration(key="a", value="x"), Taint(key="a", value="x", effect="NoSchedule"), True),
        (Toleration(key="a", value="y"), Taint(key="a", value="x", effect="NoSchedule"), False),
        (Toleration(key="b", operator="Exists"), Taint(key="a", effect="NoSchedule"), False),
        (Toleration(operator="Exists"), Taint(key="a", effect="NoExecute"), True),
        (Toleration(operator="Exists", effect="NoSchedule"), Taint(key="a", effect="NoExecute"), False),
        (Toleration(), Taint(key="a", effect="NoSchedule"), False),
    ],
)
def test_a_toleration_covers_a_taint(toleration, taint, result):
    assert tolerates([toleration], taint) is result


def term(*expressions, fields=()):
    return NodeSelectorTerm(match_expressions=expressions, match_fields=tuple(fields))


NAMED = NodeSelectorRequirement(key="metadata.name", operator="In", values=("n1",))
ZONE = NodeSelectorRequirement(key="zone", operator="In", values=("a",))


@pytest.mark.parametrize(
    ("terms", "matches", "names"),
    [
        ((term(ZONE),), True, None),
        ((term(),), False, None),
        ((), False, None),
        ((term(fields=[NAMED]),), True, "n1"),
        ((term(ZONE, fields=[NAMED]),), True, "n1"),
        ((term(ZONE), term(fields=[NAMED])), True, None),
        ((term(NodeSelectorRequirement(key="zone", operator="NoSuchOperator")),), False, None),
    ],
)
def test_a_node_selector_selects(terms, matches, names):
    selector = NodeSelector(node_selector_terms=terms)

    assert matches_node(selector, node("n1", labels={"zone": "a"})) is matches
    assert named_node(selector) == names


def test_no_node_selector_selects_every_node_and_names_none():
    assert matches_node(None, node("n1"))
    assert named_node(None) is None


@pytest.mark.parametrize(
    ("selector", "result"),
    [
        (None, False),
        (LabelSelector(), True),
        (LabelSelector(match_labels={"app": "x"}), True),
        (LabelSelector(match_labels={"app": "y"}), False),
        (
            LabelSelector(match_expressions=(LabelSelectorRequirement(key="gone", operator="DoesNotExist"),)),
            True,
        ),
        (
            LabelSelector(
                match_expressions=(LabelSelectorRequirement(key="app", operator="NotIn", values=("x",)),)
            ),
            False,
        ),
    ],
)
def test_a_label_selector_selects(selector, result):
    assert matches_labels(selector, {"app": "x"}) is result


def test_host_ports_clash_by_protocol_number_and_overlapping_address():
    tcp, udp = ("TCP", "0.0.0.0", 80), ("UDP", "0.0.0.0", 80)
    here, there = ("TCP", "10.0.0.1", 80), ("TCP", "10.0.0.2", 80)

    assert ports_clash([tcp], [here]) == tcp
    assert ports_clash([here], [tcp]) == here
    assert ports_clash([here], [there]) is None
    assert ports_clash([tcp], [udp]) is None


def test_the_ports_of_sidecars_count_and_those_of_init_containers_do_not():
    def with_port(number, restart=""):
        return Container(ports=(ContainerPort(container_port=1, host_port=number),), restart_policy=restart)

    spec = PodSpec(containers=(with_port(1),), init_containers=(with_port(2), with_port(3, "Always")))

    assert [port for _, _, port in host_ports(Pod(spec=spec))] == [1, 3]
    assert Demand.of(Pod(spec=spec)).requests == {"pods": 1}


def _resources(**limits: str | int) -> ResourceRequirements:
    return ResourceRequirements(limits=quantities(**limits))


def _near(required: bool) -> Affinity:
    terms = (PodAffinityTerm(topology_key="zone"),)
    return Affinity(pod_affinity=PodAffinity(required=terms) if required else None)


_ONE = PodSpec(containers=(container(cpu=1, memory="64Gi"),))
_ASKING = [
    replace(_ONE, containers=(container(cpu=2, memory="64Gi"),)),
    replace(_ONE, containers=(container(cpu=1, memory="65Gi"),)),
    replace(_ONE, containers=(*_ONE.containers, *_ONE.containers)),
    replace(_ONE, containers=(replace(_ONE.containers[0], resources=_resources(cpu=3)),)),
    replace(_ONE, containers=(replace(_ONE.containers[0], ports=(ContainerPort(host_port=80),)),)),
    replace(_ONE, init_containers=(container(cpu=3),)),
    replace(_ONE, init_containers=(container("Always", cpu=3),)),
    replace(_ONE, overhead=quantities(cpu=1)),
    replace(_ONE, resources=ResourceRequirements(requests=quantities(cpu=4))),
    replace(_ONE, node_selector={"zone": "a"}),
    replace(_ONE, tolerations=(Toleration(key="k", operator="Exists"),)),
    replace(_ONE, affinity=_near(True)),
]


@pytest.mark.parametrize("spec", _ASKING)
def test_pods_that_ask_for_something_else_are_not_alike(spec):
    one, other = Pod(spec=_ONE), Pod(spec=spec)
    memory = Memory()

    assert memory.traits(other) == PodTraits.of(other) != PodTraits.of(one) == memory.traits(one)


@pytest.mark.parametrize("name", ["gpu-fraction", "aliquot.dev/gpu-memory", "nvidia.com/mig-1g.5gb"])
def test_pods_with_other_annotations_for_devices_are_not_alike(name):
    one, other = (Pod(metadata=ObjectMeta(annotations={name: value}), spec=_ONE) for value in ("0.5", "1"))
    memory = Memory()

    assert memory.traits(one) == PodTraits.of(one) != PodTraits.of(other) == memory.traits(other)


def test_pods_of_one_template_share_their_traits():
    placed = replace(_ONE, node_name="n1", priority=3, containers=(container(cpu="1000m", memory="64Gi"),))
    first = Pod(metadata=ObjectMeta(name="a", annotations={"note": "1"}), spec=_ONE)
    second = Pod(metadata=ObjectMeta(name="b"), spec=placed)
    memory = Memory()

    assert memory.traits(first) is memory.traits(second)
