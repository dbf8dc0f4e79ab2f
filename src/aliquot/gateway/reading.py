"""What a gateway's store says, read from beside it: a SQLite file that its gateway holds, or PostgreSQL."""

import asyncio
import time
from collections.abc import Mapping

from aliquot.budgets.holding import Gauge
from aliquot.budgets.spending import TokenUse
from aliquot.gateway.configuration import Configuration
from aliquot.gateway.server import open_shared
from aliquot.store.audit_uses import MAX_USES, uses_between
from aliquot.store.budgets_sqlite import read_gauges


async def gauges(configuration: Configuration, now_us: int | None = None) -> Mapping[str, Gauge]:
    """What all counters say; nothing where there is no store yet. now_us: now if left out; PostgreSQL has its
    own clock. Raises BudgetStoreError and ConfigurationError."""
    settings = configuration.file.store
    if settings.sqlite:
        path = configuration.path(settings.sqlite)
        if not path.exists():
            return {}
        return await asyncio.to_thread(read_gauges, path, now_us or time.time_ns() // 1000)
    store = await open_shared(configuration)
    try:
        return await store.gauges()
    finally:
        await store.close()


async def uses(configuration: Configuration, since_us: int, until_us: int) -> list[TokenUse]:
    """The last MAX_USES calls that ended from `since_us` to before `until_us`, by time.

    Raises BudgetStoreError and ConfigurationError.
    """
    settings = configuration.file.store
    if settings.sqlite:
        return await asyncio.to_thread(uses_between, configuration.path(settings.sqlite), since_us, until_us)
    store = await open_shared(configuration)
    try:
        return await store.uses_between(since_us, until_us, MAX_USES)
    finally:
        await store.close()
