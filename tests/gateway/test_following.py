"""What is changed in a cluster holds for the gateway within seconds."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import Running, Start
from tests.gateway.raw import HELLO, exchange, request, statuses
from tests.install.access import Recorded, recording

from aliquot import manifests
from aliquot.agents.guards import Switch
from aliquot.agents.switches import NAME, data_of
from aliquot.embedded import server as embedded_server
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.server import EmbeddedServer
from aliquot.gateway import following as following_module

API = "aliquot.dev/v1alpha1"
KEY = {"namespace": "lab", "agent": "lab/coder", "queue": "apps"}


class People:
    """Writes into the cluster as people do."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    def write(self, kind: str, name: str, **content: Any) -> None:
        """Make an object, or replace it."""
        version = "v1" if kind == "ConfigMap" else API
        namespace = manifests.NAMESPACE if kind == "ConfigMap" else None
        registry = self.server.registry
        resource = registry.resources.find_kind(version, kind)
        document = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}
        with contextlib.suppress(Exception):
            registry.delete(resource, namespace, name, SYSTEM)
        registry.create(resource, namespace, document, SYSTEM)

    def model(self, queue: str = "*", **spec: Any) -> None:
        call = {"namespaces": ["*"], "queues": [queue]}
        weights = {"source": "pvc://models/tiny/1", "digest": f"sha256:{'0' * 64}"}
        whole = {"model": "tiny", "version": "1", "weights": weights, "call": call, "owner": "ann", **spec}
        whole = {"state": "Approved", "decision": {"reason": "good"}, "servedNames": ["tiny"]} | whole
        self.write("ApprovedModel", "tiny-1", spec=whole)

    def tenant(self, **guards: Any) -> None:
        gateway = {"url": "http://10.0.0.1/v1"}
        spec = {"namespace": "lab", "agents": [{"name": "coder"}], "guards": guards, "gateway": gateway}
        self.write("Tenant", "lab", spec=spec)


@pytest.fixture
async def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[People]:
    monkeypatch.setattr(following_module, "CLUSTER_SECONDS", 0.05)
    async with cluster(tmp_path) as server:
        yield People(server)


@contextlib.asynccontextmanager
async def cluster(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A server with all that Aliquot installs."""
    server = EmbeddedServer(tmp_path / "cluster")
    for document in manifests.load():
        resource = server.registry.resources.find_kind(document["apiVersion"], document["kind"])
        server.registry.create(resource, document["metadata"].get("namespace"), document, SYSTEM)
    await server.start()
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def following(start: Start, people: People, **more: Any) -> AsyncIterator[tuple[Running, str]]:
    cluster = {"kubeconfig": str(people.server.kubeconfig)}
    async with start(cluster=cluster, **more) as running:
        yield running, await running.new_key(**KEY)


async def until(running: Running, key: str, status: int, needle: bytes = b"", **body: Any) -> bytes:
    """The first answer with this status in which the words are."""
    async with asyncio.timeout(30):
        for number in range(1_000_000):
            # Calls that say the same again may be held back for that.
            content = {**HELLO, "seed": number, **body}
            answer = await exchange(running.gateway.address, request(key, content))
            if statuses(answer) == [status] and needle in answer:
                return answer
            await asyncio.sleep(0.05)
    raise AssertionError


async def test_models_and_budgets_of_the_cluster_hold_as_they_change(start: Start, people: People) -> None:
    async with following(start, people, budgets=[]) as (running, key):
        await until(running, key, 403, b"ModelUnknown")
        people.model()
        await until(running, key, 403, b"no_budget")
        spec = {"subject": {"queue": "apps"}, "limits": [{"measure": "requests", "per": "day", "amount": 1}]}
        people.write("TokenBudget", "apps", spec=spec)
        await until(running, key, 200)
        await until(running, key, 429, b"Budget apps allows 1")
        people.model(state="Revoked", decision={"reason": "licence"})
        await until(running, key, 403, b"ModelRevoked")


async def test_a_model_for_a_queue_may_be_called_from_the_queues_below(start: Start, people: People) -> None:
    people.model("company")
    async with following(start, people) as (running, key):
        await until(running, key, 403, b"ModelNotAllowedInQueue")
        people.write("Queue", "company", spec={})
        people.write("Queue", "apps", spec={"parent": "company"})
        await until(running, key, 200)


async def test_tenants_guards_hold_as_they_change_and_the_files_go_before_them(
    start: Start, people: People
) -> None:
    people.model()
    people.tenant(callsPerTask=0)
    async with following(start, people) as (running, key):
        await until(running, key, 403, b"TaskCalls")
        people.tenant(callsPerMinute=100_000)
        await until(running, key, 200)

    people.tenant(callsPerTask=0)
    async with following(start, people, agents={"lab/coder": {"calls_per_task": 2}}) as (running, key):
        await until(running, key, 200)
        assert b"2 of" not in await until(running, key, 403, b"TaskCalls: 3 of 2")


async def test_a_stop_in_the_cluster_stops_the_agent(start: Start, people: People) -> None:
    people.model()
    async with following(start, people) as (running, key):
        await until(running, key, 200)
        switch = Switch(agent="lab/coder", by="ann", reason="went in circles", at_us=1)
        people.write("ConfigMap", NAME, data=data_of([switch]))
        await until(running, key, 403, b"went in circles")
        people.write("ConfigMap", NAME, data={})
        await until(running, key, 200)


async def test_the_gateways_roles_suffice_and_nothing_in_them_is_spare(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = [
        one
        for one in manifests.load()
        if one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] == "aliquot-gateway"
    ]
    recorded = Recorded(roles)
    monkeypatch.setattr(embedded_server, "Application", recording(recorded))
    async with cluster(tmp_path) as server:
        people = People(server)
        people.model()
        async with start(cluster={"kubeconfig": str(server.controller_kubeconfig)}) as running:
            await until(running, await running.new_key(**KEY), 200)

    assert recorded.refused == set()
    used = {one.kind_of for one in recorded.asked}
    granted = {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted - used == {("create", "authentication.k8s.io", "tokenreviews")}


async def test_no_agent_calls_before_it_is_known_what_holds_it(start: Start, tmp_path: Path) -> None:
    clusters = [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}]
    contexts = [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
    users = [{"name": "u", "user": {"token": "t"}}]
    config = {"clusters": clusters, "contexts": contexts, "users": users, "current-context": "c"}
    (tmp_path / "away").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    async with start(cluster={"kubeconfig": "away", "models": False}) as running:
        agent = await running.new_key(**KEY)
        answers = [await exchange(running.gateway.address, request(key)) for key in (agent, running.key)]

    assert [statuses(answer) for answer in answers] == [[503], [200]]
    assert b"switches_unreadable" in answers[0]


async def test_what_a_model_costs_and_gives_out_is_taken_from_its_approval(
    start: Start, people: People
) -> None:
    money = {"measure": "money", "per": "day", "amount": "1"}
    budgets = [{"name": "all", "subject": {"everyone": True}, "limits": [money]}]
    people.model()
    async with following(start, people, budgets=budgets, models=[{"name": "tiny"}]) as (running, key):
        await until(running, key, 403, b"model_without_price")
        people.model(price={"currency": "EUR", "input": "1", "output": "2"})
        await until(running, key, 403, b"model_without_price")
        people.model(price={"currency": "USD", "input": "1", "output": "2"}, maxOutput=7)
        await until(running, key, 200, max_tokens=100)
        (use,) = await running.settled(1)

    assert use.output_tokens == 7
    assert use.cost_nano == (use.input_tokens * 1 + 7 * 2) * 1000
