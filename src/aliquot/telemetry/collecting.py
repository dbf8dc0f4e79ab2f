"""Reading all sources: one failing source takes nothing from the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aliquot.telemetry.endpoint import Endpoint, Source
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.exposition import MOST_BODY_BYTES, scrape
from aliquot.telemetry.prometheus import Prometheus
from aliquot.telemetry.raw import RawSeries, readings
from aliquot.telemetry.settings import Settings
from aliquot.usage.joining import Reading

AT_ONCE = 32
"""Exporters that are asked at one time."""
BEFORE_MS = 300_000
"""Counters are read from so long before the window, so that its first increment is known."""


@dataclass(slots=True)
class Collected:
    """readings, and what could not be read: `problems`; `notes`: what sources said besides."""

    readings: tuple[Reading, ...] = ()
    problems: list[SourceError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Collector:
    """Reads a window of time from the sources of some settings, again and again.

    A Prometheus has the past. Of exporters that are read directly it remembers what it saw itself, for as
    long as `remember` ms.
    """

    def __init__(self, settings: Settings, *, remember: int = 3_600_000) -> None:
        self._settings = settings
        self._vocabulary = settings.vocabulary
        self._remember = remember
        self._seen: dict[tuple[str, str, tuple[tuple[str, str], ...]], RawSeries] = {}

    async def collect(self, start: int, end: int) -> Collected:
        """What the sources know of the time from `start` to `end`, ms; `end` is now."""
        found = Collected()
        parts: list[Reading] = []
        if self._settings.prometheus is not None:
            parts.extend(await self._prometheus(self._settings.prometheus, start, end, found))
        if self._settings.exporters:
            parts.extend(await self._exporters(self._settings.exporters, end, found))
        found.readings = tuple(parts)
        return found

    async def _prometheus(
        self, endpoint: Endpoint, start: int, end: int, found: Collected
    ) -> tuple[Reading, ...]:
        try:
            async with Prometheus(endpoint, matchers=self._settings.match) as server:
                names = await server.names(self._vocabulary, start, end)
                raw = await server.samples(names, start - BEFORE_MS, end) if names else ()
                found.notes.extend(server.warnings)
                if not names:
                    found.notes.append(f"{server.name} has no metrics of GPUs in this time")
        except SourceError as error:
            found.problems.append(error)
            return ()
        return tuple(_from(item, start) for item in readings(raw, self._vocabulary))

    async def _exporters(
        self, endpoints: Sequence[Endpoint], now: int, found: Collected
    ) -> tuple[Reading, ...]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(endpoint: Endpoint) -> tuple[RawSeries, ...]:
            async with limit:
                try:
                    async with Source(endpoint, timeout_s=10.0, most=MOST_BODY_BYTES) as source:
                        return await scrape(source, now, self._vocabulary)
                except SourceError as error:
                    found.problems.append(error)
                    return ()

        for answers in await asyncio.gather(*(one(endpoint) for endpoint in endpoints)):
            for item in answers:
                key = (item.origin, item.name, tuple(sorted(item.labels.items())))
                known = self._seen.setdefault(key, RawSeries(item.name, item.labels, item.origin))
                if not known.times or item.times[0] > known.times[-1]:
                    known.times.extend(item.times)
                    known.values.extend(item.values)
        for key, known in list(self._seen.items()):
            old = sum(1 for time in known.times if time < now - self._remember)
            del known.times[:old], known.values[:old]
            if not known.times:
                del self._seen[key]
        return readings(self._seen.values(), self._vocabulary)


def _from(reading: Reading, start: int) -> Reading:
    """A level is wanted from `start` on, a counter also once before."""
    if reading.metric.amount:
        return reading
    first = int(np.searchsorted(reading.times, start, side="right"))
    return Reading(
        reading.metric,
        reading.identity,
        reading.times[first:],
        reading.values[first:],
        reading.origin,
        reading.step,
    )
