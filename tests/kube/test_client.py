"""Requests: what is tried again and what is not, what is bounded, what an error tells."""

import random
from collections.abc import AsyncIterator

import pytest
from tests.kube.faults import Fault, FaultyProxy
from tests.kube.times import VirtualClock

from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client, PatchType
from aliquot.kube.config import Connection
from aliquot.kube.credentials import Credential, StaticCredential
from aliquot.kube.errors import ApiError, OversizeError, TransportError
from aliquot.kube.resources import PODS, Resource
from aliquot.kube.transport import Limits
from aliquot.model.core import Pod
from aliquot.model.kinds import decoder

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", True)


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def hurried(proxy: FaultyProxy, clock: VirtualClock) -> AsyncIterator[Client]:
    """A client behind the proxy whose waits take no time."""
    async with Client(proxy.connection, clock=clock, randomness=random.Random(1)) as made:
        yield made


class Times:
    """A fault for the first so many requests that match."""

    def __init__(self, count: int, fault: Fault, method: str = "") -> None:
        self.left = count
        self.fault = fault
        self.method = method

    def __call__(self, method: str, path: str, query: dict[str, str]) -> Fault | None:
        if self.left and self.method in ("", method):
            self.left -= 1
            return self.fault
        return None


async def test_an_error_tells_what_kubernetes_says(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "nobody", "default")
    error = caught.value
    assert (error.status, error.reason, error.not_found) == (404, "NotFound", True)
    assert "nobody" in error.message
    assert error.details["kind"] == "pods"


async def test_an_object_is_created_changed_and_deleted_with_guards(client: Client) -> None:
    created = decoder(Pod).decode(
        await client.create(
            PODS,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p"},
                "spec": {"containers": [{"name": "m", "image": "i"}]},
            },
            "default",
        )
    )
    stale = {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}
    with pytest.raises(ApiError) as caught:
        await client.patch(PODS, "p", stale, "default")
    assert caught.value.conflict
    guarded = {"metadata": {"uid": created.metadata.uid, "labels": {"a": "b"}}}
    changed = decoder(Pod).decode(await client.patch(PODS, "p", guarded, "default", kind=PatchType.STRATEGIC))
    assert changed.metadata.labels == {"a": "b"}
    with pytest.raises(ApiError) as caught:
        await client.delete(PODS, "p", "default", resource_version=created.metadata.resource_version)
    assert caught.value.conflict
    await client.delete(PODS, "p", "default", uid=created.metadata.uid)
    with pytest.raises(ApiError):
        await client.get(PODS, "p", "default")


async def test_json_patch_update_and_apply(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("c", a="1"), "default")
    await client.patch(
        CONFIG_MAPS, "c", [{"op": "replace", "path": "/data/a", "value": "2"}], "default", kind=PatchType.JSON
    )
    await client.patch(CONFIG_MAPS, "c", config_map("c", b="3"), "default", kind=PatchType.APPLY, force=True)
    body = await client.get(CONFIG_MAPS, "c", "default")
    assert b'"a":"2"' in body
    assert b'"b":"3"' in body
    body = await client.update(CONFIG_MAPS, "c", config_map("c", z="9"), "default")
    assert b'"data":{"z":"9"}' in body


async def test_lists_come_in_pages(client: Client, connection: Connection) -> None:
    for number in range(7):
        await client.create(CONFIG_MAPS, config_map(f"c{number}"), "default")
    async with Client(connection, limits=Limits(page_size=3)) as small:
        pages = [page async for page in small.pages(CONFIG_MAPS, "default")]
        chosen = [
            page async for page in small.pages(CONFIG_MAPS, "default", field_selector="metadata.name=c2")
        ]
    assert [page.count(b'"name":"c') for page in pages] == [3, 3, 1]
    assert b'"name":"c2"' in chosen[0]
    assert b'"name":"c3"' not in chosen[0]


async def test_discovery_tells_what_is_served(client: Client) -> None:
    served = await client.discover("resource.k8s.io/v1")
    assert served["ResourceClaim"].path("ns", "c", "status") == (
        "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/c/status"
    )
    assert await client.discover("nobody.example.com/v1") == {}


