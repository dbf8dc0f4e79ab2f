"""What the page of spending shows, from the ledger: groups, their course over time, what it adds up to."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from aliquot.accounting.amounts import DAY_MS, HOUR_MS
from aliquot.accounting.closing import entries_of
from aliquot.accounting.entries import Category
from aliquot.accounting.price_files import milliseconds
from aliquot.accounting.prices import PriceBook
from aliquot.accounting.progress import unsettled
from aliquot.accounting.reports import Line, Tally, without_price
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_reports import Query, sums, time_text

WINDOWS = {"24h": 1, "7d": 7, "30d": 30, "90d": 90}
"""Windows by name, with the days they hold."""

MOST_GROUPS = 500
SHOWN = 7
"""So many groups have a colour of their own in the course over time; the others are one."""

MOST_LABELS = 40
_AMOUNTS = ("device_ms", "used_ms", "known_ms", "energy_mj", "metered_ms", "cost_micros", "carbon_ug")


class Asked(msgspec.Struct, frozen=True):
    """What a page asks for: a window, a dimension, and what must hold (dimension and value)."""

    window: str
    by: str
    where: tuple[tuple[str, str], ...] = ()


def figures(ledger: Ledger, asked: Asked, book: PriceBook, now: datetime) -> dict[str, Any]:
    """The answer to a page. Amounts are integers in the ledger's units. Raises ValueError, LedgerError."""
    step = "hour" if asked.window == "24h" else "day"
    start = (now - timedelta(days=WINDOWS[asked.window])).replace(minute=0, second=0, microsecond=0)
    if step == "day":
        start = (start + timedelta(days=1)).replace(hour=0)
    query = Query(milliseconds(start), milliseconds(now) + 1, by=(asked.by, step), where=asked.where)
    progress, _ = ledger.progress()
    rest = entries_of(unsettled(progress), book)
    lines = sums(ledger, query, rest)
    places = Query(query.since_ms, query.until_ms, by=("node", "device-model"), where=asked.where)
    times = _times(query.since_ms, query.until_ms, step)
    groups = _groups(lines)
    ordered = sorted(
        groups, key=lambda name: (-_total(groups[name]).cost_micros, -_total(groups[name]).device_ms, name)
    )
    return {
        "window": asked.window,
        "by": asked.by,
        "where": [list(pair) for pair in asked.where],
        "since": start.isoformat(),
        "seen": progress.seen_ms,
        "currency": ledger.currency or book.currency,
        "categories": [category.word for category in Category],
        "total": _by_category(lines),
        "groups": [{"name": name, "amounts": _by_category(groups[name])} for name in ordered[:MOST_GROUPS]],
        "left": max(0, len(ordered) - MOST_GROUPS),
        "times": times,
        "course": _course(lines, times, ordered),
        "labels": _labels(ledger),
        "unpriced": without_price(sums(ledger, places, rest)),
    }


def _times(since_ms: int, until_ms: int, step: str) -> list[str]:
    width = HOUR_MS if step == "hour" else DAY_MS
    return [time_text(step, time) for time in range(since_ms, until_ms, width)]


def _groups(lines: Iterable[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.keys[0], []).append(line)
    return found


def _total(lines: Iterable[Line]) -> Tally:
    found = Tally()
    for line in lines:
        found = found + line.amounts
    return found


def _by_category(lines: Iterable[Line]) -> dict[str, dict[str, int]]:
    found: dict[Category, Tally] = {}
    for line in lines:
        found[line.category] = found.get(line.category, Tally()) + line.amounts
    return {category.word: _plain(amounts) for category, amounts in sorted(found.items())}


def _plain(amounts: Tally) -> dict[str, int]:
    return {name: getattr(amounts, name) for name in _AMOUNTS}


def _course(lines: Iterable[Line], times: list[str], ordered: list[str]) -> list[dict[str, Any]]:
    """Amounts over time: of the first groups, and of all others together."""
    places = {time: place for place, time in enumerate(times)}
    own = set(ordered[:SHOWN])
    found: dict[str | None, dict[str, list[int]]] = {}
    for line in lines:
        name = line.keys[0] if line.keys[0] in own else None
        series = found.setdefault(name, {key: [0] * len(times) for key in _AMOUNTS})
        place = places.get(line.keys[1])
        if place is not None:
            for key in _AMOUNTS:
                series[key][place] += getattr(line.amounts, key)
    ordering: list[str | None] = [*ordered[:SHOWN], None]
    return [{"name": name, "amounts": found[name]} for name in ordering if name in found]


def _labels(ledger: Ledger) -> list[str]:
    """The labels that something can be broken down by."""
    rows = ledger.database.execute(
        "SELECT name FROM ledger_labels GROUP BY name ORDER BY count(*) DESC, name LIMIT ?", (MOST_LABELS,)
    )
    return [str(row[0]) for row in rows]
