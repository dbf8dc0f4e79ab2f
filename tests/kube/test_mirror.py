"""The mirror holds what the server holds, whatever happens on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.kube.faults import Fault, FaultyProxy

from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS, Resource
from aliquot.model.core import Pod
from aliquot.model.kinds import decoder
from aliquot.model.ownership import Ownership
from aliquot.model.resource import ResourceClaim

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)


def pod(name: str, **labels: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }


@contextlib.asynccontextmanager
async def running(mirror: Mirror) -> AsyncIterator[Mirror]:
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(10):
            await mirror.wait_synced()
        yield mirror
    finally:
        await cancel_and_wait(task)


async def until(mirror: Mirror, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await mirror.wait_for_change(mirror.version)


def names(mirror: Mirror) -> list[str]:
    return [item.name for item in mirror.snapshot().pods]


async def test_a_snapshot_holds_what_was_there_and_what_comes(client: Client) -> None:
    await client.create(PODS, pod("b"), "default")
    async with running(Mirror(client)) as mirror:
        assert names(mirror) == ["b"]
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a", "b"])
        await client.delete(PODS, "b", "default", grace_seconds=0)
        await until(mirror, lambda: names(mirror) == ["a"])
        assert "default" in [item.name for item in mirror.snapshot().namespaces]
        assert mirror.problems == ()


async def test_of_config_maps_only_the_list_of_managed_drivers_is_read(client: Client) -> None:
    maps = Resource("", "v1", "configmaps", "ConfigMap", True)

    def config_map(name: str, **data: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}

    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "aliquot-system"}}
    await client.create(Resource("", "v1", "namespaces", "Namespace", False), namespace)
    await client.create(maps, config_map("other", password="x"), "aliquot-system")
    async with running(Mirror(client)) as mirror:
        assert mirror.snapshot().config_maps == ()
        assert mirror.snapshot().ownership is None
        await client.create(maps, config_map("aliquot-drivers", **{"gpu.nvidia.com": ""}), "aliquot-system")
        await until(mirror, lambda: mirror.snapshot().ownership == Ownership.whole(["gpu.nvidia.com"]))


async def test_objects_that_did_not_change_stay_the_same_python_objects(client: Client) -> None:
    await client.create(PODS, pod("a"), "default")
    await client.create(PODS, pod("b"), "default")
    async with running(Mirror(client)) as mirror:
        before = mirror.snapshot()
        assert mirror.snapshot() is before
        await client.patch(PODS, "b", {"metadata": {"labels": {"x": "y"}}}, "default")
        await until(mirror, lambda: mirror.snapshot().pods[1].metadata.labels == {"x": "y"})
        after = mirror.snapshot()
        assert after.pods[0] is before.pods[0]
        assert after.namespaces is before.namespaces
        assert after.resource_claims is before.resource_claims


async def test_an_answer_to_a_write_is_seen_at_once_and_late_events_do_not_undo_it(client: Client) -> None:
    async with running(Mirror(client)) as mirror:
        decode = decoder(Pod).decode
        first = decode(await client.create(PODS, pod("a"), "default"))
        mirror.put(first)
        assert names(mirror) == ["a"]
        second = decode(await client.patch(PODS, "a", {"metadata": {"labels": {"x": "y"}}}, "default"))
        mirror.put(second)
        assert mirror.put(first) is False
        assert mirror.snapshot().pods[0] == second
        await client.create(PODS, pod("b"), "default")
        await until(mirror, lambda: len(names(mirror)) == 2)
        assert mirror.snapshot().pods[0] == second


async def test_an_answer_that_comes_after_the_deletion_does_not_bring_the_object_back(client: Client) -> None:
    async with running(Mirror(client)) as mirror:
        created = decoder(Pod).decode(await client.create(PODS, pod("a"), "default"))
        await until(mirror, lambda: names(mirror) == ["a"])
        await client.delete(PODS, "a", "default", grace_seconds=0)
        await until(mirror, lambda: names(mirror) == [])
        assert mirror.put(created) is False
        assert names(mirror) == []


async def test_broken_watches_are_taken_up_again_without_loss(
    client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    async with running(Mirror(faulty)) as mirror:
        for number in range(5):
            proxy.break_watches()
            await client.create(PODS, pod(f"p{number}"), "default")
            await until(mirror, lambda n=number: len(names(mirror)) == n + 1)  # type: ignore[misc]
        lists = [path for method, path in proxy.seen if path == "/api/v1/pods"]
        assert len(lists) > 3


async def test_an_expired_version_leads_to_a_new_list(
    server: EmbeddedServer, client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    async with running(Mirror(faulty)) as mirror:
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a"])
        proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
        proxy.break_watches()
        await client.delete(PODS, "a", "default", grace_seconds=0)
        await client.create(PODS, pod("b"), "default")
        server.registry.compact()
        proxy.plan = lambda method, path, query: None
        await until(mirror, lambda: names(mirror) == ["b"])


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}',
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError","message":"oh"}}',
        b'{"type":"ADDED","object":{"metadata":',
        b"<html>busy</html>",
        b'{"type":"ADDED","object":{"metadata":{"name":"broken","namespace":"x"},"spec":{"priority":"high"}}}',
        b"",
    ],
)
async def test_nonsense_on_a_watch_is_survived(
    client: Client, faulty: Client, proxy: FaultyProxy, line: bytes
) -> None:
    first = True

    def once(method: str, path: str, query: dict[str, str]) -> Fault | None:
        nonlocal first
        if "watch" in query and path == "/api/v1/pods" and first:
            first = False
            return Fault(inject=line)
        return None

    proxy.plan = once
    async with running(Mirror(faulty)) as mirror:
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a"])


async def test_an_object_that_cannot_be_decoded_is_reported_and_the_others_are_mirrored(
    client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    body = msgspec.json.encode(
        {
            "metadata": {"resourceVersion": "1"},
            "items": [
                {"metadata": {"name": "good", "namespace": "x", "resourceVersion": "1", "labels": None}},
                {"metadata": {"name": "bad", "namespace": "x", "resourceVersion": "1"}, "spec": 7},
            ],
        }
    )
    proxy.plan = lambda method, path, query: (
        Fault(status=200, body=body) if path == "/api/v1/pods" and "watch" not in query else None
    )
    async with running(Mirror(faulty)) as mirror:
        assert names(mirror) == ["good"]
        assert [(problem.kind, problem.subject) for problem in mirror.problems] == [("Pod", "x/bad")]


async def test_repeated_events_change_nothing(client: Client, faulty: Client, proxy: FaultyProxy) -> None:
    proxy.plan = lambda method, path, query: Fault(duplicate=True) if "watch" in query else None
    async with running(Mirror(faulty)) as mirror:
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a"])
        before = mirror.snapshot().pods[0]
        await client.create(PODS, pod("b"), "default")
        await until(mirror, lambda: names(mirror) == ["a", "b"])
        assert mirror.snapshot().pods[0] is before


async def test_a_server_that_lost_its_newest_state_is_believed(
    client: Client, server: EmbeddedServer
) -> None:
    async with running(Mirror(client)) as mirror:
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a"])
        future = msgspec.structs.replace(
            mirror.snapshot().pods[0],
            metadata=msgspec.structs.replace(
                mirror.snapshot().pods[0].metadata, resource_version="999999", name="ghost"
            ),
        )
        mirror.put(future)
        assert names(mirror) == ["a", "ghost"]
        await mirror.refresh(Pod)
        assert names(mirror) == ["a"]


async def test_refresh_knows_everything_written_before_it(
    client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    async with running(Mirror(faulty)) as mirror:
        proxy.plan = lambda method, path, query: Fault(status=503) if "watch" in query else None
        proxy.break_watches()
        await client.create(PODS, pod("a"), "default")
        await mirror.refresh(Pod, ResourceClaim)
        assert names(mirror) == ["a"]


async def test_a_server_that_restarts_is_followed(server: EmbeddedServer, client: Client) -> None:
    async with running(Mirror(client)) as mirror:
        await client.create(PODS, pod("a"), "default")
        await until(mirror, lambda: names(mirror) == ["a"])
        directory, port = server.directory, server.port
        await server.stop()
        again = EmbeddedServer(directory)
        await again.start(port=port)
        try:
            await client.create(PODS, pod("b"), "default")
            await until(mirror, lambda: names(mirror) == ["a", "b"])
        finally:
            await again.stop()


async def test_kinds_that_are_not_served_are_empty_and_no_problem(client: Client) -> None:
    async with running(Mirror(client)) as mirror:
        assert mirror.snapshot().queues == ()
        assert mirror.problems == ()


async def test_a_forbidden_kind_holds_nothing_up_but_completeness(
    client: Client, faulty: Client, proxy: FaultyProxy
) -> None:
    forbidden = Fault(status=403, body=b'{"reason":"Forbidden","message":"not you"}')
    proxy.plan = lambda method, path, query: forbidden if path.endswith("/priorityclasses") else None
    async with running(Mirror(faulty)) as mirror:
        assert mirror.synced
        assert not mirror.complete
        assert [(one.kind, "not you" in one.message) for one in mirror.problems] == [("PriorityClass", True)]
        proxy.plan = lambda method, path, query: None
        async with asyncio.timeout(10):
            await mirror.wait_complete()
        assert mirror.problems == ()
