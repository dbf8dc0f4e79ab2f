"""Taking back: allocations and pods, each only as it was seen."""

import pytest
from tests.controller.objects import (
    add_claim,
    add_node,
    add_pod,
    admit,
    allocate,
    decide,
    read_claim,
    read_pod,
    seen,
)
from tests.kube.faults import Fault, FaultyProxy

from aliquot.controller.enact import Enactor
from aliquot.controller.outcomes import ConflictError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.kube.client import Client
from aliquot.kube.errors import ApiError
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS
from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Deallocate, Evict, Plan

VERDICT = Verdict(reason=Reason.CLAIM_ELSEWHERE)


async def test_an_allocation_is_taken_back_unless_a_pod_that_was_let_go_holds_it(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 2)
    claims = [await add_claim(client, "gated"), await add_claim(client, "free")]
    pods = [await add_pod(client, "p0", "gated"), await add_pod(client, "p1", "free", gated=False)]
    await seen(mirror, *claims, *pods)
    enactor = Enactor(writer)
    plan = Plan(
        decisions=tuple(
            decide(pod, allocate(claim, "node-a", f"gpu-{number}", pod), decision=str(number))
            for number, (claim, pod) in enumerate(zip(claims, pods, strict=True))
        )
    )
    await enactor.enact(plan, mirror.snapshot())

    async def take_back(claim: ResourceClaim, pod: Pod) -> object:
        current = mirror.get(ResourceClaim, "default", claim.name)
        assert current is not None
        action = Deallocate(
            decision="d",
            claim=current.ref,
            resource_version=current.metadata.resource_version,
            verdict=VERDICT,
        )
        (outcome,) = await enactor.enact(Plan(decisions=(decide(pod, action),)), mirror.snapshot())
        return outcome.problem

    assert await take_back(claims[0], pods[0]) is None
    assert isinstance(await take_back(claims[1], pods[1]), ConflictError)
    assert (await read_claim(client, "gated")).status.allocation is None
    assert (await read_claim(client, "free")).status.allocation is not None


async def test_nothing_is_given_out_when_something_could_not_be_taken_back(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    old, new = await add_claim(client, "old"), await add_claim(client, "new")
    holder = await add_pod(client, "holder", "old", gated=False)
    pod = await add_pod(client, "p", "new")
    await seen(mirror, old, new, holder, pod)
    enactor = Enactor(writer)
    await enactor.enact(
        Plan(decisions=(decide(holder, allocate(old, "node-a", "gpu-0", holder)),)), mirror.snapshot()
    )
    current = mirror.get(ResourceClaim, "default", "old")
    assert current is not None
    release = Deallocate(
        decision="r", claim=current.ref, resource_version=current.metadata.resource_version, verdict=VERDICT
    )
    plan = Plan(
        decisions=(
            decide(holder, release, decision="r"),
            decide(pod, allocate(new, "node-a", "gpu-0", pod), admit("node-a", pod)),
        )
    )
    outcomes = await enactor.enact(plan, mirror.snapshot())
    assert all(outcome.problem is not None for outcome in outcomes)
    assert (await read_claim(client, "new")).status.allocation is None


async def test_an_unbound_pod_without_an_owner_keeps_its_place(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    pod = await add_pod(client, "p", gated=False)
    await seen(mirror, pod)
    (outcome,) = await Enactor(writer).enact(
        Plan(decisions=(decide(pod, Evict(decision="d", pod=pod.ref, verdict=VERDICT)),)), mirror.snapshot()
    )
    assert isinstance(outcome.problem, RefusedError)
    assert (await read_pod(client, "p")).metadata.uid == pod.metadata.uid


async def test_an_unbound_pod_with_an_owner_is_deleted_only_as_it_was_seen(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "1", "controller": True}
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    await client.create(PODS, document, "default")
    pod = await read_pod(client, "p")
    await seen(mirror, pod)
    proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
    proxy.break_watches()
    await client.patch(PODS, "p", {"metadata": {"labels": {"x": "y"}}}, "default")
    evict = Plan(decisions=(decide(pod, Evict(decision="d", pod=pod.ref, verdict=VERDICT)),))
    (outcome,) = await Enactor(writer).enact(evict, mirror.snapshot())
    assert isinstance(outcome.problem, ConflictError)
    (outcome,) = await Enactor(writer).enact(evict, mirror.snapshot())
    assert outcome.problem is None
    with pytest.raises(ApiError, match="not found"):
        await read_pod(client, "p")
    assert mirror.get(Pod, "default", "p") is None
