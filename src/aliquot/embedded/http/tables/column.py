"""Columns of tables, and how people read times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aliquot.embedded.hooks import Object

Cell = Callable[[Object, datetime], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column behind the name; ``priority`` 1 shows it with ``-o wide`` only."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    description: str = ""
    format: str = ""

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or self.name,
            "priority": self.priority,
        }


_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name of the object, unique among its kind in its namespace",
    "priority": 0,
}


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a kind; the name comes first by itself, except where ``named`` is False."""

    columns: tuple[Column, ...]
    named: bool = True

    def definitions(self) -> list[dict[str, Any]]:
        columns = [column.definition() for column in self.columns]
        return [dict(_NAME), *columns] if self.named else columns

    def cells(self, obj: Object, now: datetime) -> list[Any]:
        cells = [column.cell(obj, now) for column in self.columns]
        return [(obj.get("metadata") or {}).get("name", ""), *cells] if self.named else cells


def at(path: str, absent: Any = "<none>") -> Cell:
    """The value at a dotted path, ``absent`` where there is none."""
    parts = path.split(".")

    def cell(obj: Object, now: datetime) -> Any:
        value: Any = obj
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return absent if value is None or value == "" else value

    return cell


def count(path: str) -> Cell:
    """How many items the list or map at a dotted path holds."""
    find = at(path, ())

    def cell(obj: Object, now: datetime) -> int:
        value = find(obj, now)
        return len(value) if isinstance(value, (list, dict, str)) else 0

    return cell


def parse_time(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def human_duration(seconds: float) -> str:
    """A span in at most two units: 45s, 5m30s, 42m, 3h25m, 20h, 2d3h, 30d, 2y10d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        rest = total % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def since(path: str, absent: str = "<unknown>") -> Cell:
    """The time that has passed since the timestamp at a dotted path."""
    find = at(path, None)

    def cell(obj: Object, now: datetime) -> str:
        moment = parse_time(find(obj, now))
        return absent if moment is None else human_duration((now - moment).total_seconds())

    return cell


age = since("metadata.creationTimestamp")


def joined(values: Any) -> str:
    """Several values in one cell."""
    return ",".join(str(value) for value in values) or "<none>"
