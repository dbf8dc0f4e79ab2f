"""The page's HTTP application."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.web.details import device_rows, workload_details
from aliquot.web.feed import Feed, Live
from aliquot.web.governance.login import Login
from aliquot.web.security import LOOPBACK_NAMES, Guard

STATIC = Path(__file__).with_name("static")
MAX_READERS = 64
MAX_ROWS = 200


def create_app(
    live: Live,
    journal: Journal | None = None,
    policy: Policy | None = None,
    *,
    hosts: Iterable[str] = LOOPBACK_NAMES,
    more: Sequence[BaseRoute] = (),
    login: str = "",
) -> Starlette:
    """The dashboard of a controller.

    live: what the controller knows. journal: where decisions are taken from (in this process: new ones are
    heard as they are recorded). hosts: names in the Host header under which the page answers. more: other
    pages, below paths of their own. login: the digest of the token that is asked for first; "" for none.

    `state.close_streams` of the application ends the streams of events, which otherwise go on as long as
    pages are open; call it before the server waits for its connections.
    """
    feed = Feed(live, journal, policy or Policy())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(feed.run(), name="page feed")
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def events(request: Request) -> Response:
        if feed.readers >= MAX_READERS:
            return PlainTextResponse("Too many pages are open.\n", status_code=503)
        return StreamingResponse(feed.events(), media_type="text/event-stream")

    async def devices(request: Request) -> Response:
        query = request.query_params
        report, _ = await feed.current()
        offset = _number(query.get("offset", ""), 0, 10_000_000)
        limit = _number(query.get("limit", ""), 50, MAX_ROWS)
        found = device_rows(
            report, node=query.get("node", ""), text=query.get("text", "")[:200], offset=offset, limit=limit
        )
        return _json(found)

    async def workload(request: Request) -> Response:
        query = request.query_params
        report, _ = await feed.current()
        found = workload_details(
            report, journal, query.get("kind", ""), query.get("namespace", ""), query.get("name", "")
        )
        if found is None:
            return _json({"error": "there is no such workload"}, 404)
        state, details = found
        return _json(details | {"taking": await feed.taking(state)})

    asked = []
    if login:
        asked.append(Middleware(Login, token_digest=login, secure=False, clock=time.monotonic))
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/healthz", healthz),
            Route("/events", events),
            Route("/api/devices", devices),
            Route("/api/workload", workload),
            Mount("/static", StaticFiles(directory=STATIC)),
            *more,
        ],
        middleware=[*asked, Middleware(Guard, hosts=tuple(hosts))],
        lifespan=lifespan,
    )
    app.state.close_streams = feed.close
    return app


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _number(text: str, default: int, most: int) -> int:
    """A number from the query; anything else is the default."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return default
    return min(int(text), most)
