"""The HTTP side: who may call, what bodies are taken, forms of answers, streams, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from documents import VALID

from aliquot.embedded.registry import SYSTEM
from aliquot.embedded.server import DirectoryInUseError, EmbeddedServer

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class Client:
    """One HTTP connection pool with a token."""

    def __init__(self, server: EmbeddedServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.context = ssl.create_default_context(cafile=str(server.directory / "ca.crt"))

    def request(self, method: str, path: str, token: str | None = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token or self.server.tokens.people}"} | options.pop(
            "headers", {}
        )
        return self.session.request(
            method, self.server.url + path, ssl=self.context, headers=headers, **options
        )

    async def json(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.request(method, path, **options) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic eDp5", "Bearer \xe9"])
async def test_only_the_two_tokens_open_the_api(client: Client, header: str) -> None:
    for path in ("/api", MAPS, "/openapi/v3", "/nonsense"):
        code, status = await client.json("GET", path, headers={"Authorization": header})
        assert (code, status["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/version"])
async def test_health_and_version_are_open(client: Client, path: str) -> None:
    async with client.request("GET", path, headers={"Authorization": ""}) as response:
        assert response.status == 200


async def test_each_token_is_a_user_of_its_own(client: Client) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    names = []
    for token in (client.server.tokens.people, client.server.tokens.controller):
        code, review = await client.json("POST", path, json={}, token=token)
        assert code == 201
        names.append(review["status"]["userInfo"]["username"])
    assert names == ["admin", "system:serviceaccount:aliquot-system:aliquot-controller"]


async def test_secrets_are_readable_by_their_owner_only(server: EmbeddedServer) -> None:
    for name in ("kubeconfig", "controller.kubeconfig", "tokens.json", "server.key", "state.db"):
        assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o600, name
    config = yaml.safe_load(server.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == server.url
    assert server.url.startswith("https://127.0.0.1:")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("GET", "/api/v1/nonsense", None, 404, "NotFound"),
        ("GET", "/api/v1/pods/x", None, 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/nodes", None, 404, "NotFound"),
        ("GET", PODS + "/x/nonsense", None, 404, "NotFound"),
        ("POST", PODS + "/x", "{}", 405, "MethodNotAllowed"),
        ("PUT", PODS, "{}", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces", None, 405, "MethodNotAllowed"),
        ("POST", PODS, "{", 400, "BadRequest"),
        ("POST", PODS, "", 400, "BadRequest"),
        ("POST", PODS, "[]", 400, "BadRequest"),
        ("POST", PODS, "NaN", 400, "BadRequest"),
        ("POST", PODS, '"x"', 400, "BadRequest"),
        ("POST", PODS, "\xff", 400, "BadRequest"),
        ("POST", PODS, '{"a":' * 5000 + "1" + "}" * 5000, 400, "BadRequest"),
        ("POST", PODS, '{"spec":' + '{"a":' * 200 + "1" + "}" * 201, 400, "BadRequest"),
        ("POST", PODS + "?dryRun=Some", '{"metadata":{"name":"a"}}', 422, "Invalid"),
        ("POST", PODS + "?fieldValidation=Perhaps", '{"metadata":{"name":"a"}}', 422, "Invalid"),
        ("GET", PODS + "?limit=many", None, 400, "BadRequest"),
        ("GET", PODS + "?labelSelector=a%20b", None, 400, "BadRequest"),
        ("GET", PODS + "?fieldSelector=spec.nonsense%3Dx", None, 400, "BadRequest"),
        ("GET", PODS + "?resourceVersion=999999999", None, 504, "Timeout"),
        ("GET", PODS + "?watch=1&sendInitialEvents=true", None, 422, "Invalid"),
        ("DELETE", PODS + "/x", '{"gracePeriodSeconds":"soon"}', 400, "BadRequest"),
    ],
)
async def test_bad_requests_are_answered_as_kubernetes_does(
    client: Client, method: str, path: str, body: str | None, code: int, reason: str
) -> None:
    headers = {"Content-Type": "application/json"}
    data = body.encode("latin-1") if body is not None else None
    found, status = await client.json(method, path, data=data, headers=headers)
    assert (found, status["reason"], status["kind"]) == (code, reason, "Status")


async def test_bodies_are_limited_in_size(client: Client) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"x":"' + b"x" * 3_200_000 + b'"}}'
    headers = {"Content-Type": "application/json"}
    code, status = await client.json("POST", MAPS, data=io.BytesIO(body), headers=headers)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {when: 2020-01-01}\n", 201),
        ("a: &a [x]\nb: *a\n", 400),
        ("a: [", 400),
        ("!!python/object:os.system {}", 400),
    ],
)
async def test_yaml_is_read_safely(client: Client, body: str, code: int) -> None:
    found, made = await client.json("POST", MAPS, data=body, headers={"Content-Type": "application/yaml"})
    assert found == code
    if code == 201:
        assert made["data"] == {"when": "2020-01-01"}


async def test_forms_of_an_answer(client: Client) -> None:
    await client.json("POST", MAPS, json=VALID["configmaps"])
    _, table = await client.json("GET", MAPS, headers={"Accept": TABLE})
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, listed = await client.json("GET", MAPS, headers={"Accept": partial})
    assert (listed["kind"], "data" in listed["items"][0]) == ("PartialObjectMetadataList", False)
    code, status = await client.json("GET", MAPS, headers={"Accept": "application/xml"})
    assert (code, status["reason"]) == (406, "NotAcceptable")
    code, _ = await client.json("GET", MAPS, headers={"Accept": "application/vnd.kubernetes.protobuf,*/*"})
    assert code == 200


async def test_pages_go_on_where_they_ended(client: Client) -> None:
    for name in "abc":
        await client.json("POST", MAPS, json={"metadata": {"name": name}})
    _, first = await client.json("GET", MAPS + "?limit=2")
    assert first["metadata"]["remainingItemCount"] == 1
    _, second = await client.json(
        "GET", MAPS, params={"limit": "2", "continue": first["metadata"]["continue"]}
    )
    names = [one["metadata"]["name"] for one in first["items"] + second["items"]]
    assert names == ["a", "b", "c"]
    assert "continue" not in second["metadata"]


async def test_unknown_and_repeated_fields_are_warned_of_by_default(client: Client) -> None:
    body = '{"metadata":{"name":"a"},"data":{"x":"1","x":"2"},"oops":1}'
    async with client.request(
        "POST", MAPS, data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 201
        warnings = response.headers.getall("Warning")
    assert warnings == ['299 - "duplicate field \\"data.x\\""', '299 - "unknown field \\"oops\\""']


async def events(response: aiohttp.ClientResponse, count: int) -> list[Object]:
    found = []
    async with asyncio.timeout(10):
        async for line in response.content:
            found.append(json.loads(line))
            if len(found) == count:
                break
    return found


async def test_a_watch_streams_state_changes_and_bookmarks(client: Client) -> None:
    await client.json("POST", MAPS, json=VALID["configmaps"])
    query = "?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with client.request("GET", MAPS + query) as response:
        first, mark = await events(response, 2)
        assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await client.json("DELETE", MAPS + "/a")
        (gone,) = await events(response, 1)
        assert (gone["type"], gone["object"]["data"]) == ("DELETED", {"x": "1"})


async def test_a_watch_from_an_expired_version_says_so_in_the_stream(client: Client) -> None:
    await client.json("POST", MAPS, json=VALID["configmaps"])
    client.server.registry.compact()
    async with client.request("GET", MAPS + "?watch=1&resourceVersion=1") as response:
        (event,) = await events(response, 1)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_in_tables_names_its_columns_once(client: Client) -> None:
    for name in "ab":
        await client.json("POST", MAPS, json={"metadata": {"name": name}})
    async with client.request(
        "GET", MAPS + "?watch=1&timeoutSeconds=1", headers={"Accept": TABLE}
    ) as response:
        first, second = await events(response, 2)
    assert first["object"]["columnDefinitions"]
    assert not second["object"]["columnDefinitions"]
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_a_watch_ends_by_itself_after_timeout_seconds(client: Client) -> None:
    async with asyncio.timeout(10), client.request("GET", MAPS + "?watch=1&timeoutSeconds=1") as response:
        assert await response.read() == b""


async def test_a_client_that_goes_away_leaves_no_watch_behind(client: Client) -> None:
    log = client.server.registry.log(client.server.registry.resources.named("configmaps"))
    async with client.request("GET", MAPS + "?watch=1"):
        async with asyncio.timeout(5):
            await log.watched.wait()
    async with asyncio.timeout(10):
        while log.watchers:
            await client.json("POST", MAPS, json={"metadata": {"generateName": "x-"}})
    assert log.watchers == 0


@pytest.mark.parametrize(
    "accept", ["application/json", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"]
)
async def test_discovery_in_both_forms(client: Client, accept: str) -> None:
    _, core = await client.json("GET", "/api", headers={"Accept": accept})
    _, groups = await client.json("GET", "/apis", headers={"Accept": accept})
    if "apidiscovery" in accept:
        assert core["kind"] == groups["kind"] == "APIGroupDiscoveryList"
        names = {one["resource"] for one in core["items"][0]["versions"][0]["resources"]}
        assert {"pods", "nodes"} <= names
        listed = [one["metadata"]["name"] for one in groups["items"]]
    else:
        assert core["versions"] == ["v1"]
        listed = [one["name"] for one in groups["groups"]]
    assert {"apps", "batch", "resource.k8s.io", "scheduling.k8s.io"} <= set(listed)
    _, resources = await client.json("GET", "/apis/resource.k8s.io/v1")
    assert "resourceclaims/status" in [one["name"] for one in resources["resources"]]


async def test_every_openapi_document_has_all_it_refers_to(client: Client) -> None:
    _, index = await client.json("GET", "/openapi/v3")
    assert "apis/resource.k8s.io/v1" in index["paths"]

    def references(value: Any) -> AsyncIterator[str] | Any:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for entry in index["paths"].values():
        code, document = await client.json("GET", entry["serverRelativeURL"])
        assert code == 200
        known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert set(references(document["paths"])) | set(references(document["components"])) <= known


async def test_an_internal_error_is_a_status_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ValueError("secret words")

    monkeypatch.setattr(client.server.registry, "get", broken)
    code, status = await client.json("GET", MAPS + "/a")
    assert (code, status["reason"], "secret" in json.dumps(status)) == (500, "InternalError", False)
    assert "secret words" in caplog.text


async def test_a_restart_keeps_port_tokens_certificates_and_objects(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path / "state")
    await first.start()
    maps = first.registry.resources.named("configmaps")
    first.registry.create(maps, "default", VALID["configmaps"], SYSTEM)
    url, config, authority = first.url, first.kubeconfig.read_text(), (tmp_path / "state/ca.crt").read_bytes()
    await first.stop()
    second = EmbeddedServer(tmp_path / "state")
    await second.start()
    assert (second.url, second.kubeconfig.read_text()) == (url, config)
    assert (tmp_path / "state/ca.crt").read_bytes() == authority
    assert second.registry.find(maps, "default", "a") is not None
    await second.stop()


async def test_a_remembered_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path / "one")
    await first.start()
    second = EmbeddedServer(tmp_path / "two")
    (tmp_path / "two" / "port").write_text(str(first.port))
    await second.start()
    assert second.port != first.port
    third = EmbeddedServer(tmp_path / "three")
    with pytest.raises(OSError, match="in use"):
        await third.start(port=first.port)
    await third.stop()
    await second.stop()
    await first.stop()


async def test_stopping_ends_open_watches_quickly(tmp_path: Path) -> None:
    running = EmbeddedServer(tmp_path / "state")
    await running.start()
    async with aiohttp.ClientSession() as session:
        client = Client(running, session)
        async with client.request("GET", MAPS + "?watch=1") as response:
            async with asyncio.timeout(5):
                await running.stop()
            assert await response.read() == b""


async def test_a_connection_that_comes_up_while_the_server_ends_is_closed(tmp_path: Path) -> None:
    running = EmbeddedServer(tmp_path / "state")
    await running.start()
    trusted = ssl.create_default_context(cafile=str(running.directory / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    async with asyncio.timeout(5):
        await running.stop()
        await writer.start_tls(trusted, server_hostname="127.0.0.1")
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_whose_client_does_not_let_go_is_cut_when_the_server_has_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aliquot.embedded.server._STOP_SECONDS", 0.1)
    running = EmbeddedServer(tmp_path / "state")
    await running.start()
    trusted = ssl.create_default_context(cafile=str(running.directory / "ca.crt"))

    def connected() -> socket.socket:
        """A connection behind whose TLS nobody is any more, so that nobody says goodbye."""
        plain = socket.create_connection(("127.0.0.1", running.port))
        return socket.socket(fileno=trusted.wrap_socket(plain, server_hostname="127.0.0.1").detach())

    def read_to_the_end(client: socket.socket) -> None:
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass

    with await asyncio.to_thread(connected) as client:
        async with asyncio.timeout(5):
            await running.stop()
        await asyncio.to_thread(read_to_the_end, client)


async def test_a_directory_has_one_server_at_a_time(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path / "state")
    with pytest.raises(DirectoryInUseError, match="another server is using this directory"):
        EmbeddedServer(tmp_path / "state")
    await first.stop()
    second = EmbeddedServer(tmp_path / "state")
    await second.stop()


async def test_answers_do_not_wait_for_acknowledgements(client: Client) -> None:
    """Connections are without Nagle's algorithm: it would add 40 ms to each answer."""
    async with client.request("GET", MAPS + "?watch=1") as response:
        await client.json("GET", MAPS)
        assert response.status == 200
        assert client.server._uvicorn is not None
        connections = list(client.server._uvicorn.server_state.connections)
        sockets = [one.transport.get_extra_info("socket") for one in connections]
        options = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets]
    assert options
    assert all(options)
