"""Reading all sources: one failing source takes nothing from the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aliquot.telemetry.endpoint import Endpoint, Source
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.exposition import MOST_BODY_BYTES, scrape
from aliquot.telemetry.prometheus import Prometheus
from aliquot.telemetry.raw import RawSeries, readings
from aliquot.telemetry.settings import Settings
from aliquot.telemetry.vocabulary import Vocabulary
from aliquot.usage.identity import Identity
from aliquot.usage.joining import Reading
from aliquot.usage.metrics import Metric
from aliquot.usage.sharing import UNDIVIDED

SAMPLES_MS = 8 * 3_600_000
"""A longer time is read from a Prometheus as averages over steps."""
POINTS = 720
MINUTE_MS = 60_000

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
        server = Prometheus(endpoint, matchers=self._settings.match)
        try:
            async with server:
                names = await server.names(self._vocabulary, start, end)
                if not names:
                    found.notes.append(f"{server.name} has no metrics of GPUs in this time")
                    return ()
                if end - start > SAMPLES_MS:
                    return await averaged(server, names, self._vocabulary, start, end)
                raw = await server.samples(names, start - BEFORE_MS, end)
                return tuple(_from(item, start) for item in readings(raw, self._vocabulary))
        except SourceError as error:
            found.problems.append(error)
            return ()
        finally:
            found.notes.extend(server.warnings)

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


async def averaged(
    server: Prometheus, names: Sequence[str], vocabulary: Vocabulary, start: int, end: int
) -> tuple[Reading, ...]:
    """A long time as averages over steps, so that no more than POINTS come for each series.

    Memory comes with its peaks, codes and failures as their largest, counters as they stood at each step.
    A step with any sample counts as measured throughout. What came after the last whole step comes as it was
    scraped. Raises SourceError.
    """
    step = -(-(end - start) // (POINTS * MINUTE_MS)) * MINUTE_MS
    first = start // step * step
    # Steps lie where they lay a moment ago, so that a history that is kept of them takes each once.
    kinds: dict[str, list[str]] = {}
    for name in names:
        term = vocabulary.term(name)
        if term is not None:
            kinds.setdefault(_function(term.metric), []).append(name)
    found: list[Reading] = []
    for function, some in kinds.items():
        raw = await server.averages(some, first, end // step * step, step, function=function)
        found.extend(readings(raw, vocabulary, step=step))
    peaks = [name for name in names if _metric(vocabulary, name) is Metric.MEMORY_USED]
    raw = await server.averages(peaks, first, end // step * step, step, function="max_over_time")
    most = {_key(item): item for item in readings(raw, vocabulary, step=step)}
    last = readings(await server.samples(names, end // step * step, end), vocabulary, step=step)
    return (*(_with_peaks(item, most.get(_key(item))) for item in found), *last)


def _function(metric: Metric) -> str:
    if metric.amount:
        return "last_over_time"
    return "max_over_time" if metric in UNDIVIDED else "avg_over_time"


def _metric(vocabulary: Vocabulary, name: str) -> Metric | None:
    term = vocabulary.term(name)
    return term.metric if term is not None else None


def _key(reading: Reading) -> tuple[Metric, Identity, str]:
    return (reading.metric, reading.identity, reading.origin)


def _with_peaks(reading: Reading, most: Reading | None) -> Reading:
    if most is None or most is reading or not np.array_equal(most.times, reading.times):
        return reading
    return replace(reading, maxima=most.values)


def _from(reading: Reading, start: int) -> Reading:
    """A level is wanted from `start` on, a counter also once before."""
    if reading.metric.amount:
        return reading
    first = int(np.searchsorted(reading.times, start, side="right"))
    return replace(reading, times=reading.times[first:], values=reading.values[first:])
