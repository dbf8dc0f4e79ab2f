"""Requests of one replica to an API server in the same process, with what a schedule does to them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlencode

from tests.faults.schedule import Schedule, Trouble, WatchTrouble
from tests.faults.virtual_loop import ended

from aliquot.embedded.http.app import Application
from aliquot.kube.errors import TransportError, error_from

_STATUS = {
    Trouble.CONFLICT: (409, b'{"code":409,"reason":"Conflict","message":"injected"}'),
    Trouble.GONE: (410, b'{"code":410,"reason":"Expired","message":"injected"}'),
    Trouble.BUSY: (429, b'{"code":429,"reason":"TooManyRequests","message":"injected"}'),
    Trouble.BROKEN: (500, b'{"code":500,"reason":"InternalError","message":"injected"}'),
    Trouble.UNAVAILABLE: (503, b"<html>no healthy upstream</html>"),
}
_WATCH_STATUS = {
    WatchTrouble.GONE: (410, b'{"code":410,"reason":"Expired","message":"injected"}'),
    WatchTrouble.BUSY: (429, b'{"code":429,"reason":"TooManyRequests","message":"injected"}'),
    WatchTrouble.BROKEN: (500, b'{"code":500,"reason":"InternalError","message":"injected"}'),
}

REQUEST_SECONDS = 2.0
"""After so long whoever asked gives up."""

LATEST = 4.0
"""A request that was given up arrives so many seconds later at the latest."""


class Line:
    """The way between one replica and the server. up: whether it is passable. troubled: whether the schedule
    counts. busy: the server puts everybody off. ghosts: requests that are carried out although whoever sent
    them has given up.
    """

    def __init__(self, app: Application, token: str, schedule: Schedule, replica: int) -> None:
        self._app = app
        self._token = token
        self._schedule = schedule
        self._replica = replica
        self._requests = 0
        self._watches = 0
        self._streams: set[asyncio.Task[None]] = set()
        self.ghosts: set[asyncio.Task[Any]] = set()
        self.up = True
        self.troubled = True
        self.busy = False
        self.requests: set[tuple[str, str]] = set()

    def break_watches(self) -> None:
        for task in tuple(self._streams):
            task.cancel()

    async def close(self) -> None:
        """The process is gone; what it has sent is not."""
        self.break_watches()

    async def once(
        self,
        name: str,
        method: str,
        path: str,
        query: dict[str, str] | None,
        data: bytes | None,
        content_type: str,
        seconds: float | None,
        limit: int | None,
    ) -> bytes:
        self._requests += 1
        self.requests.add((method, path))
        trouble, part = (
            self._schedule.request(self._replica, self._requests) if self.troubled else (None, 0.0)
        )
        # A request takes a moment each way, so that those of several parties mix.
        await asyncio.sleep(0.001 + 0.004 * part)
        if not self.up or trouble is Trouble.REFUSED:
            raise TransportError(name, "no connection", sent=False)
        if self.busy:
            raise error_from(*_STATUS[Trouble.BUSY], "1", name)
        if trouble in _STATUS:
            wait = "1" if trouble in (Trouble.BUSY, Trouble.UNAVAILABLE) else None
            raise error_from(*_STATUS[trouble], wait, name)
        if trouble is Trouble.LATE:
            self._haunt(self._later(LATEST * part, method, path, query, data, content_type))
            await asyncio.sleep(REQUEST_SECONDS * part)
            raise TransportError(name, "timed out", sent=True)
        if trouble is Trouble.SLOW:
            await asyncio.sleep(REQUEST_SECONDS * part)
        call = self._haunt(self._call(method, path, query, data, content_type))
        # Whoever is cancelled here has sent the request all the same.
        status, headers, body = await asyncio.shield(call)
        if trouble is Trouble.TWICE:
            status, headers, body = await self._call(method, path, query, data, content_type)
        await asyncio.sleep(0.001)
        if trouble is Trouble.LOST or not self.up:
            raise TransportError(name, "the connection broke", sent=True)
        if trouble is Trouble.CUT:
            raise TransportError(name, "the answer broke off", sent=True)
        if status >= 300:
            raise error_from(status, body, headers.get("retry-after"), name)
        return body

    async def stream(
        self, name: str, path: str, query: dict[str, str], seconds: float
    ) -> AsyncGenerator[bytes, None]:
        self._watches += 1
        trouble, part = self._schedule.watch(self._replica, self._watches) if self.troubled else (None, 0.0)
        await asyncio.sleep(0.002)
        if not self.up:
            raise TransportError(name, "no connection", sent=False)
        if self.busy:
            raise error_from(*_STATUS[Trouble.BUSY], "1", name)
        if trouble in _WATCH_STATUS:
            raise error_from(*_WATCH_STATUS[trouble], "1" if trouble is WatchTrouble.BUSY else None, name)
        chunks: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        task = asyncio.create_task(self._receive(path, query, chunks))
        self._streams.add(task)
        loop = asyncio.get_running_loop()
        left = 1 + int(part * 6)
        try:
            if trouble is WatchTrouble.GONE_EVENT:
                yield b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'
            if trouble is WatchTrouble.GARBAGE:
                yield b'{"type":"MODI\n'
            while True:
                kind, found = await chunks.get()
                if kind == "end":
                    if found is not None:
                        raise TransportError(name, "the stream broke off", sent=True)
                    return
                sent, chunk = found
                if trouble is WatchTrouble.LAGGING and self.troubled:
                    await asyncio.sleep(max(0.0, sent + self._schedule.lag - loop.time()))
                if not chunk:
                    yield b""
                    continue
                if trouble is WatchTrouble.REPEATED:
                    chunk = b"".join(line + b"\n" for line in chunk.splitlines() for _ in range(2))
                left -= 1
                if trouble is WatchTrouble.TORN and left <= 0:
                    yield chunk[: int(len(chunk) * part)]
                    raise TransportError(name, "the stream broke off", sent=True)
                yield chunk
                if trouble is WatchTrouble.BREAKS and left <= 0:
                    raise TransportError(name, "the stream broke off", sent=True)
        finally:
            self._streams.discard(task)
            await ended(task)

    async def _receive(
        self, path: str, query: dict[str, str], chunks: "asyncio.Queue[tuple[str, Any]]"
    ) -> None:
        loop = asyncio.get_running_loop()
        status = 0

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                chunks.put_nowait(("chunk", (loop.time(), b"")))
            elif message.get("body"):
                chunks.put_nowait(("chunk", (loop.time(), message["body"])))

        broken: object = "cancelled"
        try:
            await self._app(*self._asked("GET", path, query, None, ""), send)  # type: ignore[arg-type]
            broken = None if status == 200 else status
        finally:
            chunks.put_nowait(("end", broken))

    def _haunt(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self.ghosts.add(task)
        task.add_done_callback(self.ghosts.discard)
        return task

    async def _later(self, seconds: float, *call: Any) -> None:
        await asyncio.sleep(seconds)
        await self._call(*call)

    async def _call(
        self, method: str, path: str, query: dict[str, str] | None, data: bytes | None, content_type: str
    ) -> tuple[int, dict[str, str], bytes]:
        parts: list[bytes] = []
        status, headers = 0, dict[str, str]()

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers.update((name.decode(), value.decode()) for name, value in message["headers"])
            else:
                parts.append(message.get("body", b""))

        scope, receive = self._asked(method, path, query, data, content_type)
        await self._app(scope, receive, send)  # type: ignore[arg-type]
        return status, headers, b"".join(parts)

    def _asked(
        self, method: str, path: str, query: dict[str, str] | None, data: bytes | None, content_type: str
    ) -> tuple[dict[str, Any], Any]:
        headers = [(b"authorization", f"Bearer {self._token}".encode()), (b"accept", b"application/json")]
        if data is not None:
            headers.append((b"content-type", content_type.encode()))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query or {}).encode(),
            "headers": headers,
            "server": ("api", 80),
            "scheme": "http",
            "http_version": "1.1",
            # The highest version says that sending to who is gone fails, so nobody need listen for it.
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given:
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": data or b"", "more_body": False}

        return scope, receive


@contextlib.asynccontextmanager
async def settled(line: Line) -> Any:
    """On leaving, wait for requests that are still under way."""
    yield line
    await asyncio.gather(*line.ghosts, return_exceptions=True)
