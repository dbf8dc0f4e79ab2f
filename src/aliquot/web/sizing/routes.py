"""The page of sizes on a server."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from aliquot.store.usage_schema import HistoryError
from aliquot.web.sizing.page import Sized, missing, render, style

Source = Callable[[], Awaitable[Sized | None]]
"""What to show: the recommendations of now; None when there is no history of use yet."""

NO_HISTORY = "There is no history of use yet; `aliquot recommend` tells how to give one."


def routes(source: Source) -> list[BaseRoute]:
    """`/sizing` and its style sheet."""

    async def page(request: Request) -> Response:
        try:
            sized = await source()
        except HistoryError as error:
            return HTMLResponse(missing(str(error)), 503)
        if sized is None or not sized.first:
            return HTMLResponse(missing(NO_HISTORY), 503)
        return HTMLResponse(render(sized, linked=True))

    async def sheet(request: Request) -> Response:
        return Response(style(), media_type="text/css; charset=utf-8")

    return [Route("/sizing", page), Route("/sizing/sizing.css", sheet)]
