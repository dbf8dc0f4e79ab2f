"""What people see on pods and queues."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.controller.objects import add_claim, add_node, add_pod, admit, allocate, decide, read_pod, seen
from tests.kube.faults import FaultyProxy
from tests.kube.times import VirtualClock

from aliquot import manifests
from aliquot.cel.quantity import Quantity
from aliquot.controller import reporting
from aliquot.controller.deciding import Deciding
from aliquot.controller.live import Live
from aliquot.controller.outcomes import Outcome, RefusedError
from aliquot.controller.queue_status import QueueStatuses
from aliquot.controller.reporting import WORDING_SECONDS, Reporter
from aliquot.controller.writing import ACTED_SECONDS, Writer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import EVENTS, PODS, Resource
from aliquot.model.core import Pod
from aliquot.model.meta import Condition
from aliquot.model.queue import Queue
from aliquot.model.verdicts import PLACED, Fact, Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict, Plan
from aliquot.scheduling.policy import Policy

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)


def describe(verdict: Verdict) -> str:
    return f"{verdict.reason}: {', '.join(fact.subject for fact in verdict.facts)}"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def reporter(writer: Writer, clock: VirtualClock) -> AsyncIterator[Reporter]:
    """A reporter that runs; its clock tells times, its waits are real and short."""
    made = Reporter(writer, describe, clock=writer.client.clock, randomness=random.Random(1), instance="me")
    task = asyncio.create_task(made.run())
    yield made
    await cancel_and_wait(task)


def waits(pod: Pod, reason: Reason, subject: str = "x") -> Plan:
    verdict = Verdict(reason=reason, facts=(Fact(test="t", subject=subject),))
    return Plan(decisions=(Decision(id="d", workload=pod.ref, queue="q", pods=(pod.ref,), verdict=verdict),))


def placed(pod: Pod | None) -> Condition | None:
    assert pod is not None
    return next((found for found in pod.status.conditions if found.type == PLACED), None)


async def until_condition(mirror: Mirror, name: str, reason: str) -> Condition:
    async with asyncio.timeout(10):
        while True:
            found = placed(mirror.get(Pod, "default", name))
            if found is not None and found.reason == reason:
                return found
            await mirror.wait_for_change(mirror.version)


async def events(client: Client, count: int) -> list[dict[str, Any]]:
    """The events of the namespace, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = [
                item
                async for page in client.pages(EVENTS, "default")
                for item in msgspec.json.decode(page)["items"]
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_a_waiting_pod_says_why_in_condition_and_event(
    client: Client, mirror: Mirror, reporter: Reporter
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    reporter.report(mirror.snapshot(), waits(pod, Reason.NO_MATCHING_DEVICES), ())
    condition = await until_condition(mirror, "p", "NoMatchingDevices")
    assert condition.status == "False"
    assert condition.message == "NoMatchingDevices: x"
    assert condition.last_transition_time is not None
    (event,) = await events(client, 1)
    assert event["regarding"]["uid"] == pod.metadata.uid
    assert (event["type"], event["reason"], event["note"]) == (
        "Warning",
        "NoMatchingDevices",
        "NoMatchingDevices: x",
    )
    assert event["reportingController"] == "aliquot.dev/controller"


async def test_other_conditions_stay_and_nothing_is_written_twice(
    client: Client, mirror: Mirror, reporter: Reporter, proxy: FaultyProxy
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    before = {condition.type for condition in pod.status.conditions}
    plan = waits(pod, Reason.DEVICES_IN_USE)
    reporter.report(mirror.snapshot(), plan, ())
    await until_condition(mirror, "p", "DevicesInUse")
    await events(client, 1)
    assert {condition.type for condition in (await read_pod(client, "p")).status.conditions} == before | {
        PLACED
    }
    proxy.seen.clear()
    for _ in range(5):
        reporter.report(mirror.snapshot(), plan, ())
    other = await add_pod(client, "other")
    await seen(mirror, other)
    reporter.report(mirror.snapshot(), waits(other, Reason.DEVICES_IN_USE), ())
    await until_condition(mirror, "other", "DevicesInUse")
    assert ("PATCH", "/api/v1/namespaces/default/pods/p/status") not in proxy.seen


async def test_a_changed_wording_is_written_seldom_a_changed_reason_at_once(
    client: Client, mirror: Mirror, writer: Writer, clock: VirtualClock
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    reporter = Reporter(writer, describe, clock=clock, randomness=random.Random(1), instance="me")

    async def written(plan: Plan) -> str:
        reporter.report(mirror.snapshot(), plan, ())
        for wanted in list(reporter._conditions.values()):
            await reporter._write_condition(wanted)
        reporter._conditions.clear()
        condition = placed(mirror.get(Pod, "default", "p"))
        assert condition is not None
        return condition.message

    assert await written(waits(pod, Reason.DEVICES_IN_USE, "1 of 8")) == "DevicesInUse: 1 of 8"
    assert await written(waits(pod, Reason.DEVICES_IN_USE, "2 of 8")) == "DevicesInUse: 1 of 8"
    clock.advance(WORDING_SECONDS)
    assert await written(waits(pod, Reason.DEVICES_IN_USE, "3 of 8")) == "DevicesInUse: 3 of 8"
    assert await written(waits(pod, Reason.OVER_LIMIT, "q")) == "OverLimit: q"


async def test_a_pod_that_was_let_go_is_placed(client: Client, mirror: Mirror, reporter: Reporter) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    reporter.report(mirror.snapshot(), waits(pod, Reason.DEVICES_IN_USE), ())
    await until_condition(mirror, "p", "DevicesInUse")
    decision = decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod))
    reporter.report(mirror.snapshot(), Plan(decisions=(decision,)), (Outcome(decision),))
    condition = await until_condition(mirror, "p", "Placed")
    assert (condition.status, condition.message) == ("True", "placed on node node-a with gpu-0")


async def test_of_a_pod_that_never_waited_an_event_tells(
    client: Client, mirror: Mirror, reporter: Reporter
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    decision = decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod))
    reporter.report(mirror.snapshot(), Plan(decisions=(decision,)), (Outcome(decision),))
    (event,) = await events(client, 1)
    assert (event["reason"], event["note"]) == ("Placed", "placed on node node-a with gpu-0")
    assert reporter.waiting == (0, 0)
    assert placed(await read_pod(client, "p")) is None


async def test_a_pod_whose_claims_are_still_being_made_is_not_told_at_once(
    client: Client, mirror: Mirror, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    monkeypatch.setattr(reporting, "BRIEF_SECONDS", 1e9)
    reporter.report(mirror.snapshot(), waits(pod, Reason.WAITING_FOR_CLAIMS), ())
    assert reporter.waiting == (0, 0)
    monkeypatch.setattr(reporting, "BRIEF_SECONDS", 0.0)
    reporter.report(mirror.snapshot(), waits(pod, Reason.WAITING_FOR_CLAIMS), ())
    await until_condition(mirror, "p", "WaitingForClaims")


async def test_events_have_their_turn_though_conditions_are_waiting(
    client: Client, mirror: Mirror, reporter: Reporter
) -> None:
    pods = [await add_pod(client, f"p{number}") for number in range(40)]
    await seen(mirror, *pods)
    decisions = [waits(pod, Reason.NO_MATCHING_DEVICES).decisions[0] for pod in pods]
    reporter.report(mirror.snapshot(), Plan(decisions=tuple(decisions)), ())
    await events(client, 1)
    assert reporter.waiting[0] > 0


async def test_between_two_decisions_telling_goes_on_giving_way(writer: Writer, clock: VirtualClock) -> None:
    writer.client.clock = clock
    assert not writer.acting
    with writer.act():
        clock.advance(60.0)
        assert writer.acting
    clock.advance(ACTED_SECONDS / 2)
    assert writer.acting
    clock.advance(ACTED_SECONDS / 2)
    assert not writer.acting


async def test_a_refused_write_is_told(client: Client, mirror: Mirror, reporter: Reporter) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    decision = decide(pod, admit("node-a", pod))
    outcome = Outcome(decision, RefusedError(pod.ref, "is not yours"))
    reporter.report(mirror.snapshot(), Plan(decisions=(decision,)), (outcome,))
    condition = await until_condition(mirror, "p", "WriteRefused")
    assert condition.status == "False"
    assert condition.message == "pod/default/p is not yours"


async def test_a_bound_pod_that_still_says_it_waits_is_put_right(
    client: Client, mirror: Mirror, reporter: Reporter
) -> None:
    pod = await add_pod(client, "p", gated=False)
    await seen(mirror, pod)
    reporter.report(mirror.snapshot(), waits(pod, Reason.DEVICES_IN_USE), ())
    await until_condition(mirror, "p", "DevicesInUse")
    await add_node(client, "node-a", 1)
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "node-a"},
    }
    await client.request("POST", PODS.path("default", "p", "binding"), body=binding)
    await seen(mirror, await read_pod(client, "p"))
    reporter.report(mirror.snapshot(), Plan(), ())
    condition = await until_condition(mirror, "p", "Placed")
    assert condition.status == "True"


