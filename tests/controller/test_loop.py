"""The loop's rounds: what is recorded is enacted, what fails is tried again later, faults stop nothing."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import msgspec
import pytest
from tests.controller.objects import (
    DRIVER,
    add_claim,
    add_node,
    add_pod,
    admit,
    allocate,
    decide,
    read_pod,
    seen,
)
from tests.controller.world import until
from tests.kube.faults import Fault, FaultyProxy
from tests.kube.times import VirtualClock

from aliquot.controller import loop as loops
from aliquot.controller.enact import Enactor
from aliquot.controller.live import Live
from aliquot.controller.loop import Loop, _Delays
from aliquot.controller.outcomes import Outcome
from aliquot.controller.writing import Writer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import CONFIG_MAPS, Resource
from aliquot.model.core import DRIVERS_CONFIG_MAP, Pod
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
OWNING = Policy(managed_drivers=frozenset({DRIVER}))

Decide = Callable[[Snapshot, Policy, datetime], Plan]


class Record:
    """A journal that may refuse, and a reporter."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.outcomes: list[Outcome] = []
        self.refuse = False

    def prepare(self, snapshot: Snapshot) -> None:
        pass

    def record(self, now: datetime, snapshot: Snapshot, policy: Policy, plan: Plan) -> None:
        if self.refuse:
            raise OSError("disk full")
        self.plans.append(plan)

    def report(self, snapshot: Snapshot, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def make(mirror: Mirror, writer: Writer, record: Record, live: Live) -> Callable[[Decide], Loop]:
    def loop(choose: Decide, policy: Policy = OWNING) -> Loop:
        return Loop(
            mirror=mirror,
            decide=choose,
            policy=policy,
            enactor=Enactor(writer),
            recorder=record,
            reports=record,
            live=live,
            clock=writer.client.clock,
            randomness=random.Random(1),
        )

    return loop


@contextlib.asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def plan_for_a_pod(client: Client, mirror: Mirror) -> Plan:
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    return Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))


