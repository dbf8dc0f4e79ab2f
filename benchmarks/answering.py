"""An API server that only answers: objects in memory, lists in pages, watches, merged writes. It checks
nothing, so that what is measured against it is the client."""

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httptools
import msgspec

Json = dict[str, Any]
Key = tuple[str, str]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

KINDS = {
    "/api/v1": {
        "pods": ("Pod", True),
        "nodes": ("Node", False),
        "namespaces": ("Namespace", False),
        "configmaps": ("ConfigMap", True),
    },
    "/apis/resource.k8s.io/v1": {
        "resourceclaims": ("ResourceClaim", True),
        "resourceslices": ("ResourceSlice", False),
        "deviceclasses": ("DeviceClass", False),
        "resourceclaimtemplates": ("ResourceClaimTemplate", True),
    },
    "/apis/scheduling.k8s.io/v1": {"priorityclasses": ("PriorityClass", False)},
    "/apis/batch/v1": {"jobs": ("Job", True)},
    "/apis/aliquot.dev/v1alpha1": {"queues": ("Queue", False)},
    "/apis/coordination.k8s.io/v1": {"leases": ("Lease", True)},
    "/apis/events.k8s.io/v1": {"events": ("Event", True)},
}


class _Collection:
    """Objects of one resource as JSON, in order of key, and who watches them."""

    def __init__(self) -> None:
        self.objects: dict[Key, bytes] = {}
        self.watchers: set[_Connection] = set()


class Answering:
    """`put` and `remove` change objects as a control plane would. on_patch: called after each write of the
    client, with the path of the collection and the object."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] = {
            f"{group}/{plural}": _Collection() for group, kinds in KINDS.items() for plural in kinds
        }
        self._versions = itertools.count(1)
        self._version = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.on_patch: Callable[[str, Json], None] = lambda path, obj: None
        self.url = ""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.close()
        await self._server.wait_closed()

    @staticmethod
    def spare_port() -> int:
        """A port of loopback that nobody listens on now."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    # Objects

    def get(self, path: str, namespace: str, name: str) -> Json:
        found: Json = _decode(self._collections[path].objects[namespace, name])
        return found

    def put(self, path: str, obj: Json) -> bytes:
        collection = self._collections[path]
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        self._version = next(self._versions)
        meta["resourceVersion"] = str(self._version)
        body = _encode(obj)
        kind = b"MODIFIED" if key in collection.objects else b"ADDED"
        collection.objects[key] = body
        _tell(collection, kind, body)
        return body

    def remove(self, path: str, namespace: str, name: str) -> None:
        collection = self._collections[path]
        obj: Json = _decode(collection.objects.pop((namespace, name)))
        self._version = next(self._versions)
        obj["metadata"]["resourceVersion"] = str(self._version)
        _tell(collection, b"DELETED", _encode(obj))

    # Requests

    def answer(self, connection: "_Connection", method: str, url: str, body: bytes) -> None:
        parts = urlsplit(url)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = parts.path
        if path in KINDS:
            connection.send(200, _encode(_discovery(path)))
            return
        collection, namespace, name, _ = _target(path)
        if collection not in self._collections:
            connection.send(404, b'{"kind":"Status","code":404,"reason":"NotFound"}')
            return
        found = self._collections[collection]
        if method == "GET" and not name:
            if "watch" in query:
                found.watchers.add(connection)
                connection.begin_watch(found.watchers)
            else:
                connection.send(200, self._page(found, collection, query))
            return
        if method == "GET":
            stored = found.objects.get((namespace, name))
            connection.send(200 if stored else 404, stored or b'{"code":404,"reason":"NotFound"}')
        elif method in ("POST", "PUT"):
            obj = _decode(body)
            obj["metadata"].setdefault("namespace", namespace)
            connection.send(201 if method == "POST" else 200, self.put(collection, obj))
        elif method == "PATCH":
            self._patch(connection, collection, (namespace, name), _decode(body))
        else:
            connection.send(405, b'{"code":405}')

    def _patch(self, connection: "_Connection", collection: str, key: Key, patch: Json) -> None:
        stored = self._collections[collection].objects.get(key)
        if stored is None:
            connection.send(404, b'{"code":404,"reason":"NotFound"}')
            return
        obj: Json = _decode(stored)
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != obj["metadata"]["resourceVersion"]:
            connection.send(409, b'{"code":409,"reason":"Conflict","message":"changed"}')
            return
        connection.send(200, self.put(collection, _merged(obj, patch)))
        self.on_patch(collection, obj)

    def _page(self, found: _Collection, collection: str, query: dict[str, str]) -> bytes:
        bodies = list(found.objects.values())
        if "fieldSelector" in query:
            name = query["fieldSelector"].rpartition("=")[2]
            bodies = [body for (_, other), body in found.objects.items() if other == name]
        limit, start = int(query.get("limit", "0")) or len(bodies), int(query.get("continue", "0"))
        left = start + limit < len(bodies)
        meta: Json = {"resourceVersion": str(self._version)}
        if left:
            meta["continue"] = str(start + limit)
        items = b",".join(bodies[start : start + limit])
        return b'{"kind":"List","apiVersion":"v1","metadata":' + _encode(meta) + b',"items":[' + items + b"]}"


class _Connection(asyncio.Protocol):
    """One connection of a client: requests one after the other, or one watch."""

    def __init__(self, server: Answering) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watching: set[_Connection] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server._connections.discard(self)
        if self._watching is not None:
            self._watching.discard(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        url, self._url = self._url.decode(), b""
        body, self._body = b"".join(self._body), []
        self._server.answer(self, method, url, body)

    def send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    def begin_watch(self, watchers: "set[_Connection]") -> None:
        self._watching = watchers
        self._write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def event(self, line: bytes) -> None:
        self._write(b"%x\r\n%s\r\n" % (len(line), line))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _tell(collection: _Collection, kind: bytes, body: bytes) -> None:
    if collection.watchers:
        line = b'{"type":"' + kind + b'","object":' + body + b"}\n"
        for watcher in tuple(collection.watchers):
            watcher.event(line)


def _discovery(path: str) -> Json:
    resources = [
        {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "watch"]}
        for plural, (kind, namespaced) in KINDS[path].items()
    ]
    return {"kind": "APIResourceList", "groupVersion": path.split("/", 2)[2], "resources": resources}


def _target(path: str) -> tuple[str, str, str, str]:
    """The path of the collection, namespace, name and subresource of a request."""
    parts = path.strip("/").split("/")
    head = 2 if parts[0] == "api" else 3
    group, rest = "/" + "/".join(parts[:head]), parts[head:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    rest += [""] * (3 - len(rest))
    return f"{group}/{rest[0]}", namespace, rest[1], rest[2]


def _merged(target: Json, patch: Json) -> Json:
    """A merge patch, with as much of a strategic one as the controller writes: gates that go, conditions."""
    for name, value in patch.items():
        if name == "schedulingGates":
            gone = {item["name"] for item in value if item.get("$patch") == "delete"}
            target[name] = [item for item in target.get(name, []) if item["name"] not in gone]
        elif name == "conditions":
            given = {item["type"] for item in value}
            target[name] = [item for item in target.get(name, []) if item["type"] not in given] + value
        elif value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            target[name] = _merged(dict(target.get(name) or {}), value)
        elif name != "resourceVersion":
            target[name] = value
    return target
