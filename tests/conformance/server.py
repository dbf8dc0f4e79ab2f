"""The servers that one expectation is held against, and blocking HTTP to them."""

import asyncio
import contextlib
import http.client
import json
import os
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aliquot.embedded.admission import Admission
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.kube.client import cancel_and_wait
from aliquot.kube.clock import SystemClock
from aliquot.kube.config import Connection, default_paths, load_kubeconfig
from aliquot.kube.tls import context_for

Object = dict[str, Any]

SECONDS = 60.0
"""An answer takes no longer, whatever else the machine is doing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """code: the HTTP status. content: the body as it came."""

    code: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))


class Api:
    """One server with one identity; paths are without the server."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._url = urllib.parse.urlsplit(connection.server)
        self._credential = asyncio.run(connection.credentials.current(SystemClock()))
        self._tls = context_for(connection, self._credential)
        self._local = threading.local()

    @property
    def version(self) -> tuple[str, int]:
        """The version that the server names, and its minor number."""
        found = self.request("GET", "/version").body
        return found["gitVersion"], int(found["minor"].rstrip("+"))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: str = "",
    ) -> Answer:
        """body: bytes as they are, anything else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        target = f"{path}?{query}" if query else path
        headers = self._headers(accept) | ({"Content-Type": content_type} if data is not None else {})
        for attempt in (1, 2):
            connection = self._kept()
            try:
                connection.request(method, target, data, headers)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
                # A server may end a connection that was idle; nothing of the request was read then.
                connection.close()
                if attempt == 2:
                    raise
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, content)

    def watch(self, path: str, query: str, until: Callable[[Object], bool]) -> list[Object]:
        """The events of a watch up to the first for which `until` holds, or to the end of the stream."""
        events = []
        with contextlib.closing(self.events(path, query)) as stream:
            for event in stream:
                events.append(event)
                if until(event):
                    break
        return events

    def events(self, path: str, query: str) -> Generator[Object, None, None]:
        """The events of a watch as they come; one of type REFUSED with the Status where there is none."""
        connection = self._connect()
        try:
            connection.request("GET", f"{path}?watch=1&{query}", headers=self._headers("application/json"))
            answer = connection.getresponse()
            if answer.status != 200:
                yield {"type": "REFUSED", "object": json.loads(answer.read())}
                return
            with contextlib.closing(answer):
                while line := answer.readline():
                    if line.strip():
                        yield json.loads(line)
        finally:
            connection.close()

    def close(self) -> None:
        """Give back the connection of this thread."""
        self._kept().close()

    def _headers(self, accept: str) -> dict[str, str]:
        token = self._credential.token
        return {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})

    def _kept(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=self._tls)


class Embedded:
    """An embedded cluster, stand-ins and admission included, in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="embedded cluster")

    def start(self) -> Connection:
        self._thread.start()
        if not self._ready.wait(SECONDS):
            raise TimeoutError("the embedded server does not start")
        return load_kubeconfig([self._directory / "kubeconfig"])

    async def _serve(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        server = EmbeddedServer(self._directory)
        server.registry.admission = Admission(server.registry)
        standins = asyncio.create_task(StandIns(server.registry).run())
        await server.start()
        self._ready.set()
        await stop.wait()
        await cancel_and_wait(standins)
        await server.stop()

    def stop(self) -> None:
        self._stop()
        self._thread.join(SECONDS)


def real_connection() -> Connection | None:
    """The cluster that ALIQUOT_REAL_KUBECONFIG or KUBECONFIG names; None where neither is set."""
    named = os.environ.get("ALIQUOT_REAL_KUBECONFIG", "")
    if named:
        return load_kubeconfig([Path(named)])
    if os.environ.get("KUBECONFIG", ""):
        return load_kubeconfig(default_paths(os.environ))
    return None
