"""The pages of governance behind the guards that the product puts before them, on a port of this machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aliquot.embedded.http.prompt import PromptServer
from aliquot.web.governance.login import Login, digest_of
from aliquot.web.governance.pages import Source, routes
from aliquot.web.security import Guard

TOKEN = "the-token-of-this-test"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Fixed:
    """Facts that are given."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.days: list[int] = []

    async def budgets(self) -> dict[str, Any]:
        return self._of("budgets")

    async def models(self) -> dict[str, Any]:
        return self._of("models")

    async def agents(self) -> dict[str, Any]:
        return self._of("agents")

    async def spend(self, days: int) -> dict[str, Any]:
        self.days.append(days)
        return self._of("spend")

    def _of(self, name: str) -> dict[str, Any]:
        found = self.facts[name]
        if isinstance(found, Exception):
            raise found
        return dict(found)


def application(
    source: Source, *, login: bool, clock: Clock | None = None, secure: bool = False, beside: bool = False
) -> ASGIApp:
    async def health(request: object) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def icon(request: object) -> Response:
        """For "/", which names no icon here, so that browsers ask for this one, early or late."""
        return Response(status_code=204)

    pages = Starlette(
        routes=[
            *routes(source, login=login, beside=beside),
            Route("/", health),
            Route("/healthz", health),
            Route("/favicon.ico", icon),
        ],
        middleware=[Middleware(Guard)],
    )
    if not login:
        return pages
    return Login(pages, token_digest=digest_of(TOKEN), secure=secure, clock=clock or Clock())


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The address, with a slash at its end."""
    server = PromptServer(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none")
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if running.done():
            running.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.end()
        await running
