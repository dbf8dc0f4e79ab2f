"""The page of governance and the JSON that it reads."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")
ICON = Path(__file__).parents[1] / "static" / "icon.svg"
TIMEOUT_S = 20.0
MAX_DAYS = 366

Json = dict[str, Any]


class UnavailableError(Exception):
    """A part cannot be shown: `problem`, and `fix`, what to do about it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


class Source(Protocol):
    """Where the page gets its facts. Each method raises UnavailableError if it cannot know."""

    async def budgets(self) -> Json: ...

    async def models(self) -> Json: ...

    async def agents(self) -> Json: ...

    async def spend(self, days: int) -> Json: ...


def routes(source: Source, *, login: bool = False, beside: bool = False) -> list[BaseRoute]:
    """`/governance` and what it needs. login: show how to log out. beside: the pages of the fleet are served,
    too, and linked to."""

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "governance.html", media_type="text/html; charset=utf-8")

    async def icon(request: Request) -> Response:
        return FileResponse(ICON, media_type="image/svg+xml")

    async def terms(request: Request) -> Response:
        return _json({"login": login, "beside": beside})

    def part(read: Callable[[], Awaitable[Json]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await _answer(read)

        return answer

    async def spend(request: Request) -> Response:
        text = request.query_params.get("days", "7")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= MAX_DAYS or len(text) > 4:
            return PlainTextResponse(f"days is a number from 1 to {MAX_DAYS}.\n", status_code=400)
        return await _answer(lambda: source.spend(int(text)))

    return [
        Route("/governance", page),
        Route("/governance/icon.svg", icon),
        Route("/api/governance/terms", terms),
        Route("/api/governance/budgets", part(source.budgets)),
        Route("/api/governance/models", part(source.models)),
        Route("/api/governance/agents", part(source.agents)),
        Route("/api/governance/spend", spend),
        Mount("/governance/static", StaticFiles(directory=STATIC)),
    ]


async def _answer(read: Callable[[], Awaitable[Json]]) -> Response:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return _json(await read())
    except UnavailableError as error:
        return _json({"problem": error.problem, "fix": error.fix}, 503)
    except TimeoutError:
        return _json({"problem": "no answer in time", "fix": "try again"}, 503)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")
