"""Watches: the current state first if asked for, then every change, with bookmarks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aliquot.embedded.changes import Change, ChangeLog, ChangeType, Stored
from aliquot.embedded.selectors import FieldSelector, LabelSelector
from aliquot.embedded.status import StatusError, expired

BOOKMARK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a request is about; None selects everything."""

    namespace: str | None = None
    labels: LabelSelector | None = None
    fields: FieldSelector | None = None

    def matches(self, stored: Stored) -> bool:
        return (
            (self.namespace is None or stored.namespace == self.namespace)
            and (self.labels is None or self.labels.matches(stored.labels))
            and (self.fields is None or self.fields.matches(stored.fields))
        )

    @property
    def everything(self) -> bool:
        return self.labels is None and self.fields is None


@dataclass(frozen=True, slots=True)
class Item:
    """An object's change (``stored`` set), or a bookmark at ``version``.

    ``initial`` marks the end of the state.
    """

    type: ChangeType | None
    version: int
    stored: Stored | None = None
    initial: bool = False


def seen_through(change: Change, selected: Filter) -> Item | None:
    """A change as a watch with selectors sees it: an object that stops matching is DELETED for it."""
    now = change.type != "DELETED" and selected.matches(change.after)
    before = change.before is not None and selected.matches(change.before)
    if now:
        return Item("MODIFIED" if before else "ADDED", change.version, change.after)
    return Item("DELETED", change.version, change.after) if before else None


class Watch:
    """One watch of one resource; iterate :meth:`batches`.

    ``state`` holds the objects to report as ADDED first; ``position`` is where in ``log`` the changes
    begin and ``version`` the newest version that ``state`` shows. The watch ends when ``closed()`` says
    so.
    """

    def __init__(
        self,
        log: ChangeLog,
        selected: Filter,
        *,
        position: int,
        version: int,
        current_version: Callable[[], int],
        state: list[Stored],
        mark_initial_end: bool,
        bookmarks: bool,
        closed: Callable[[], bool],
        bookmark_seconds: float = BOOKMARK_SECONDS,
    ) -> None:
        self._log = log
        self._selected = selected
        self._position = position
        self._version = version
        self._current_version = current_version
        self._state = state
        self._mark_initial_end = mark_initial_end
        self._bookmarks = bookmarks
        self._closed = closed
        self._bookmark_seconds = bookmark_seconds

    async def batches(self, seconds: float | None = None) -> AsyncIterator[list[Item]]:
        """Items as they come, several at a time where several are there; at most for ``seconds``.

        Raises StatusError 410 when the reader is too slow.
        """
        changed = self._log.subscribe()
        clock = asyncio.get_running_loop().time
        end = clock() + seconds if seconds is not None else float("inf")
        try:
            for start in range(0, len(self._state), 500):
                yield [Item("ADDED", one.version, one) for one in self._state[start : start + 500]]
            self._state = []
            if self._mark_initial_end:
                yield [Item(None, self._version, initial=True)]
            while not self._closed():
                changed.clear()
                batch = self._read()
                if batch:
                    yield batch
                    continue
                left = end - clock()
                try:
                    await asyncio.wait_for(changed.wait(), max(0.0, min(self._bookmark_seconds, left)))
                except TimeoutError:
                    if left <= self._bookmark_seconds:
                        return
                    if self._bookmarks:
                        yield [Item(None, self._current_version())]
        finally:
            self._log.unsubscribe(changed)

    def _read(self) -> list[Item]:
        batch: list[Item] = []
        while not batch:
            changes = self._log.read(self._position)
            if changes is None:
                raise too_old(self._version, self._log.compacted)
            if not changes:
                return batch
            self._position += len(changes)
            self._version = changes[-1].version
            for change in changes:
                if (item := seen_through(change, self._selected)) is not None:
                    batch.append(item)
        return batch


def too_old(asked: int, oldest: int) -> StatusError:
    return expired(f"too old resource version: {asked} ({oldest})")