async def test_a_round_publishes_records_enacts_and_reports(
    client: Client, mirror: Mirror, record: Record, live: Live, make: Callable[[Decide], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    await make(lambda snapshot, policy, now: plan).cycle()
    assert record.plans == [plan]
    assert [outcome.problem for outcome in record.outcomes] == [None]
    assert live.plan is plan
    assert not (await read_pod(client, "p")).gated


async def test_nothing_is_decided_in_a_cluster_that_hands_over_no_driver(
    client: Client, mirror: Mirror, record: Record, live: Live, make: Callable[[Decide, Policy], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)

    assert await make(lambda snapshot, policy, now: plan, Policy()).cycle() == ()

    assert record.plans == []
    assert live.plan == Plan()
    assert (await read_pod(client, "p")).gated


async def test_after_a_driver_was_handed_over_nothing_is_given_out_for_a_while(
    client: Client,
    mirror: Mirror,
    record: Record,
    make: Callable[[Decide, Policy], Loop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    loop = make(lambda snapshot, policy, now: plan, Policy())
    assert await loop.cycle() == ()
    namespace, name = DRIVERS_CONFIG_MAP
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await client.create(NAMESPACES, space)
    drivers = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {DRIVER: ""}}
    await client.create(CONFIG_MAPS, drivers, namespace)
    async with asyncio.timeout(10):
        while mirror.snapshot().ownership is None:
            await mirror.wait_for_change(mirror.version)

    assert await loop.cycle() == ()
    assert record.plans == []
    monkeypatch.setattr(loops, "HANDOVER_SECONDS", 0.0)
    await loop.cycle()
    assert record.plans == [plan]


async def test_what_cannot_be_recorded_is_not_done(
    client: Client, mirror: Mirror, record: Record, make: Callable[[Decide], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    record.refuse = True
    await make(lambda snapshot, policy, now: plan).cycle()
    assert (await read_pod(client, "p")).gated


async def test_a_fault_in_deciding_is_told_and_tried_again(
    client: Client, mirror: Mirror, make: Callable[[Decide], Loop], caplog: pytest.LogCaptureFixture
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    calls = 0

    def choose(snapshot: Snapshot, policy: Policy, now: datetime) -> Plan:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return plan if calls == 2 else Plan()

    def let_go() -> bool:
        pod = mirror.get(Pod, "default", "p")
        return pod is not None and not pod.gated

    async with running(make(choose)):
        assert await until(let_go, 10)
    assert "no decision could be made" in caplog.text


async def test_a_refused_workload_is_left_alone_for_a_while_and_others_go_on(
    client: Client, mirror: Mirror, proxy: FaultyProxy, record: Record, make: Callable[[Decide], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    proxy.plan = lambda method, path, query: Fault(status=403) if method == "PATCH" else None
    loop = make(lambda snapshot, policy, now: plan)
    await loop.cycle()
    assert [outcome.refused for outcome in record.outcomes] == [True]
    proxy.seen.clear()
    await loop.cycle()
    assert [call for call in proxy.seen if call[0] == "PATCH"] == []
    assert len(record.outcomes) == 1


async def test_nothing_is_given_out_while_a_claim_cannot_be_read(
    client: Client, mirror: Mirror, proxy: FaultyProxy, record: Record, make: Callable[[Decide], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    odd = b'{"metadata":{"name":"odd","namespace":"x","resourceVersion":"9"},"spec":7}'
    line = b'{"type":"ADDED","object":' + odd + b"}"
    proxy.plan = lambda method, path, query: (
        Fault(inject=line) if "watch" in query and "resourceclaims" in path else None
    )
    proxy.break_watches()
    assert await until(lambda: bool(mirror.problems), 10)
    await make(lambda snapshot, policy, now: plan).cycle()
    assert (await read_pod(client, "p")).gated


async def test_changes_that_come_together_are_decided_together(
    client: Client, mirror: Mirror, make: Callable[[Decide], Loop]
) -> None:
    sizes: list[int] = []

    def choose(snapshot: Snapshot, policy: Policy, now: datetime) -> Plan:
        sizes.append(len(snapshot.pods))
        return Plan()

    async with running(make(choose)):
        await asyncio.gather(*(add_pod(client, f"p{number}") for number in range(40)))
        assert await until(lambda: bool(sizes) and sizes[-1] == 40, 10)
    assert len(sizes) < 20


async def test_it_rests_after_something_was_carried_out_and_not_before(
    client: Client, mirror: Mirror, record: Record, make: Callable[[Decide], Loop]
) -> None:
    """What comes meanwhile is decided together; a single pod is decided at once."""
    plan = await plan_for_a_pod(client, mirror)
    calls = 0

    def choose(snapshot: Snapshot, policy: Policy, now: datetime) -> Plan:
        nonlocal calls
        calls += 1
        return plan if calls == 2 else Plan()

    loop = make(choose)
    clock = VirtualClock()
    loop._clock = clock
    async with running(loop):
        assert await until(lambda: calls == 1, 10)
        await add_pod(client, "another")
        assert await until(lambda: bool(record.outcomes), 10)
        assert await until(lambda: loops.REST_SECONDS in clock.slept, 10)
    rounds = [seconds for seconds in clock.slept if seconds != loops.QUIET_SECONDS]
    assert rounds[0] == 0.0
    assert rounds.count(loops.REST_SECONDS) == 1


async def test_a_refused_workload_that_wants_nothing_any_more_does_not_keep_the_loop_busy(
    client: Client, mirror: Mirror, proxy: FaultyProxy, make: Callable[[Decide], Loop]
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    proxy.plan = lambda method, path, query: Fault(status=403) if method == "PATCH" else None
    waits = Plan(decisions=tuple(msgspec.structs.replace(item, actions=()) for item in plan.decisions))
    calls = 0

    def choose(snapshot: Snapshot, policy: Policy, now: datetime) -> Plan:
        nonlocal calls
        calls += 1
        return plan if calls == 1 else waits

    loop = make(choose)
    clock = VirtualClock()
    loop._delays = _Delays(clock, random.Random(1))
    await loop.cycle()
    delay = loop._delays.next()
    assert delay is not None
    assert delay > 0
    clock.advance(delay)
    await loop.cycle()
    assert loop._delays.next() is None
