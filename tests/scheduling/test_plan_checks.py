"""A plan that breaks a rule is found out."""

import pytest
from tests.scheduling.builders import cluster, namespace, node, pod

from aliquot.model.core import Taint
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict, Placement, Plan
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy

SNAPSHOT = cluster(
    namespace(),
    node("a", cpu=4),
    node("b", cpu=4, taints=[Taint(key="fire", effect="NoSchedule")]),
    pod("stays", cpu=1, node_name="a"),
    pod("leaves", cpu=2, node_name="a"),
    pod("is-leaving", cpu=1, node_name="a", deleting=True),
    pod("waits", cpu=3),
    pod("waits-too", cpu=1),
)
PODS = {item.name: item for item in SNAPSHOT.pods}


def spot(name: str, at: str) -> Placement:
    return Placement(pod=PODS[name].ref, node=at)


def plan(*, placed: list[Placement], promised: list[Placement], evicted: list[str]) -> Plan:
    actions = tuple(
        Evict(decision="x", pod=PODS[name].ref, verdict=Verdict(reason=Reason.PREEMPTED)) for name in evicted
    )
    decision = Decision(
        id="x",
        workload=PODS["waits"].ref,
        queue="",
        pods=(),
        actions=actions,
        placements=tuple(placed),
        promised=tuple(promised),
    )
    return Plan(decisions=(decision,), staleness=())


@pytest.mark.parametrize(
    ("placed", "promised", "evicted", "broken"),
    [
        ({}, {"waits": "a"}, ["leaves"], []),
        ({}, {"waits": "a"}, [], ["PromiseOverdrawn"]),
        ({}, {"waits-too": "a"}, [], []),
        ({}, {"waits": "a", "waits-too": "a"}, ["leaves"], ["PromiseOverdrawn"]),
        ({}, {"waits": "a", "leaves": "a"}, ["leaves"], ["PromiseOverdrawn"]),
        ({}, {"waits-too": "a", "leaves": "a"}, ["leaves"], []),
        ({}, {"waits": "b"}, [], ["PromiseRefused"]),
        ({}, {"waits": "c"}, [], ["PromiseRefused"]),
        ({"waits-too": "a"}, {}, ["leaves"], []),
        ({"waits-too": "a"}, {}, [], ["NodeOverdrawn"]),
        ({"waits": "b"}, {}, [], ["NodeRefuses"]),
        ({"waits-too": "c"}, {}, [], ["NodeMissing"]),
    ],
)
def test_what_a_plan_breaks(placed, promised, evicted, broken):
    found = plan(
        placed=[spot(name, at) for name, at in placed.items()],
        promised=[spot(name, at) for name, at in promised.items()],
        evicted=evicted,
    )

    assert [breach.rule for breach in check_plan(SNAPSHOT, found, Policy())] == broken
