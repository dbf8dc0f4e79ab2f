"""What to tell a page: everything, or only what is different from what it knows."""

from collections.abc import Iterator, Mapping
from typing import Any

from aliquot.web.view import View

Event = tuple[str, Any]
"""(name, JSON-like data) of a server-sent event."""

MOSTLY = 4
"""When more than one cell in so many has changed, all of them are sent."""


def everything(view: View) -> Iterator[Event]:
    """The events that bring a page from nothing to the view."""
    yield "layout", {**view.layout, "cells": view.cells}
    yield "queues", {"all": True, "set": _keyed(view.queues), "gone": []}
    yield "waiting", {"all": True, "set": _keyed(view.waiting), "gone": []}
    yield "leaving", {"all": True, "set": _keyed(view.leaving), "gone": []}
    yield "summary", view.summary


def changes(before: View, after: View) -> Iterator[Event]:
    """The events that bring a page from one view to the next; few and small when little has changed."""
    if before.layout != after.layout or len(before.cells) != len(after.cells):
        yield "layout", {**after.layout, "cells": after.cells}
    else:
        pairs = enumerate(zip(before.cells, after.cells, strict=True))
        changed = [(place, cell) for place, (old, cell) in pairs if old != cell]
        if len(changed) > len(after.cells) // MOSTLY:
            yield "layout", {**after.layout, "cells": after.cells}
        elif changed:
            yield "cells", changed
    for name, old, new in (
        ("queues", before.queues, after.queues),
        ("waiting", before.waiting, after.waiting),
        ("leaving", before.leaving, after.leaving),
    ):
        difference = _difference(old, new)
        if difference is not None:
            yield name, difference
    if before.summary != after.summary:
        yield "summary", after.summary


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    changed = _keyed({key: value for key, value in new.items() if old.get(key) != value})
    gone = [key for key in old if key not in new]
    if not changed and not gone:
        return None
    return {"all": False, "set": changed, "gone": gone}


def _keyed(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**value, "key": key} for key, value in values.items()]
