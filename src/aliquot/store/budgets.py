"""What a store of budgets offers, whatever it is kept in; and the time it goes by."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from aliquot.budgets.holding import Gauge, OpenHold, Operation, Result, as_lost
from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.windows import Window

Clock = Callable[[], int]
"""Microseconds since 1970-01-01 UTC."""


def system_clock() -> int:
    return time.time_ns() // 1000


class BudgetStoreError(Exception):
    """The store cannot be read or written. place: which; problem, fix: what is wrong, what to do."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"budget store {place}: {problem}; {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class BudgetStore(Protocol):
    """Counters, holds, uses and keys. Every method raises BudgetStoreError if the store fails.

    A result is handed out only when what it says is stored: a process that is killed afterwards finds it.
    """

    async def apply(self, operation: Operation) -> Result:
        """Execute one operation (meaning: `aliquot.budgets.holding`)."""
        ...

    async def lapsed(self) -> list[OpenHold]:
        """The holds that have expired and are not settled yet."""
        ...

    async def gauges(self, counters: Iterable[tuple[str, Window]] | None = None) -> Mapping[str, Gauge]:
        """What these counters say now; None: all that were ever used."""
        ...

    async def uses(self, after: int = 0, limit: int = 1000) -> list[tuple[int, TokenUse]]:
        """Settled uses by rising number, those above `after`."""
        ...

    async def tidy(self, keep_uses_us: int) -> None:
        """Delete buckets that no longer count, and uses older than `keep_uses_us`."""
        ...

    async def keys(self) -> list[KeyRecord]:
        """All keys, also those expired and revoked."""
        ...

    async def add_key(self, key: KeyRecord) -> None:
        """Store a new key."""
        ...

    async def revoke_key(self, identity: str) -> bool:
        """Revoke a key; False if there is none of that identity."""
        ...

    async def close(self) -> None: ...


async def settle_lapsed(store: BudgetStore, now: int) -> list[TokenUse]:
    """Settle what expired holds left behind, and return what was recorded as lost."""
    found: list[TokenUse] = []
    for hold in await store.lapsed():
        settlement = as_lost(hold, now)
        if settlement is not None:
            await store.apply(settlement)
            found.append(settlement.use)
    return found
