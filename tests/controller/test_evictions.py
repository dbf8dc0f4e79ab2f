"""Who leaves when a decision wants it, and who stays: budgets, stale plans, what is written on the way."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.controller.objects import add_node, add_pod, decide, decode_pod, read_pod, seen
from tests.controller.test_reporting import events

from aliquot.controller.enact import Enactor
from aliquot.controller.outcomes import ConflictError, RefusedError
from aliquot.controller.reporting import Reporter
from aliquot.controller.writing import Writer
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.kube.client import Client
from aliquot.kube.clock import SystemClock
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS, Resource
from aliquot.model.core import Pod
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.plan import Admit, Decision, Evict, Placement, Plan, Staleness
from aliquot.scheduling.wording import sentence
from aliquot.workloads.labels import STALE_SINCE

BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True)
JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "sweep", "uid": "9", "controller": True}
PREEMPTED = Verdict(reason=Reason.PREEMPTED, facts=(Fact(test="forWorkload", subject="job/default/high"),))
PROMISED = Verdict(reason=Reason.ROOM_PROMISED, facts=(Fact(test="promised", count=1, unit="pods"),))
BROKEN = Verdict(reason=Reason.GANG_BROKEN, facts=())


async def running(client: Client, mirror: Mirror, name: str, app: str = "x") -> Pod:
    """A pod of a Job that runs on a node, and takes a while to stop."""
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}, "ownerReferences": [JOB]},
        "spec": {"containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 30},
    }
    await client.create(PODS, document, "default")
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"kind": "Node", "name": "node-a"},
    }
    await client.request("POST", PODS.path("default", name, "binding"), body=binding)
    body = await client.patch(PODS, name, {"status": {"phase": "Running"}}, "default", subresource="status")
    pod = decode_pod(body)
    await seen(mirror, pod)
    return pod


async def budget(client: Client, allowed: int) -> None:
    """A disruption budget of all pods of app x."""
    document = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "careful"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    await client.create(BUDGETS, document, "default")
    status = {"status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1}}
    await client.patch(BUDGETS, "careful", status, "default", subresource="status")


def making_room(waiting: Pod, *victims: Pod, verdict: Verdict = PREEMPTED) -> Plan:
    decision = Decision(
        id="d",
        workload=waiting.ref,
        queue="q",
        pods=(waiting.ref,),
        verdict=PROMISED,
        actions=tuple(Evict(decision="d", pod=pod.ref, verdict=verdict) for pod in victims),
        promised=(Placement(pod=waiting.ref, node="node-a"),),
    )
    return Plan(decisions=(decision,))


async def leaves(client: Client, *names: str) -> list[bool]:
    return [(await read_pod(client, name)).metadata.deletion_timestamp is not None for name in names]


@pytest.fixture
async def waiting(client: Client, mirror: Mirror) -> Pod:
    await add_node(client, "node-a", 2)
    pod = await add_pod(client, "high")
    await seen(mirror, pod)
    return pod


async def test_a_pod_that_leaves_says_why_and_its_owner_is_told(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    victims = [await running(client, mirror, name) for name in ("low-1", "low-2")]
    plan, snapshot = making_room(waiting, *victims), mirror.snapshot()

    outcomes = await Enactor(writer).enact(plan, snapshot)

    assert [outcome.problem for outcome in outcomes] == [None]
    for victim in victims:
        pod = await read_pod(client, victim.name)
        assert pod.metadata.deletion_timestamp is not None
        (told,) = (one for one in pod.status.conditions if one.type == "DisruptionTarget")
        assert (told.status, told.reason) == ("True", "Preempted")
        assert "job/default/high" in told.message
    reporter = Reporter(writer, sentence, clock=SystemClock(), randomness=random.Random(1), instance="one")
    reporter.report(snapshot, plan, outcomes)
    for _ in range(len(reporter._events)):
        await reporter._events.write_one()
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in await events(client, 3):
        by_kind.setdefault(event["regarding"]["kind"], []).append(event)
    assert {event["regarding"]["name"] for event in by_kind["Pod"]} >= {"low-1", "low-2"}
    (owners,) = by_kind["Job"]
    assert owners["regarding"] == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": "default",
        "name": "sweep",
        "uid": "9",
    }
    assert owners["reason"] == "Preempted"
    assert "low-1, low-2" in owners["note"]


async def test_if_a_budget_keeps_one_pod_none_leaves(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    free, kept = await running(client, mirror, "free", "y"), await running(client, mirror, "kept")
    await budget(client, 0)

    (outcome,) = await Enactor(writer).enact(making_room(waiting, free, kept), mirror.snapshot())

    assert isinstance(outcome.problem, RefusedError)
    assert "budget" in str(outcome.problem)
    assert await leaves(client, "free", "kept") == [False, False]


async def test_a_budget_is_respected_for_as_long_as_the_policy_says(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    kept = await running(client, mirror, "kept")
    await budget(client, 0)
    for_ever, impatient = Enactor(writer), Enactor(writer, 0.0)
    for _ in range(2):
        (outcome,) = await for_ever.enact(making_room(waiting, kept), mirror.snapshot())
        assert isinstance(outcome.problem, RefusedError)

    (outcome,) = await impatient.enact(making_room(waiting, kept), mirror.snapshot())

    assert outcome.problem is None
    assert await leaves(client, "kept") == [True]


async def test_a_gang_that_is_broken_goes_whatever_budgets_say(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    member = await running(client, mirror, "member")
    await budget(client, 0)
    decision = Decision(
        id="d",
        workload=member.ref,
        queue="q",
        pods=(),
        verdict=BROKEN,
        actions=(Evict(decision="d", pod=member.ref, verdict=BROKEN),),
    )

    (outcome,) = await Enactor(writer).enact(Plan(decisions=(decision,)), mirror.snapshot())

    assert outcome.problem is None
    assert await leaves(client, "member") == [True]
    pod = await read_pod(client, "member")
    assert [one.reason for one in pod.status.conditions if one.type == "DisruptionTarget"] == ["GangBroken"]


@pytest.mark.parametrize("changed", ["victim", "beneficiary", "beneficiary gone"])
async def test_nobody_leaves_for_a_plan_that_the_cluster_has_overtaken(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod, changed: str
) -> None:
    victims = [await running(client, mirror, name) for name in ("low-1", "low-2")]
    plan, snapshot = making_room(waiting, *victims), mirror.snapshot()
    if changed == "beneficiary gone":
        await client.delete(PODS, "high", "default", grace_seconds=0)
        while mirror.get(Pod, "default", "high") is not None:
            await mirror.wait_for_change(mirror.version)
    else:
        name = "low-2" if changed == "victim" else "high"
        note = {"metadata": {"annotations": {"aliquot.dev/preemptible": "false"}}}
        await seen(mirror, decode_pod(await client.patch(PODS, name, note, "default")))

    (outcome,) = await Enactor(writer).enact(plan, snapshot)

    assert isinstance(outcome.problem, ConflictError)
    assert await leaves(client, "low-1", "low-2") == [False, False]


async def test_what_is_said_on_pods_meanwhile_makes_no_difference(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    victim = await running(client, mirror, "low")
    plan, snapshot = making_room(waiting, victim), mirror.snapshot()
    said = {"status": {"conditions": [{"type": "aliquot.dev/Placed", "status": "False", "reason": "X"}]}}
    for name in ("low", "high"):
        await seen(mirror, decode_pod(await client.patch(PODS, name, said, "default", subresource="status")))

    (outcome,) = await Enactor(writer).enact(plan, snapshot)

    assert outcome.problem is None
    assert await leaves(client, "low") == [True]


async def test_parts_of_devices_are_written_on_the_pod_when_it_is_let_go(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    placement = Placement(pod=waiting.ref, node="node-a", pin=True, groups=("gpu-0", "gpu-3"))
    action = Admit(decision="d", placements=(placement,))

    (outcome,) = await Enactor(writer).enact(Plan(decisions=(decide(waiting, action),)), mirror.snapshot())

    assert outcome.problem is None
    pod = await read_pod(client, "high")
    assert not pod.gated
    assert pod.metadata.annotations[GROUPS_ANNOTATION] == "gpu-0,gpu-3"


async def test_a_gang_short_of_members_is_noted_on_its_pods_until_it_is_whole(
    client: Client, mirror: Mirror, writer: Writer, waiting: Pod
) -> None:
    pod = await running(client, mirror, "member")
    enactor = Enactor(writer)
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    noted = Staleness(workload=pod.ref, pods=(pod.ref,), since=since)
    await enactor.enact(Plan(staleness=(noted,)), mirror.snapshot())
    assert (await read_pod(client, "member")).metadata.annotations == {STALE_SINCE: "2026-01-02T03:04:05Z"}

    healed = Staleness(workload=pod.ref, pods=(pod.ref,))
    await enactor.enact(Plan(staleness=(healed,)), mirror.snapshot())
    assert (await read_pod(client, "member")).metadata.annotations == {}
