"""A proxy between client and server that breaks what passes through it, as a plan says."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web

from aliquot.kube.config import Connection


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    status: answered with this code instead (with `body`), the server never sees the request. lose_answer: the
    server carries it out, the connection breaks without an answer. cut: the answer ends after so many bytes.
    duplicate: every line of a watch comes twice. drop_after: a watch breaks off after so many lines.
    inject: this line is sent first on a watch. delay: seconds before the request is passed on. late: the
    connection breaks at once, and so many seconds later the server carries the request out all the same.
    """

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lose_answer: bool = False
    cut: int | None = None
    duplicate: bool = False
    drop_after: int | None = None
    inject: bytes = b""
    delay: float = 0.0
    late: float = 0.0


Plan = Callable[[str, str, dict[str, str]], Fault | None]
"""(method, path, query) -> what to do to this request."""


class FaultyProxy:
    """Listens on loopback without TLS and passes requests on to `target`; `seen` lists method and path."""

    def __init__(self, target: Connection) -> None:
        self._target = target
        self.plan: Plan = lambda method, path, query: None
        self.seen: list[tuple[str, str]] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._watches: set[asyncio.Task[object]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self.connection = target
        self.change: Callable[[bytes], Awaitable[bytes]] | None = None
        """Changes the body of every write on its way to the server."""

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cadata=self._target.ca)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), auto_decompress=False
        )
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.connection = Connection(server=f"http://127.0.0.1:{port}", credentials=self._target.credentials)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.break_watches()
        await asyncio.gather(*self._late)
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    def break_watches(self) -> None:
        """Break off every watch that runs now."""
        for task in self._watches:
            task.cancel()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.seen.append((request.method, request.path))
        fault = self.plan(request.method, request.path, query) or Fault()
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.status:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        assert self._session is not None
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("authorization", "content-type", "accept")
        }
        if fault.late:
            body = await self._body(request)
            self._late.add(
                asyncio.create_task(
                    self._afterwards(fault.late, request.method, request.path_qs, body, headers)
                )
            )
            return self._hang_up(request)
        async with self._session.request(
            request.method,
            self._target.server + request.path_qs,
            data=await self._body(request),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if "watch" in query:
                return await self._stream(request, answer, fault)
            content = await answer.read()
        if fault.lose_answer:
            return self._hang_up(request)
        response = web.StreamResponse(
            status=answer.status,
            headers={"Content-Type": "application/json", "Content-Length": str(len(content))},
        )
        await response.prepare(request)
        if fault.cut is not None:
            await response.write(content[: fault.cut])
            return self._hang_up(request)
        await response.write(content)
        return response

    async def _afterwards(
        self, seconds: float, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> None:
        assert self._session is not None
        await asyncio.sleep(seconds)
        async with self._session.request(
            method, self._target.server + path, data=body, headers=headers
        ) as answer:
            await answer.read()

    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        return await self.change(body) if self.change is not None and body else body

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, fault: Fault
    ) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            if fault.inject:
                await response.write(fault.inject + b"\n")
            sent = 0
            while line := await answer.content.readline():
                for _ in range(2 if fault.duplicate else 1):
                    await response.write(line)
                sent += 1
                if fault.drop_after is not None and sent >= fault.drop_after:
                    return self._hang_up(request)
        except ConnectionError:
            pass
        finally:
            self._watches.discard(task)
        return response

    def _hang_up(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError
