"""The log of changes that watches read: bounded, one per resource.

A watcher holds only a position in the log, so a slow one costs no memory; when the log has dropped what
it still has to read, it ends with 410 Expired and its client lists anew.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

#: Changes kept per resource; between one and two times this many are held.
WINDOW = 8192


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one object as stored: its JSON and what selectors look at.

    Never changed, only replaced.
    """

    namespace: str
    name: str
    version: int
    document: bytes
    labels: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """``after`` is the object at ``version``; for DELETED its last state, carrying the deletion's version."""

    type: ChangeType
    version: int
    after: Stored
    before: Stored | None


class ChangeLog:
    """The newest changes of one resource in order of version."""

    def __init__(self, compacted: int, window: int = WINDOW) -> None:
        #: Changes up to this version are not in the log any more.
        self.compacted = compacted
        self._window = window
        self._changes: list[Change] = []
        self._dropped = 0
        self._waiting: dict[asyncio.Event, None] = {}
        #: Set as soon as somebody watches.
        self.watched = asyncio.Event()

    @property
    def end(self) -> int:
        """The position behind the newest change."""
        return self._dropped + len(self._changes)

    def append(self, change: Change) -> None:
        self._changes.append(change)
        if len(self._changes) > 2 * self._window:
            self.compact(self._window)
        for event in self._waiting:
            event.set()

    def compact(self, keep: int = 0) -> None:
        """Forget all but the newest ``keep`` changes."""
        drop = len(self._changes) - keep
        if drop > 0:
            self.compacted = self._changes[drop - 1].version
            del self._changes[:drop]
            self._dropped += drop

    def position_after(self, version: int) -> int | None:
        """Where changes later than ``version`` begin; None if some of them are gone."""
        if version < self.compacted:
            return None
        low, high = 0, len(self._changes)
        while low < high:
            middle = (low + high) // 2
            if self._changes[middle].version > version:
                high = middle
            else:
                low = middle + 1
        return self._dropped + low

    def read(self, position: int, limit: int = 1000) -> list[Change] | None:
        """Up to ``limit`` changes from ``position`` on; None if some are gone."""
        start = position - self._dropped
        return None if start < 0 else self._changes[start : start + limit]

    @property
    def watchers(self) -> int:
        """How many wait for changes now."""
        return len(self._waiting)

    def subscribe(self) -> asyncio.Event:
        """An event that is set at every change; the caller clears it before it reads."""
        event = asyncio.Event()
        self._waiting[event] = None
        self.watched.set()
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        self._waiting.pop(event, None)

    def wake(self) -> None:
        for event in self._waiting:
            event.set()


def initial_events_end(api_version: str, kind: str, version: int) -> dict[str, Any]:
    """The bookmark that ends the synthetic ADDED events of a watch with ``sendInitialEvents``."""
    annotations = {"k8s.io/initial-events-end": "true"}
    return bookmark(api_version, kind, version, annotations)


def bookmark(
    api_version: str, kind: str, version: int, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return {"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata}}
