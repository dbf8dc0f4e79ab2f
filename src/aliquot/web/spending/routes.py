"""The routes of the page of spending."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from aliquot.accounting.prices import PriceBook
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_reports import known
from aliquot.web.spending.figures import WINDOWS, Asked, figures

STATIC = Path(__file__).with_name("static")
MOST_TEXT = 300
MOST_CONDITIONS = 6
FRESH_S = 5.0
MOST_ANSWERS = 64


def routes(
    open_ledger: Callable[[], Ledger],
    book: PriceBook | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[BaseRoute]:
    """The page under /spending/.

    open_ledger: opens the ledger to read it, such as `lambda: Ledger.open(path, read_only=True)`; called
    until it succeeds, since a new controller has none yet. book: prices of the time that is not settled.
    """
    reader = _Reader(open_ledger, book or PriceBook(), now)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")

    async def answer(request: Request) -> Response:
        try:
            asked = _asked(request)
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        try:
            return _json(await asyncio.to_thread(reader.read, asked))
        except LedgerError as error:
            fix = "The controller makes a ledger as soon as it leads."
            return _json({"error": f"There is nothing to show: {error.problem}. {fix}"}, 503)

    return [
        Route("/spending/", page),
        Route("/spending/api", answer),
        Mount("/spending/static", StaticFiles(directory=STATIC)),
    ]


def _asked(request: Request) -> Asked:
    """What a request asks for. Raises ValueError."""
    query = request.query_params
    window, by = query.get("window", "30d"), query.get("by", "queue")
    if window not in WINDOWS:
        raise ValueError(f"window: write one of {', '.join(WINDOWS)}")
    pairs = []
    for text in query.getlist("where"):
        name, equals, value = text.partition("=")
        if not equals or not _allowed(name) or len(value) > MOST_TEXT:
            raise ValueError("where: write a dimension, = and a value")
        pairs.append((name, value))
    if len(pairs) > MOST_CONDITIONS:
        raise ValueError(f"where: {MOST_CONDITIONS} conditions at most")
    if not _allowed(by):
        raise ValueError("by: there is no such dimension")
    return Asked(window, by, tuple(pairs))


def _allowed(dimension: str) -> bool:
    return len(dimension) <= MOST_TEXT and known(dimension) and dimension not in ("day", "month", "hour")


class _Reader:
    """Reads with a connection of its own; one question at a time, and none twice within some seconds."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], book: PriceBook, now: Callable[[], datetime]
    ) -> None:
        self._open = open_ledger
        self._book = book
        self._now = now
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()
        self._answers: dict[Asked, tuple[datetime, dict[str, Any]]] = {}

    def read(self, asked: Asked) -> dict[str, Any]:
        with self._lock:
            now = self._now()
            found = self._answers.get(asked)
            if found is not None and 0 <= (now - found[0]).total_seconds() < FRESH_S:
                return found[1]
            if self._ledger is None:
                self._ledger = self._open()
            made = figures(self._ledger, asked, self._book, now)
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[asked] = (now, made)
            return made


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")
