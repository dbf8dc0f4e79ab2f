"""The page of usage and waste, and what it asks for.

A look at the sources takes time and may be long in a large cluster: one is made for everybody who asks within
`FRESH_S`, for one of a few windows of time, and never two at once.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.telemetry.settings import Settings
from aliquot.usage.overview import Group
from aliquot.usage.waste import BoardUse
from aliquot.web.feed import Live
from aliquot.web.usage.items import board_item, group_item, summary, worst_first
from aliquot.web.usage.looking import Look, Looker

STATIC = Path(__file__).with_name("static")
FRESH_S = 10.0
MOST_ROWS = 500
WINDOWS: Mapping[str, int] = {
    "15m": 900_000,
    "1h": 3_600_000,
    "8h": 28_800_000,
    "24h": 86_400_000,
    "7d": 604_800_000,
}
"""Windows of time that may be asked for, ms."""
DEFAULT_WINDOW = "1h"


class Looks:
    """The newest look for each window."""

    def __init__(self, live: Live, settings: Settings, history: UsageHistory | None) -> None:
        self._live = live
        self._lookers = {
            name: Looker(settings, window_ms=width, history=history) for name, width in WINDOWS.items()
        }
        self._made: dict[str, tuple[float, Look]] = {}
        self._lock = asyncio.Lock()

    @property
    def blind(self) -> bool:
        return self._lookers[DEFAULT_WINDOW].blind

    async def get(self, window: str) -> Look:
        """The look at a window, made anew when the last is older than FRESH_S."""
        async with self._lock:
            known = self._made.get(window)
            if known is not None and time.monotonic() - known[0] < FRESH_S:
                return known[1]
            look = await self._lookers[window].look(self._live.snapshot, datetime.now(UTC))
            self._made[window] = (time.monotonic(), look)
            return look


def routes(
    live: Live, settings: Settings | None = None, history: UsageHistory | None = None
) -> list[BaseRoute]:
    """`/usage`, its data and its files. live: the cluster. settings: sources; history: read where there is
    one.

    Without either the page shows what is held, and says that nobody measures use.
    """
    looks = Looks(live, settings or Settings(), history)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")

    async def data(request: Request) -> Response:
        window = request.query_params.get("window", DEFAULT_WINDOW)
        if window not in WINDOWS:
            problem = f"there is no window {window[:20]!r}; choose from {', '.join(WINDOWS)}"
            return _json({"error": problem}, 400)
        text = request.query_params.get("text", "")[:200].lower()
        try:
            look = await looks.get(window)
        except HistoryError as error:
            return _json({"error": str(error)}, 503)
        return _json(await asyncio.to_thread(_data, look, window, text, looks.blind))

    return [
        Route("/usage", page),
        Route("/usage/data", data),
        Mount("/usage/static", StaticFiles(directory=STATIC)),
    ]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _data(look: Look, window: str, text: str, blind: bool) -> dict[str, Any]:
    seen = look.overview
    boards = [item for item in worst_first(seen.boards) if not text or text in _words(item)]
    notes = [str(problem) for problem in look.collected.problems] + look.collected.notes
    if blind:
        notes.append("Nobody measures use: the controller was given no source of telemetry.")
    if look.usage.unmatched:
        notes.append(f"Exporters name {len(look.usage.unmatched)} devices that the cluster does not publish.")
    return {
        "window": window,
        "windows": list(WINDOWS),
        "summary": summary(seen),
        "notes": notes,
        "devices": {"total": len(boards), "rows": [board_item(item) for item in boards[:MOST_ROWS]]},
        **{
            kind: _groups(groups, text)
            for kind, groups in (
                ("workloads", seen.workloads),
                ("queues", seen.queues),
                ("teams", seen.teams),
                ("nodes", seen.nodes),
            )
        },
    }


def _groups(groups: tuple[Group, ...], text: str) -> dict[str, Any]:
    kept = [group for group in groups if not text or text in f"{group.name} {group.queue}".lower()]
    kept.sort(key=lambda group: (-group.wasted, -group.devices, group.name))
    return {"total": len(kept), "rows": [group_item(group) for group in kept[:MOST_ROWS]]}


def _words(item: BoardUse) -> str:
    place = item.board.subject
    owners = [owner for unit in item.units for owner in unit.owners]
    names = [ref.name for owner in owners for ref in (owner.workload, owner.pod) if ref is not None]
    queues = [owner.queue for owner in owners]
    return " ".join(
        (place.node, place.device, item.board.product, *(unit.state for unit in item.units), *names, *queues)
    ).lower()
