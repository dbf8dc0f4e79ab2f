"""What a plan becomes at the API server, also when the way there is bad."""

from datetime import UTC, datetime

import msgspec
import pytest
from tests.controller.objects import (
    add_claim,
    add_node,
    add_pod,
    admit,
    allocate,
    allocation,
    consumer,
    decide,
    read_claim,
    read_pod,
    seen,
)
from tests.kube.faults import Fault, FaultyProxy

from aliquot.controller.claims import DELETE_PROTECTION
from aliquot.controller.enact import Enactor
from aliquot.controller.outcomes import ConflictError, NotLeadingError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.kube.client import Client
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS, RESOURCE_CLAIMS
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Plan, Reserve

VERDICT = Verdict(reason=Reason.CLAIM_ELSEWHERE)


async def one_decision(client: Client, mirror: Mirror) -> Plan:
    """The pod p gets the only device of node-a through its claim c; the mirror has seen all of them."""
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    return Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))


async def test_a_claim_is_protected_allocated_and_reserved_then_the_pod_is_let_go(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 2)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    proxy.seen.clear()
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))
    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())
    assert outcome.problem is None
    stored = await read_claim(client, "c")
    assert stored.metadata.finalizers == (DELETE_PROTECTION,)
    assert stored.status.allocation is not None
    assert stored.status.allocation.devices == allocation("node-a", "gpu-0").devices
    stamp = stored.status.allocation.allocation_timestamp
    assert stamp is not None
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 60
    assert stored.status.reserved_for == (consumer(pod),)
    assert not (await read_pod(client, "p")).gated
    claim_path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c"
    assert [call for call in proxy.seen if call[0] != "GET"] == [
        ("PATCH", claim_path),
        ("PATCH", f"{claim_path}/status"),
        ("PATCH", "/api/v1/namespaces/default/pods/p"),
    ]


async def test_the_first_decisions_are_carried_out_to_the_end_before_others_begin(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 3)
    claims = [await add_claim(client, f"c{number}") for number in range(3)]
    pods = [await add_pod(client, f"p{number}", f"c{number}") for number in range(3)]
    await seen(mirror, *claims, *pods)
    proxy.seen.clear()
    plan = Plan(
        decisions=tuple(
            decide(
                pod,
                allocate(claim, "node-a", f"gpu-{number}", pod),
                admit("node-a", pod),
                decision=f"d{number}",
            )
            for number, (claim, pod) in enumerate(zip(claims, pods, strict=True))
        )
    )
    outcomes = await Enactor(writer, at_a_time=1).enact(plan, mirror.snapshot())
    assert [outcome.problem for outcome in outcomes] == [None, None, None]
    names = [path.rpartition("/")[2] for method, path in proxy.seen if method != "GET"]
    assert names == ["c0", "status", "p0", "c1", "status", "p1", "c2", "status", "p2"]


async def test_the_mirror_knows_every_write_at_once(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
    proxy.break_watches()
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))
    await Enactor(writer).enact(plan, mirror.snapshot())
    snapshot = mirror.snapshot()
    assert snapshot.resource_claims[0].status.allocation is not None
    assert not snapshot.pods[0].gated


async def test_a_claim_that_changed_meanwhile_is_left_alone_and_the_gate_stays(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    snapshot = mirror.snapshot()
    await client.patch(RESOURCE_CLAIMS, "c", {"metadata": {"labels": {"x": "y"}}}, "default")
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))
    (outcome,) = await Enactor(writer).enact(plan, snapshot)
    assert isinstance(outcome.problem, ConflictError)
    assert (await read_claim(client, "c")).status.allocation is None
    assert (await read_pod(client, "p")).gated
    current = mirror.get(ResourceClaim, "default", "c")
    assert current is not None
    assert current.metadata.labels == {"x": "y"}


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_write_whose_answer_is_lost_is_settled_before_anything_else(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy, lost: int
) -> None:
    """The server carries the write out and the connection breaks: the same write again meets a conflict."""
    plan = await one_decision(client, mirror)
    left = lost

    def lose(method: str, path: str, query: dict[str, str]) -> Fault | None:
        nonlocal left
        if method == "PATCH" and left:
            left -= 1
            return Fault(lose_answer=True)
        return None

    proxy.plan = lose
    enactor = Enactor(writer)
    outcomes = await enactor.enact(plan, mirror.snapshot())
    known = mirror.get(ResourceClaim, "default", "c")
    stored = await read_claim(client, "c")
    assert known is not None
    assert known.status == stored.status
    assert known.metadata.resource_version == stored.metadata.resource_version
    if outcomes[0].problem is None:
        assert stored.status.allocation is not None
        assert not (await read_pod(client, "p")).gated


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("then", [403, 410, 422, 500])
@pytest.mark.parametrize("looked", [None, 403, 410, 500])
async def test_what_became_of_a_write_is_known_whatever_the_server_answers_afterwards(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy, then: int, looked: int | None
) -> None:
    """The allocation is stored and its answer lost; then the server refuses the repeated write, and at first
    to show the claim."""
    plan = await one_decision(client, mirror)
    sent: list[str] = []

    def trouble(method: str, path: str, query: dict[str, str]) -> Fault | None:
        if "/resourceclaims/c" not in path:
            return None
        if method == "PATCH" and path.endswith("/status"):
            sent.append(method)
            return Fault(lose_answer=True) if sent.count(method) == 1 else Fault(status=then)
        if method == "GET" and looked is not None and sent.count(method) < 4:
            sent.append(method)
            return Fault(status=looked)
        return None

    proxy.plan = trouble
    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())
    known = mirror.get(ResourceClaim, "default", "c")
    assert outcome.problem is None
    assert known is not None
    assert known.status.allocation is not None
    assert not (await read_pod(client, "p")).gated


