"""Why work waits: the dominant reason, the facts, the nearest fix, and how it is put in words."""

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import (
    DRIVER,
    NOW,
    claim,
    cluster,
    device_class,
    gpu_node,
    job,
    node,
    pod,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import decided, nodes_of, verdict_on

from aliquot.model.core import Taint
from aliquot.model.kinds import decode
from aliquot.model.resource import DeviceClassSpec, DeviceTaint
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.wording import (
    decision_sentence,
    fix_sentence,
    paragraph,
    plan_sentence,
    sentence,
)

ROOT = f"{DRIVER}/root"
BLACKWELL = f'device.attributes["{DRIVER}"].model == "b200"'


def holding(name, node_name, count):
    """A running pod with devices of a node, the first ones."""
    held = pod(name, claims=[f"{name}-c"], node_name=node_name)
    devices = [f"gpu-{number}" for number in range(count)]
    return [
        held,
        claim(f"{name}-c", request(count), node_name=node_name, devices=devices, consumers=[held]),
    ]


@pytest.mark.parametrize(
    ("objects", "wanted", "reason", "text"),
    [
        (
            [gpu_node("n1"), holding("h", "n1", 6), gpu_node("n2", 2), node("n3")],
            {"requests": [request(4)]},
            Reason.DEVICES_IN_USE,
            "no node has 4 free devices of gpu: 1 of 3 nodes has too few free (2 of 4), "
            "1 has no device of gpu that matches, 1 has too few (2 of 4)",
        ),
        (
            [gpu_node("n1", per_root=2), gpu_node("n2", per_root=2)],
            {"requests": [request(4)], "match": ROOT},
            Reason.CONSTRAINT_NOT_MET,
            f"no node has 4 free devices with the same {ROOT}: "
            f"all 2 nodes have enough free, but not with the same {ROOT}",
        ),
        (
            [gpu_node("n1"), gpu_node("n2")],
            {"requests": [request(16)]},
            Reason.TOO_FEW_DEVICES,
            "no node has 16 devices of gpu, free or not: all 2 nodes have too few (8 of 16 at most)",
        ),
        (
            [gpu_node("n1")],
            {"requests": [request(selector=BLACKWELL)]},
            Reason.NO_MATCHING_DEVICES,
            "no device matches: the only node has no device of gpu that matches",
        ),
        (
            [gpu_node("n1", taint=DeviceTaint(key="broken", effect="NoSchedule"))],
            {"requests": [request()]},
            Reason.DEVICES_TAINTED,
            "the devices that would do are tainted: the only node has tainted devices of gpu",
        ),
        (
            [gpu_node("n1", cpu=2), gpu_node("n2", taints=[Taint(key="k", effect="NoSchedule")])],
            {"requests": [request()], "cpu": 4},
            Reason.NODE_UNFIT,
            "no node takes the pod: 1 of 2 nodes lacks cpu (4 wanted, 2 free), 1 has the taint k",
        ),
        (
            [gpu_node("n1"), holding("h", "n1", 8), gpu_node("n2", unschedulable=True)],
            {"requests": [request()]},
            Reason.DEVICES_IN_USE,
            "no node has 1 free device of gpu: 1 of 2 nodes has none free, 1 is cordoned",
        ),
        (
            [],
            {"requests": [request()]},
            Reason.NODE_UNFIT,
            "no node takes the pod: there is no node",
        ),
    ],
)
def test_the_dominant_reason_and_the_facts_behind_it(objects, wanted, reason, text):
    options = {key: value for key, value in wanted.items() if key != "requests"}
    plan = decided(cluster(objects, with_claim("a", *wanted["requests"], **options)))

    verdict = verdict_on(plan, "a")
    assert verdict.reason is reason
    assert sentence(verdict) == text


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (request(device_class_name="none"), "device class none does not exist"),
        (request(selector="nothing.here"), "undeclared reference"),
        (
            request(selector=f'device.attributes["{DRIVER}"].wrong == 1'),
            "a selector fails on devices of 1 node: no such key",
        ),
        (request(40), "40"),
    ],
)
def test_a_claim_that_is_wrong_in_itself_is_told_apart(wanted, text):
    verdict = verdict_on(decided(cluster(gpu_node("n1"), with_claim("a", wanted))), "a")

    assert verdict.reason is Reason.INVALID_CLAIM
    assert text in sentence(verdict)


def test_the_fewest_holders_on_the_nearest_node_are_named():
    objects = [
        gpu_node("n1"), holding("many", "n1", 7), gpu_node("n2"), holding("few", "n2", 5),
    ]  # fmt: skip
    verdict = verdict_on(decided(cluster(objects, with_claim("a", request(4)))), "a")

    assert verdict.fix == Fix(
        change="freeDevices", subject="gpu on node n2", amount="1", holders=("pod/team/few",)
    )
    assert fix_sentence(verdict.fix) == "free 1 device of gpu on node n2 (held by pod/team/few)"


def test_a_gang_does_not_name_itself_as_holder():
    pods = [item for n in range(4) for item in with_claim(f"p{n}", job="j")]
    verdict = verdict_on(decided(cluster(gpu_node("n1", 3), holding("h", "n1", 1), job("j", 4), pods)), "p0")

    assert verdict.fix.holders == ("pod/team/h",)
    assert verdict.fix.amount == "2"
    assert sentence(verdict).startswith(
        "only 2 of 4 pods that must start together find a place; for the next, no node"
    )