async def queue(client: Client, name: str, parent: str = "") -> None:
    resource = Resource("aliquot.dev", "v1alpha1", "queues", "Queue", False)
    document = {
        "apiVersion": "aliquot.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": name},
        "spec": {"resources": [{"name": "gpu", "quota": 4}]} | ({"parent": parent} if parent else {}),
    }
    await client.create(resource, document)


async def test_queues_say_what_is_used_and_whether_they_are_ready(
    client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    for one in manifests.load():
        if one["kind"] == "CustomResourceDefinition":
            await client.create(CRDS, one)
    await queue(client, "default")
    await queue(client, "lost", parent="gone")
    managed = {"metadata": {"labels": {"aliquot.dev/managed": "true"}}}
    await client.patch(Resource("", "v1", "namespaces", "Namespace", False), "default", managed)
    await add_node(client, "node-a", 2)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    mirror = Mirror(faulty)
    running = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(10):
            await mirror.wait_synced()
        writer = Writer(faulty, mirror, lambda: True)
        patch = {
            "status": {
                "allocation": {
                    "devices": {
                        "results": [
                            {
                                "request": "gpu",
                                "driver": "gpu.example.com",
                                "pool": "node-a",
                                "device": "gpu-0",
                            }
                        ]
                    }
                },
                "reservedFor": [{"resource": "pods", "name": pod.name, "uid": pod.metadata.uid}],
            }
        }
        path = f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{claim.name}/status"
        await client.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
        async with asyncio.timeout(10):
            while mirror.snapshot().resource_claims[0].status.allocation is None:
                await mirror.wait_for_change(mirror.version)
        clock = VirtualClock()
        statuses = QueueStatuses(writer, Policy(), Live(), clock, Deciding())
        await statuses.write(mirror.snapshot())
        resource = mirror.resource(Queue)
        assert resource is not None
        good = msgspec.json.decode(await client.get(resource, "default"))["status"]
        lost = msgspec.json.decode(await client.get(resource, "lost"))["status"]
        assert {"name": "gpu", "quantity": "1"} in good["used"]
        assert (good["conditions"][0]["type"], good["conditions"][0]["status"]) == ("Ready", "True")
        assert (lost["conditions"][0]["status"], lost["conditions"][0]["reason"]) == (
            "False",
            "ParentNotFound",
        )
        proxy.seen.clear()
        await statuses.write(mirror.snapshot())
        assert [call for call in proxy.seen if call[0] != "GET"] == []
        assert {"name": "gpu", "quantity": "1"} in good["fairShares"]
        clock.advance(120)
        await statuses.write(mirror.snapshot())
        used = msgspec.json.decode(await client.get(resource, "default"))["status"]["usage"]
        (gpus,) = (one for one in used if one["name"] == "gpu")
        value, capacity = (Quantity.parse(gpus[name]).nano / 10**9 for name in ("value", "capacity"))
        assert (round(value, 1), round(capacity, 1)) == (120.0, 240.0)
    finally:
        await cancel_and_wait(running)


async def test_a_pod_that_leaves_is_told_of_once_though_it_is_decided_again(
    client: Client, mirror: Mirror, reporter: Reporter
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    before = mirror.snapshot()
    outcomes = [
        Outcome(
            Decision(
                id=name,
                workload=pod.ref,
                queue="q",
                pods=(),
                actions=(
                    Evict(
                        decision=name,
                        pod=pod.ref,
                        verdict=Verdict(reason=Reason.PREEMPTED, facts=(Fact(test="t", subject=name),)),
                    ),
                ),
            )
        )
        for name in ("first", "again")
    ]
    reporter.report(before, Plan(), outcomes[:1])
    await client.delete(PODS, "p", "default")
    async with asyncio.timeout(10):
        while mirror.get(Pod, "default", "p") is not None:
            await mirror.wait_for_change(mirror.version)
    for outcome in outcomes:
        reporter.report(before, Plan(), [outcome])
    other = await add_pod(client, "other")
    await seen(mirror, other)
    reporter.report(mirror.snapshot(), waits(other, Reason.NO_MATCHING_DEVICES), ())
    found = await events(client, 2)
    assert sorted((item["reason"], item["regarding"]["name"]) for item in found) == [
        ("NoMatchingDevices", "other"),
        ("Preempted", "p"),
    ]
    assert all(item.get("series") is None for item in found)