@pytest.mark.parametrize("hasty", [40.0], indirect=True)
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("then", [403, 500])
async def test_a_write_that_may_still_be_on_its_way_is_waited_for(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy, then: int
) -> None:
    """The connection breaks, whatever is sent afterwards is refused, and the first attempt arrives then."""
    plan = await one_decision(client, mirror)
    sent: list[str] = []

    def trouble(method: str, path: str, query: dict[str, str]) -> Fault | None:
        if method != "PATCH" or not path.endswith("c/status"):
            return None
        sent.append(path)
        return Fault(late=0.1) if len(sent) == 1 else Fault(status=then)

    proxy.plan = trouble
    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())
    known = mirror.get(ResourceClaim, "default", "c")
    assert outcome.problem is None
    assert known is not None
    assert known.status.allocation is not None


async def test_a_delayed_write_cannot_arrive_after_the_device_went_to_another_claim(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    """The first status write hangs in the network; what the repeated one brings about makes it void."""
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    hung: list[str] = []

    def hang(method: str, path: str, query: dict[str, str]) -> Fault | None:
        if method == "PATCH" and path.endswith("c/status") and not hung:
            hung.append(path)
            return Fault(delay=1.0, lose_answer=True)
        return None

    proxy.plan = hang
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod)),))
    await Enactor(writer).enact(plan, mirror.snapshot())
    stored = await read_claim(client, "c")
    assert stored.status.allocation is not None
    known = mirror.get(ResourceClaim, "default", "c")
    assert known is not None
    assert known.metadata.resource_version == stored.metadata.resource_version


async def test_fields_that_the_server_drops_make_the_allocation_void(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)

    async def forget_shares(body: bytes) -> bytes:
        document = msgspec.json.decode(body)
        allocated = (document.get("status") or {}).get("allocation")
        for result in allocated["devices"]["results"] if allocated else ():
            result.pop("shareID", None)
        return msgspec.json.encode(document)

    proxy.change = forget_shares
    share = msgspec.structs.replace(
        allocate(claim, "node-a", "gpu-0", pod),
        allocation=allocation("node-a", "gpu-0", share="5f0ae1f6-2f0c-4f1c-9d5e-6b4a0e7b7c11"),
    )
    (outcome,) = await Enactor(writer).enact(
        Plan(decisions=(decide(pod, share, admit("node-a", pod)),)), mirror.snapshot()
    )
    assert isinstance(outcome.problem, RefusedError)
    stored = await read_claim(client, "c")
    assert stored.status.allocation is None
    assert stored.status.reserved_for == ()
    assert (await read_pod(client, "p")).gated


async def test_a_plan_that_gives_a_device_twice_is_not_carried_out(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 1)
    first, second = await add_claim(client, "c1"), await add_claim(client, "c2")
    pod = await add_pod(client, "p", "c1", "c2")
    await seen(mirror, first, second, pod)
    proxy.seen.clear()
    plan = Plan(
        decisions=(
            decide(pod, allocate(first, "node-a", "gpu-0", pod), allocate(second, "node-a", "gpu-0", pod)),
        )
    )
    (outcome,) = await Enactor(writer).enact(plan, mirror.snapshot())
    assert isinstance(outcome.problem, RefusedError)
    assert "DeviceHeldTwice" in str(outcome.problem)
    assert [call for call in proxy.seen if call[0] != "GET"] == []


async def test_no_gate_of_a_gang_is_lifted_unless_all_its_claims_are_written(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 2)
    claims = [await add_claim(client, f"c{number}") for number in range(2)]
    pods = [await add_pod(client, f"p{number}", f"c{number}") for number in range(2)]
    await seen(mirror, *claims, *pods)
    snapshot = mirror.snapshot()
    await client.delete(RESOURCE_CLAIMS, "c1", "default")
    actions = [
        allocate(claim, "node-a", f"gpu-{number}", pod)
        for number, (claim, pod) in enumerate(zip(claims, pods, strict=True))
    ]
    plan = Plan(decisions=(decide(pods[0], *actions, admit("node-a", *pods)),))
    (outcome,) = await Enactor(writer).enact(plan, snapshot)
    assert isinstance(outcome.problem, ConflictError)
    assert (await read_pod(client, "p0")).gated
    assert (await read_pod(client, "p1")).gated