@pytest.mark.parametrize(
    ("method", "fault", "calls"),
    [
        ("GET", Fault(status=500), 2),
        ("GET", Fault(status=429, headers={"Retry-After": "7"}), 2),
        ("GET", Fault(lose_answer=True), 2),
        ("GET", Fault(cut=10), 2),
        ("PATCH", Fault(status=500), 2),
        ("PATCH", Fault(lose_answer=True), 2),
        ("POST", Fault(status=429), 2),
        ("POST", Fault(status=503, headers={"Retry-After": "1"}), 2),
    ],
)
async def test_what_may_be_repeated_is_repeated(
    client: Client, hurried: Client, proxy: FaultyProxy, method: str, fault: Fault, calls: int
) -> None:
    if method != "POST":
        await client.create(CONFIG_MAPS, config_map("c"), "default")
    proxy.plan = Times(1, fault, method)
    if method == "GET":
        await hurried.get(CONFIG_MAPS, "c", "default")
    elif method == "PATCH":
        await hurried.patch(CONFIG_MAPS, "c", {"data": {"a": "1"}}, "default")
    else:
        await hurried.create(CONFIG_MAPS, config_map("c"), "default")
    assert [seen for seen, _ in proxy.seen] == [method] * calls


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault(status=500), ApiError), (Fault(lose_answer=True), TransportError)]
)
async def test_a_creation_that_may_have_happened_is_not_repeated(
    hurried: Client, proxy: FaultyProxy, fault: Fault, error: type[Exception]
) -> None:
    proxy.plan = Times(1, fault, "POST")
    with pytest.raises(error):
        await hurried.create(CONFIG_MAPS, config_map("c"), "default")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
async def test_a_refusal_is_final(hurried: Client, proxy: FaultyProxy, status: int) -> None:
    proxy.plan = lambda method, path, query: Fault(status=status, body=b'{"message":"no"}')
    with pytest.raises(ApiError) as caught:
        await hurried.get(CONFIG_MAPS, "c", "default")
    assert (caught.value.status, caught.value.message) == (status, "no")
    assert len(proxy.seen) == 1


async def test_waits_grow_and_follow_the_server(
    hurried: Client, proxy: FaultyProxy, clock: VirtualClock
) -> None:
    proxy.plan = lambda method, path, query: Fault(status=503)
    with pytest.raises(ApiError):
        await hurried.get(CONFIG_MAPS, "c", "default")
    assert len(clock.slept) == hurried.limits.attempts - 1
    for number, slept in enumerate(clock.slept):
        full = 0.1 * 2**number
        assert full / 2 <= slept <= full
    clock.slept.clear()
    proxy.plan = Times(1, Fault(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(ApiError):
        await hurried.get(CONFIG_MAPS, "c", "default")
    assert clock.slept == [7.0]


async def test_answers_are_bounded(client: Client, connection: Connection) -> None:
    await client.create(CONFIG_MAPS, config_map("big", a="x" * 100_000), "default")
    async with Client(connection, limits=Limits(object_bytes=50_000)) as small:
        with pytest.raises(OversizeError):
            await small.get(CONFIG_MAPS, "big", "default")


async def test_an_answer_that_is_no_status_is_shown_cut_short(hurried: Client, proxy: FaultyProxy) -> None:
    proxy.plan = lambda method, path, query: Fault(status=403, body=b"<html>" + b"x" * 100_000)
    with pytest.raises(ApiError) as caught:
        await hurried.get(CONFIG_MAPS, "c", "default")
    assert caught.value.message.startswith("<html>")
    assert len(caught.value.message) <= 2_000


async def test_nobody_there_is_a_transport_error_that_was_not_sent(clock: VirtualClock) -> None:
    nowhere = Connection(server="http://127.0.0.1:1", credentials=StaticCredential("secret"))
    async with Client(nowhere, clock=clock) as client:
        with pytest.raises(TransportError) as caught:
            await client.get(CONFIG_MAPS, "c", "default")
    assert caught.value.sent is False
    assert "secret" not in str(caught.value)


class Renewed:
    """A credential that is renewed when it is refused."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    async def current(self, clock: object) -> Credential:
        return Credential(self.tokens[0])

    def reject(self) -> bool:
        if len(self.tokens) == 1:
            return False
        self.tokens.pop(0)
        return True


async def test_a_refused_token_is_renewed_once(server: EmbeddedServer, connection: Connection) -> None:
    good = (await connection.credentials.current(VirtualClock())).token
    renewed = Connection(server=connection.server, ca=connection.ca, credentials=Renewed(["expired", good]))
    async with Client(renewed) as client:
        assert b"default" in await client.get(NAMESPACES, "default")
    stuck = Connection(server=connection.server, ca=connection.ca, credentials=Renewed(["expired"]))
    async with Client(stuck) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(NAMESPACES, "default")
    assert caught.value.status == 401


async def test_a_server_with_an_unknown_certificate_is_not_talked_to(connection: Connection) -> None:
    unknown = Connection(server=connection.server, credentials=connection.credentials)
    async with Client(unknown, clock=VirtualClock()) as client:
        with pytest.raises(TransportError, match="certificate"):
            await client.get(NAMESPACES, "default")
    insecure = Connection(server=connection.server, insecure=True, credentials=connection.credentials)
    async with Client(insecure) as client:
        assert b"default" in await client.get(NAMESPACES, "default")
