"""Sizes of a running cluster, from the history of use that the controller keeps.

Sizing reads days of history, and what is right does not change within minutes: it is done for everybody who
asks within `FRESH_S`, in a thread, and never twice at once.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from aliquot.inventory.report import Report
from aliquot.sizing.choosing import recommend
from aliquot.sizing.cluster import fleet_of, fleet_report, profiles_of
from aliquot.sizing.policy import SizingPolicy
from aliquot.store.usage import UsageHistory
from aliquot.usage.metrics import BUSY, Metric
from aliquot.web.feed import Live
from aliquot.web.sizing.page import Sized

FRESH_S = 300.0
WINDOW_MS = 14 * 86_400_000
METRICS = (
    Metric.MEMORY_USED,
    *BUSY,
    Metric.DRAM_BUSY,
    Metric.NVLINK_RECEIVED,
    Metric.NVLINK_SENT,
)


class Sizes:
    """The newest sizes. prices: gives micro-units of money per hour of one device, by model, and in
    words whose prices these are."""

    def __init__(
        self,
        live: Live,
        history: UsageHistory,
        policy: SizingPolicy | None = None,
        prices: Callable[[Report], tuple[Mapping[str, int], str]] = lambda report: ({}, ""),
    ) -> None:
        self._live = live
        self._history = history
        self._policy = policy or SizingPolicy()
        self._prices = prices
        self._lock = asyncio.Lock()
        self._made: tuple[float, Sized | None] | None = None

    async def get(self) -> Sized | None:
        """The sizes of now; None while nothing is known of how devices are used. Raises HistoryError."""
        async with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > FRESH_S:
                found = await asyncio.to_thread(self._make)
                self._made = (time.monotonic(), found)
            return self._made[1]

    def _make(self) -> Sized | None:
        snapshot = self._live.snapshot
        end = self._history.until()
        series = self._history.read(end - WINDOW_MS, end, metrics=METRICS, devices=False)
        report = fleet_report(snapshot)
        prices, told = self._prices(report)
        fleet = fleet_of(report, prices)
        if not fleet.offers:
            return None
        profiles = profiles_of(snapshot, fleet, report, series, self._policy)
        found = [recommend(item, fleet.offers, self._policy) for item in profiles]
        return Sized.of({"cluster": found}, self._policy, prices=told) if found else None
