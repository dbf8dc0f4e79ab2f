"""Writing the history of usage, minute after minute, beside a controller."""

import asyncio
import time
from collections.abc import Callable

from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.usage import UsageHistory, Written
from aliquot.store.usage_schema import HistoryError
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.holdings import Facts, facts
from aliquot.telemetry.settings import Settings
from aliquot.usage.joining import joined_usage
from aliquot.web.usage.looking import kept, with_past

EVERY_S = 60.0
LAG_MS = 60_000
"""So long after its time a sample is taken for written by its exporter and Prometheus."""

OVERLAP_MS = 300_000
"""What is read again each time: minutes that came late, and the counters' readings before."""

PIECE_MS = 3_600_000
MOST_BEHIND_MS = 2 * 86_400_000
"""After a longer pause the time before is not caught up with."""


class Recorder:
    """Reads sources and writes what they say of devices and holders to a history.

    snapshot: what the cluster is now. tell: hears of each new problem, and that it is over.
    """

    def __init__(
        self,
        settings: Settings,
        history: UsageHistory,
        snapshot: Callable[[], Snapshot],
        *,
        policy: Policy | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings = settings
        self._history = history
        self._snapshot = snapshot
        self._policy = policy or Policy()
        self._tell = tell
        self._collector = Collector(settings)
        self._report: Report | None = None
        self._past: Facts | None = None
        self._troubles: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step(round(time.time() * 1000))
            await asyncio.sleep(EVERY_S)

    async def step(self, now: int) -> Written:
        """Write what has become known by `now` (ms); after a pause, piece by piece, what was missed."""
        written = Written()
        end = now - LAG_MS
        known = await asyncio.to_thread(self._known, now)
        try:
            start = max(await asyncio.to_thread(self._history.until), end - MOST_BEHIND_MS)
            if not self._settings.prometheus:
                # Exporters know nothing but now.
                start = max(start, now - PIECE_MS)
                end = now
            while start < end:
                until = min(start + PIECE_MS, end)
                done = await self._piece(known, start - OVERLAP_MS, until)
                if done is None:
                    break
                written.new += done.new
                written.late += done.late
                written.repeated += done.repeated
                start = until
        except HistoryError as error:
            self._trouble({str(error)})
        return written

    def _known(self, now: int) -> Facts:
        """What the cluster is, with who held devices a while ago and whom pods worked for."""
        report = Report.of(self._snapshot(), Plan(), self._policy, previous=self._report)
        self._report = report
        known = facts(report, team_labels=self._settings.team_labels)
        self._past = with_past(known, self._past, now, now - PIECE_MS)
        return self._past

    async def _piece(self, known: Facts, start: int, end: int) -> Written | None:
        collected = await self._collector.collect(start, end)
        self._trouble({str(problem) for problem in collected.problems})
        if collected.problems and not collected.readings:
            # What could not be read now is read again, from where the history ends.
            return None

        def write() -> Written:
            usage = joined_usage(collected.readings, known.devices, known.tenures, known.owners)
            return self._history.write(kept(usage), end)

        return await asyncio.to_thread(write)

    def _trouble(self, now: set[str]) -> None:
        for text in sorted(now - self._troubles):
            self._tell(text)
        for text in sorted(self._troubles - now):
            self._tell(f"over: {text}")
        self._troubles = now