def test_who_holds_missing_cpu_is_named():
    big, small = pod("big", cpu=5, node_name="n1"), pod("small", cpu=1, node_name="n1")
    verdict = verdict_on(decided(cluster(node("n1", cpu=8), big, small, pod("a", cpu=4))), "a")

    assert verdict.fix.change == "freeResource"
    assert verdict.fix.holders == ("pod/team/big",)
    assert fix_sentence(verdict.fix) == "free 2 of cpu on node n1 (held by pod/team/big)"


def test_a_taint_is_the_fix_when_a_tainted_node_would_do():
    objects = [gpu_node("n1", cpu=2), gpu_node("n2", taints=[Taint(key="k", effect="NoSchedule")])]
    verdict = verdict_on(decided(cluster(objects, with_claim("a", cpu=4))), "a")

    assert fix_sentence(verdict.fix) == "tolerate the taint k of 1 node"


def test_devices_asked_for_by_count_where_only_claims_get_them_are_told_how():
    extended = replace(device_class(), spec=DeviceClassSpec(extended_resource_name="example.com/gpu"))
    asking = pod("a", **{"example.com__gpu": 2})
    plan = decided(cluster(gpu_node("n1"), extended, asking), Policy(kubernetes=(1, 35)))

    text = "ask for 2 devices of class gpu by a claim: no node offers them by count"
    assert fix_sentence(verdict_on(plan, "a").fix) == text


def test_a_paragraph_says_everything():
    objects = [
        gpu_node("n1", 2),
        queue("default"),
        with_claim("big", request(3), created=0),
        with_claim("b", created=1),
    ]
    text = paragraph(verdict_on(decided(cluster(objects)), "big"))

    assert text == (
        "No node has 3 devices of gpu, free or not: the only node has too few (2 of 3). "
        "1 workload of its queue that came later and fit went ahead. "
        "Nearest fix: ask for 2 instead of 3 devices of gpu on one node."
    )


def test_a_limit_is_told_with_its_numbers():
    red = {"aliquot.dev/queue": "red"}
    plan = decided(
        cluster(queue("red", limits={"gpu": "2"}), gpu_node("n1"), with_claim("a", request(3), labels=red))
    )

    assert sentence(verdict_on(plan, "a")) == "queue red would exceed its limit of 2 gpu: 0 used, 3 wanted"


@pytest.mark.parametrize(
    ("tree", "text", "fix"),
    [
        (
            '{"children": [{"name": "x"}]}',
            "the annotation aliquot.dev/subgroups has to give a minimum for every leaf: none for x",
            "write a minimum for every leaf into aliquot.dev/subgroups",
        ),
        (
            "leader, worker",
            "the annotation aliquot.dev/subgroups has to give a JSON tree of subgroups: "
            "JSON is malformed: invalid character (byte 0)",
            "write a JSON tree of subgroups into aliquot.dev/subgroups",
        ),
    ],
)
def test_subgroups_that_cannot_be_read_are_told_with_what_is_wrong(tree, text, fix):
    waiting = pod("a", annotations={"aliquot.dev/gang": "g", "aliquot.dev/subgroups": tree})
    verdict = verdict_on(decided(cluster(gpu_node("n1"), waiting)), "a")

    assert verdict.reason is Reason.WAITING_FOR_MEMBERS
    assert sentence(verdict) == text
    assert fix_sentence(verdict.fix) == fix


def test_a_decision_and_a_plan_in_one_line():
    plan = decided(cluster(gpu_node("n1", 2), with_claim("a", request(2)), with_claim("b", created=1)))

    assert [decision_sentence(item) for item in plan.decisions] == [
        "pod/team/a: 1 pod placed with 2 devices on n1",
        "pod/team/b: no node has 1 free device of gpu: the only node has none free",
    ]
    assert plan_sentence(plan) == "1 workload (1 pod) placed, 1 waiting"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words_even_for_facts_it_does_not_know(reason):
    facts = (Fact(test="somethingNew", subject="x", count=2, unit="nodes", wanted="2", available="1"),)
    verdict = Verdict(reason=reason, facts=facts, fix=Fix(change="somethingNew", subject="x"))

    assert sentence(verdict)
    assert paragraph(verdict).endswith(".")


def test_an_observer_is_told_every_node_and_every_decision():
    told, decisions = [], []

    class Listening:
        def fell(self, workload, pod, node, fact):
            told.append((pod.name, node, fact.test))

        def asks(self, workload):
            return False

        def decided(self, decision):
            decisions.append(decision.id)

    snapshot = cluster(gpu_node("n1", 1), node("n2"), with_claim("a", request(2)))
    plan = decide(snapshot, Policy(), NOW, observer=Listening())

    assert told == [("a", "n1", "tooFew"), ("a", "n2", "selector")]
    assert decisions == [item.id for item in plan.decisions]
    assert plan == decide(snapshot, Policy(), NOW)


def test_a_slice_whose_node_selector_is_not_valid_gives_a_verdict_and_no_exception():
    broken = decode(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": "broken"},
            "spec": {
                "driver": DRIVER,
                "pool": {"name": "network", "generation": 1, "resourceSliceCount": 1},
                "nodeSelector": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Wrong"}]}]
                },
                "devices": [{"name": "x"}],
            },
        }
    )

    plan = decide(cluster(node("n1"), broken, with_claim("a")), Policy(), NOW)

    assert verdict_on(plan, "a").reason is Reason.NO_MATCHING_DEVICES


def test_a_step_may_be_taken_twice():
    snapshot = cluster(gpu_node("n1", 1), with_claim("a", request(1)))
    twice = decide(snapshot, Policy(steps=(Step.ALLOCATE, Step.ALLOCATE)), NOW)

    assert twice == decide(snapshot, Policy(steps=(Step.ALLOCATE,)), NOW)
    assert nodes_of(twice) == {"a": "n1"}
