"""Columns that a CustomResourceDefinition names (``additionalPrinterColumns``)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import Cell, Column, Table, age, human_duration, parse_time

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z0-9_\-]+(?:\\\.[A-Za-z0-9_\-/]+)*)
    |\['(?P<quoted>[^']*)'\]|\["(?P<double>[^"]*)"\]
    |\[(?P<index>-?\d+)\]|(?P<all>\[\*\])
    |\[\?\(@\.(?P<key>[\w.]+)\s*==\s*(?P<quote>['"])(?P<value>.*?)(?P=quote)\)\]""",
    re.VERBOSE,
)


def steps(path: str) -> list[re.Match[str]] | None:
    """The parts of a JSON path such as ``.status.conditions[?(@.type=="Ready")].status``.

    None if unreadable.
    """
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    found, at = [], 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        found.append(match)
        at = match.end()
    return found


def select(obj: Any, path: list[re.Match[str]]) -> list[Any]:
    """Every value at a path."""
    values = [obj]
    for step in path:
        following: list[Any] = []
        for value in values:
            following += _one(value, step)
        values = following
    return values


def _one(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["name"] or step["quoted"] or step["double"]
    if name:
        name = name.replace("\\.", ".")
        return [value[name]] if isinstance(value, dict) and value.get(name) is not None else []
    if not isinstance(value, list):
        return list(value.values()) if step["all"] and isinstance(value, dict) else []
    if step["all"]:
        return list(value)
    if step["index"]:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    keys = step["key"].split(".")
    found = []
    for item in value:
        inner = item
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if inner == step["value"]:
            found.append(item)
    return found


def _cell(path: str, kind: str) -> Cell:
    parsed = steps(path)

    def cell(obj: Object, now: datetime) -> Any:
        values = select(obj, parsed) if parsed is not None else []
        if not values:
            return None
        value = values[0]
        if kind == "date":
            moment = parse_time(value)
            return "<invalid>" if moment is None else human_duration((now - moment).total_seconds())
        if kind == "string":
            return ",".join(_text(one) for one in values) if len(values) > 1 else _text(value)
        return value

    return cell


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def custom_table(columns: tuple[Object, ...]) -> Table:
    """Name, the columns, and Age if the definition has none at all."""
    if not columns:
        return Table((Column("Age", age),))
    return Table(
        tuple(
            Column(
                str(one.get("name")),
                _cell(str(one.get("jsonPath")), str(one.get("type"))),
                str(one.get("type")),
                int(one.get("priority") or 0),
                str(one.get("description") or ""),
                str(one.get("format") or ""),
            )
            for one in columns
        )
    )
