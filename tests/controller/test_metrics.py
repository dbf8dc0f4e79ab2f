"""The metrics are those that the document names, and they tell what happened."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from tests.controller.objects import add_claim, add_node, add_pod, admit, allocate, decide, seen
from tests.kube.faults import Fault, FaultyProxy
from tests.kube.times import VirtualClock

from aliquot.cli.serving import PageServer, address, listen
from aliquot.controller.enact import Enactor
from aliquot.controller.endpoints import Probes, create_endpoints, health_routes, metrics_routes
from aliquot.controller.health import STUCK_SECONDS, Pulse
from aliquot.controller.live import Live
from aliquot.controller.metrics import Metrics, StateCollector
from aliquot.controller.outcomes import ConflictError, HeldBackError, Outcome, RefusedError
from aliquot.controller.writing import Writer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.clock import SystemClock
from aliquot.kube.mirror import Mirror
from aliquot.kube.observer import verb_and_resource
from aliquot.kube.resources import PODS
from aliquot.kube.transport import Limits
from aliquot.model.core import Pod
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict, Plan

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `(aliquot_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = ROW.findall(DOCUMENT.read_text())
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    return 0.0 if found is None else found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_the_document_and_the_registry_name_the_same_metrics(registry: CollectorRegistry) -> None:
    Metrics(registry)
    clock = VirtualClock()
    client = Client.__new__(Client)
    client.clock = clock
    mirror = Mirror(client, kinds=(), clock=clock, randomness=None)  # type: ignore[arg-type]
    state = StateCollector(Live(), mirror, clock, dict)
    registry.register(state)

    found = {}
    for collector in tuple(registry._collector_to_names):
        for family in collector.describe() if hasattr(collector, "describe") else collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            found[name] = (family.type, tuple(labels))
    assert found == documented()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "pods")),
        ("GET", "/api/v1/namespaces", ("list", "namespaces")),
        ("GET", "/api/v1/namespaces/a", ("get", "namespaces")),
        ("GET", "/api/v1/namespaces/a/pods", ("list", "pods")),
        ("POST", "/api/v1/namespaces/a/pods/b/eviction", ("create", "pods/eviction")),
        (
            "PATCH",
            "/apis/resource.k8s.io/v1/namespaces/a/resourceclaims/b/status",
            ("patch", "resourceclaims/status"),
        ),
        ("GET", "/apis/resource.k8s.io/v1", ("get", "")),
        ("DELETE", "/apis/aliquot.dev/v1alpha1/queues/q", ("delete", "queues")),
    ],
)
def test_requests_are_named_as_access_rules_name_them(
    method: str, path: str, expected: tuple[str, str]
) -> None:
    assert verb_and_resource(method, path) == expected


async def test_what_is_enacted_is_counted(
    client: Client, mirror: Mirror, writer: Writer, registry: CollectorRegistry
) -> None:
    metrics = Metrics(registry)
    await add_node(client, "node-a", 1)
    claim = await add_claim(client, "c")
    pod = await add_pod(client, "p", "c")
    await seen(mirror, claim, pod)
    plan = Plan(decisions=(decide(pod, allocate(claim, "node-a", "gpu-0", pod), admit("node-a", pod)),))

    for outcome in await Enactor(writer).enact(plan, mirror.snapshot()):
        metrics.outcome(outcome, lambda namespace, name: mirror.get(Pod, namespace, name), datetime.now(UTC))

    assert value(registry, "aliquot_decisions_total", outcome="done") == 1
    assert value(registry, "aliquot_allocations_total") == 1
    assert value(registry, "aliquot_pods_admitted_total", queue="default") == 1
    assert value(registry, "aliquot_placement_wait_seconds_count", queue="default", priority_class="") == 1


def test_what_failed_is_counted_as_such_and_not_as_done(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    ref = Pod().ref
    verdict = Verdict(reason=Reason.RECLAIMED)
    decision = Decision(
        id="d", workload=ref, queue="", pods=(), actions=(Evict(decision="d", pod=ref, verdict=verdict),)
    )
    for problem in (ConflictError(ref, "x"), RefusedError(ref, "x"), HeldBackError(ref, "x"), None):
        metrics.outcome(Outcome(decision, problem), lambda namespace, name: None, datetime.now(UTC))
    for outcome in ("conflict", "refused", "held_back", "done"):
        assert value(registry, "aliquot_decisions_total", outcome=outcome) == 1
    assert value(registry, "aliquot_evictions_total", reason="Reclaimed") == 1


async def test_requests_and_throttling_are_counted(proxy: FaultyProxy, registry: CollectorRegistry) -> None:
    answers = [Fault(status=429, headers={"Retry-After": "0"}), Fault(status=500), None]
    proxy.plan = lambda method, path, query: answers.pop(0)
    async with Client(proxy.connection, observer=Metrics(registry)) as client:
        await client.request("GET", PODS.path("default"))
    for code in ("429", "500", "200"):
        assert value(registry, "aliquot_api_requests_total", verb="list", resource="pods", code=code) == 1
    assert value(registry, "aliquot_api_throttled_total", verb="list", resource="pods") == 1
    assert value(registry, "aliquot_api_request_duration_seconds_count", verb="list") == 3


async def test_a_request_without_an_answer_has_code_0(
    proxy: FaultyProxy, registry: CollectorRegistry
) -> None:
    proxy.plan = lambda method, path, query: Fault(lose_answer=True)
    async with Client(proxy.connection, observer=Metrics(registry), limits=Limits(attempts=1)) as client:
        with pytest.raises(Exception, match="pods"):
            await client.request("GET", PODS.path("default"))
    assert value(registry, "aliquot_api_requests_total", verb="list", resource="pods", code="0") == 1


async def test_the_lag_of_the_mirror_is_measured_by_what_is_written(
    proxy: FaultyProxy, client: Client, registry: CollectorRegistry
) -> None:
    async with Client(proxy.connection, observer=Metrics(registry)) as observed:
        mirror = Mirror(observed)
        task = asyncio.create_task(mirror.run())
        async with asyncio.timeout(20):
            await mirror.wait_synced()
            proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
            proxy.break_watches()
            assert mirror.put(await add_pod(client, "p"))
            proxy.plan = lambda method, path, query: None
            before = mirror.version
            await add_pod(client, "q")
            await mirror.wait_for_change(before)
        await cancel_and_wait(task)
    assert value(registry, "aliquot_mirror_lag_seconds_count", kind="Pod") == 1
    assert value(registry, "aliquot_mirror_lists_total", kind="Pod") == 1


async def serve(app: Starlette) -> tuple[PageServer, asyncio.Task[None], str]:
    listener = listen("127.0.0.1", 0)
    server = PageServer(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    return server, task, address(listener)


async def test_metrics_and_probes_are_served(mirror: Mirror, registry: CollectorRegistry) -> None:
    Metrics(registry).cycle("done")
    live, clock = Live(), VirtualClock()
    probes = Probes(live, Pulse(clock))
    app = create_endpoints([*metrics_routes(registry), *health_routes(probes)])
    server, task, url = await serve(app)
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, await answer.text()

        status, text = await get("metrics")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert (status, families["aliquot_cycles"].samples[0].value) == (200, 1.0)
        assert await get("readyz") == (503, "starting\n")
        probes.mirror = mirror
        assert await get("readyz") == (200, "waits for the lease\n")
        live.leading = True
        assert await get("readyz") == (200, "leads\n")
        assert await get("healthz") == (200, "ok\n")
        clock.advance(STUCK_SECONDS + 1)
        assert (await get("healthz"))[0] == 503
        probes.pulse.beat()
        assert (await get("healthz"))[0] == 200
        async with session.post(url + "metrics") as answer:
            assert answer.status == 405
    server.should_exit = True
    await task


async def test_what_waits_is_shown_by_queue_class_and_reason(
    client: Client, mirror: Mirror, registry: CollectorRegistry
) -> None:
    pod = await add_pod(client, "p")
    await seen(mirror, pod)
    live = Live()
    verdict = Verdict(reason=Reason.OVER_LIMIT)
    waiting = Decision(id="d", workload=pod.ref, queue="research", pods=(pod.ref,), verdict=verdict)
    live.publish(mirror.snapshot(), Plan(decisions=(waiting,)))
    registry.register(StateCollector(live, mirror, SystemClock(), lambda: {"event": 3}))
    labels = {"queue": "research", "priority_class": "", "reason": "OverLimit"}
    assert value(registry, "aliquot_waiting_pods", **labels) == 1
    assert value(registry, "aliquot_pending_writes", kind="event") == 3
    assert value(registry, "aliquot_mirror_objects", kind="Pod") == 1
    assert value(registry, "aliquot_mirror_complete") == 1
