"""Lifting gates under guard: others who write to a pod meanwhile hold nothing up."""

import asyncio

import msgspec
import pytest
from tests.controller.objects import (
    NODES,
    add_claim,
    add_node,
    add_pod,
    admit,
    allocate,
    decide,
    decode_pod,
    read_pod,
    seen,
)
from tests.kube.faults import Fault, FaultyProxy

from aliquot.controller.enact import Enactor
from aliquot.controller.writing import Writer
from aliquot.dra.nodeselection import names_node
from aliquot.fractions.groups import GROUPS_ANNOTATION, HAMI_USE
from aliquot.kube.client import Client, PatchType
from aliquot.kube.marks import MARKED
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS
from aliquot.model.core import Node
from aliquot.scheduling.affinity import as_new, named_node, required_nodes
from aliquot.scheduling.plan import Admit, Placement, Plan, Show
from aliquot.workloads.labels import ADMITTED_AT, SHOWN_AT


async def a_plan(client: Client, mirror: Mirror) -> Plan:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    return Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))


async def changed_behind_the_mirror(client: Client, proxy: FaultyProxy, patch: dict[str, object]) -> None:
    """A change that the watch does not tell of."""
    proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
    proxy.break_watches()
    sub = "status" if "status" in patch else ""
    await client.patch(PODS, "p", patch, "default", kind=PatchType.STRATEGIC, subresource=sub)


async def test_a_condition_that_somebody_wrote_meanwhile_does_not_keep_the_gate(
    client: Client, mirror: Mirror, proxy: FaultyProxy, writer: Writer
) -> None:
    plan = await a_plan(client, mirror)
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    await changed_behind_the_mirror(client, proxy, {"status": {"conditions": [condition]}})

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is None
    stored = await read_pod(client, "p")
    assert not stored.gated
    assert ADMITTED_AT in stored.metadata.annotations
    assert [item.type for item in stored.status.conditions] == ["PodScheduled"]


async def test_a_pod_whose_demands_changed_meanwhile_stays_behind_its_gate(
    client: Client, mirror: Mirror, proxy: FaultyProxy, writer: Writer
) -> None:
    plan = await a_plan(client, mirror)
    await changed_behind_the_mirror(client, proxy, {"spec": {"nodeSelector": {"zone": "b"}}})

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is not None
    assert (await read_pod(client, "p")).gated


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("then", [None, 403, 410, 500])
async def test_a_lift_of_which_the_answer_was_lost_counts_as_done(
    client: Client, mirror: Mirror, proxy: FaultyProxy, writer: Writer, then: int | None
) -> None:
    """then: what the repeated write is answered with, if not by the server itself."""
    plan = await a_plan(client, mirror)
    lost = 0

    def lose_once(method: str, path: str, query: dict[str, str]) -> Fault | None:
        nonlocal lost
        if method == "PATCH" and path.endswith("/pods/p"):
            if not lost:
                lost += 1
                return Fault(lose_answer=True)
            return None if then is None else Fault(status=then)
        return None

    proxy.plan = lose_once

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert (outcome.problem, lost) == (None, 1)
    assert not (await read_pod(client, "p")).gated


async def test_a_pod_that_is_shown_loses_its_gate_without_any_claim(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    plan = Plan(decisions=(decide(pod, Show(decision="d", pods=(pod.ref,))),))

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is None
    stored = await read_pod(client, "p")
    assert not stored.gated
    assert SHOWN_AT in stored.metadata.annotations
    assert ADMITTED_AT not in stored.metadata.annotations


async def test_a_pod_whose_claim_names_its_node_names_it_too_so_that_the_scheduler_looks_at_no_other(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    given = allocate(claim, "node-a", "gpu-0", pod)
    there = msgspec.structs.replace(given.allocation, node_selector=names_node("node-a"))
    given = msgspec.structs.replace(given, allocation=there)
    plan = Plan(decisions=(decide(pod, given, admit("node-a", pod)),))

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is None
    stored = await read_pod(client, "p")
    assert named_node(required_nodes(stored.spec.affinity)) == "node-a"
    bound = msgspec.structs.replace(stored.spec, node_name="node-a")
    assert as_new(msgspec.structs.replace(stored, spec=bound)).spec.affinity is None


async def test_an_affinity_that_the_owner_wrote_stays_as_it_is(
    client: Client, mirror: Mirror, proxy: FaultyProxy, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
    own = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    patch = {"spec": {"affinity": {"nodeAffinity": own}}}
    pod = decode_pod(await client.patch(PODS, "p", patch, "default", kind=PatchType.STRATEGIC))
    await seen(mirror, claim, pod)
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is None
    stored = await read_pod(client, "p")
    assert not stored.gated
    assert stored.spec.affinity == pod.spec.affinity


async def test_one_write_lets_a_pod_go_with_its_node_and_devices_and_tells_hami(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    register = "".join(f"GPU-{name},10,24000,100,NVIDIA-A10,0,true:" for name in "ab")
    meta = {"name": "node-h", "annotations": {"hami.io/node-nvidia-register": register}}
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    status = {"status": {"allocatable": {"nvidia.com/gpu": "20"}}}
    await client.patch(NODES, "node-h", status, subresource="status")
    pod = await add_pod(client, "p")
    async with asyncio.timeout(10):
        while (known := mirror.get(Node, "", "node-h")) is None or not known.status.allocatable:
            await mirror.wait_for_change(mirror.version)
    await seen(mirror, pod)
    spot = Placement(pod=pod.ref, node="node-h", pin=True, groups=("GPU-b",))
    plan = Plan(decisions=(decide(pod, Admit(decision="d", placements=(spot,))),))

    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())

    assert outcome.problem is None
    stored = await read_pod(client, "p")
    assert not stored.gated
    assert stored.metadata.annotations[GROUPS_ANNOTATION] == "GPU-b"
    assert stored.metadata.annotations[HAMI_USE] == "GPU-b"
    assert MARKED in stored.metadata.labels
    assert stored.spec.node_selector == {"kubernetes.io/hostname": "node-h"}
