"""An exporter on loopback whose answer the test writes, and a gate that wants a token."""

import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[str]:
    """`host:port` of a server that answers every request so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with _started(app) as address:
        yield address


@contextlib.asynccontextmanager
async def gate(url: str, token: str) -> AsyncIterator[str]:
    """The address of a proxy that lets through to `url` who has the token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {token}":
            return web.Response(status=401, text="who are you?")
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                url + request.path_qs,
                data=await request.read(),
                headers={"Content-Type": request.headers.get("Content-Type", "")},
            ) as behind,
        ):
            return web.Response(status=behind.status, body=await behind.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with _started(app) as address:
        yield f"http://{address}"


@contextlib.asynccontextmanager
async def _started(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()
