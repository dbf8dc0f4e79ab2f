"""Work queues: which objects a stand-in still has to look at, now or at a later time."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable

#: Delay after the first failure in a row, doubled by each further one, and its bound, in seconds.
FIRST_RETRY = 0.1
LAST_RETRY = 30.0


class WorkQueue:
    """Keys in the order in which they were added, each once; and keys that become due later.

    Times are in seconds on whatever clock the caller uses. A key that is added while it waits for its time
    stays in both places: the earlier look does not cancel the later one.
    """

    def __init__(self) -> None:
        self._ready: OrderedDict[Hashable, None] = OrderedDict()
        self._timers: list[tuple[float, int, Hashable]] = []
        self._due: dict[Hashable, float] = {}
        self._failures: dict[Hashable, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: Hashable) -> None:
        self._ready[key] = None

    def add_at(self, time: float, key: Hashable) -> None:
        """Make ``key`` due at ``time``; of several times for one key the earliest counts."""
        known = self._due.get(key)
        if known is not None and known <= time:
            return
        self._due[key] = time
        self._count += 1
        heapq.heappush(self._timers, (time, self._count, key))

    def retry(self, now: float, key: Hashable) -> float:
        """Make ``key`` due again after a failure; returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_RETRY * 2.0 ** min(failures, 20), LAST_RETRY)
        self.add_at(now + delay, key)
        return delay

    def succeeded(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def pop(self, now: float) -> Hashable | None:
        """The next key to look at, or None."""
        self._wake(now)
        if not self._ready:
            return None
        key, _ = self._ready.popitem(last=False)
        return key

    def next_time(self) -> float | None:
        """When the next key becomes due; None where none waits for a time."""
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _wake(self, now: float) -> None:
        while (time := self.next_time()) is not None and time <= now:
            _, _, key = heapq.heappop(self._timers)
            del self._due[key]
            self._ready[key] = None