async def test_a_gang_is_let_go_together_and_pinned_where_asked(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    pods = [await add_pod(client, f"p{number}") for number in range(5)]
    await seen(mirror, *pods)
    (outcome,) = await Enactor(writer).enact(
        Plan(decisions=(decide(pods[0], admit("node-a", *pods, pin=True)),)), mirror.snapshot()
    )
    assert outcome.problem is None
    for pod in pods:
        stored = await read_pod(client, pod.name)
        assert not stored.gated
        assert stored.spec.node_selector == {"kubernetes.io/hostname": "node-a.example.com"}


async def test_only_the_gate_of_aliquot_is_lifted(client: Client, mirror: Mirror, writer: Writer) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": "main", "image": "none"}],
            "schedulingGates": [{"name": "other.example.com/gate"}, {"name": "aliquot.dev/placement"}],
        },
    }
    await client.create(PODS, document, "default")
    pod = await read_pod(client, "p")
    await seen(mirror, pod)
    await Enactor(writer).enact(Plan(decisions=(decide(pod, admit("node-a", pod)),)), mirror.snapshot())
    stored = await read_pod(client, "p")
    assert [gate.name for gate in stored.spec.scheduling_gates] == ["other.example.com/gate"]


async def test_a_new_pod_of_the_same_name_is_not_let_go(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    await client.delete(PODS, "p", "default", grace_seconds=0)
    await add_pod(client, "p")
    (outcome,) = await Enactor(writer).enact(
        Plan(decisions=(decide(pod, admit("node-a", pod)),)), mirror.snapshot()
    )
    assert isinstance(outcome.problem, ConflictError)
    assert (await read_pod(client, "p")).gated


async def test_a_pod_is_not_let_go_before_its_claim_is_its_own(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    (outcome,) = await Enactor(writer).enact(
        Plan(decisions=(decide(pod, admit("node-a", pod)),)), mirror.snapshot()
    )
    assert isinstance(outcome.problem, ConflictError)
    assert (await read_pod(client, "p")).gated


async def test_a_second_decision_reserves_the_claim_that_the_first_allocates(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "shared")
    pods = [await add_pod(client, f"p{number}", "shared") for number in range(2)]
    await seen(mirror, claim, *pods)
    reserve = Reserve(
        decision="e",
        claim=claim.ref,
        resource_version=claim.metadata.resource_version,
        consumers=(consumer(pods[1]),),
    )
    plan = Plan(
        decisions=(
            decide(pods[0], allocate(claim, "node-a", "gpu-0", pods[0]), admit("node-a", pods[0])),
            decide(pods[1], reserve, admit("node-a", pods[1], decision="e"), decision="e"),
        )
    )
    outcomes = await Enactor(writer).enact(plan, mirror.snapshot())
    assert [outcome.problem for outcome in outcomes] == [None, None]
    stored = await read_claim(client, "shared")
    assert stored.status.reserved_for == (consumer(pods[0]), consumer(pods[1]))


async def test_a_refused_write_is_a_result_and_leaves_other_decisions_alone(
    client: Client, mirror: Mirror, writer: Writer, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 2)
    claims = [await add_claim(client, f"c{number}") for number in range(2)]
    pods = [await add_pod(client, f"p{number}", f"c{number}") for number in range(2)]
    await seen(mirror, *claims, *pods)
    body = b'{"kind":"Status","code":403,"reason":"Forbidden","message":"not you"}'
    proxy.plan = lambda method, path, query: (
        Fault(status=403, body=body) if path.endswith("c0/status") else None
    )
    plan = Plan(
        decisions=tuple(
            decide(
                pod,
                allocate(claim, "node-a", f"gpu-{number}", pod),
                admit("node-a", pod),
                decision=str(number),
            )
            for number, (claim, pod) in enumerate(zip(claims, pods, strict=True))
        )
    )
    outcomes = await Enactor(writer).enact(plan, mirror.snapshot())
    assert isinstance(outcomes[0].problem, RefusedError)
    assert outcomes[1].problem is None
    assert (await read_pod(client, "p0")).gated
    assert not (await read_pod(client, "p1")).gated


async def test_who_does_not_lead_writes_nothing(
    client: Client, faulty: Client, mirror: Mirror, proxy: FaultyProxy
) -> None:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    proxy.seen.clear()
    enactor = Enactor(Writer(faulty, mirror, lambda: False))
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))
    with pytest.raises(NotLeadingError):
        await enactor.enact(plan, mirror.snapshot())
    assert [call for call in proxy.seen if call[0] != "GET"] == []
