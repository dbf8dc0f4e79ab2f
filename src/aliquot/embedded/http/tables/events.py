"""The rows of events."""

from __future__ import annotations

from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import (
    Cell,
    Column,
    Table,
    at,
    human_duration,
    parse_time,
)


def _first(obj: Object, *keys: str) -> object:
    return next((obj[key] for key in keys if obj.get(key)), None)


def _seen(*keys: str) -> Cell:
    def cell(event: Object, now: datetime) -> str:
        series = event.get("series") or {}
        text = series.get("lastObservedTime") if keys[0] in ("lastTimestamp",) else None
        meta = event.get("metadata") or {}
        moment = parse_time(text or _first(event, *keys) or meta.get("creationTimestamp"))
        return "<unknown>" if moment is None else human_duration((now - moment).total_seconds())

    return cell


def _about(event: Object, now: datetime) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _part(event: Object, now: datetime) -> str:
    return str((event.get("involvedObject") or event.get("regarding") or {}).get("fieldPath") or "")


def _source(event: Object, now: datetime) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    name = source.get("component") or _first(event, "reportingComponent", "reportingController") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{name}, {host}" if host else str(name)


def _message(event: Object, now: datetime) -> str:
    return str(_first(event, "message", "note") or "").strip()


def _count(event: Object, now: datetime) -> object:
    series = (event.get("series") or {}).get("count")
    return series or _first(event, "count", "deprecatedCount") or 1


def _event_name(event: Object, now: datetime) -> str:
    return str((event.get("metadata") or {}).get("name", ""))


EVENTS = Table(
    (
        Column("Last Seen", _seen("lastTimestamp", "deprecatedLastTimestamp", "eventTime")),
        Column("Type", at("type", "")),
        Column("Reason", at("reason", "")),
        Column("Object", _about),
        Column("Subobject", _part, priority=1),
        Column("Source", _source, priority=1),
        Column("Message", _message),
        Column("First Seen", _seen("firstTimestamp", "deprecatedFirstTimestamp", "eventTime"), priority=1),
        Column("Count", _count, "integer", priority=1),
        Column("Name", _event_name, priority=1),
    ),
    named=False,
)
