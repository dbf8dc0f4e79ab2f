"""Prometheus and what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics).

Samples are asked for as they were scraped, by range selectors (`metric[1h]` at a moment), because a range
query gives what was known at each step: it repeats a value for up to five minutes after its exporter has
gone. Over long times averages and maxima are asked for by range queries, in pieces of at most as many points
as a server gives for a series (11,000). A piece that is too much for the server is asked for again in halves.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

import msgspec

from aliquot.telemetry.endpoint import Endpoint, Source
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.raw import RawSeries
from aliquot.telemetry.vocabulary import Vocabulary

MOST_POINTS = 11_000
"""The points of one series that a range query may have (Prometheus web/api/v1)."""
PIECE_MS = 3_600_000
SMALLEST_PIECE_MS = 30_000
MOST_SERIES = 2_000_000
MOST_SAMPLES = 100_000_000
NAMES_AT_ONCE = 12
"""Names in one query; more would make answers large."""


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[_Series] = []


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data = msgspec.field(default_factory=_Data)
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []


class _Names(msgspec.Struct, rename="camel"):
    status: str
    data: list[str] = []
    error: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)
_NAMES = msgspec.json.Decoder(_Names)


class Prometheus:
    """A Prometheus server. Use as `async with`. `warnings` collects what it said besides its answers."""

    def __init__(self, endpoint: Endpoint, *, matchers: str = "", timeout_s: float = 60.0) -> None:
        """matchers: label matchers that every series has to meet, such as `cluster="a",env!="test"`."""
        self._source = Source(endpoint, timeout_s=timeout_s)
        self._matchers = matchers.strip().strip("{}").strip().strip(",")
        self.warnings: dict[str, None] = {}

    @property
    def name(self) -> str:
        return self._source.endpoint.name

    async def __aenter__(self) -> "Prometheus":
        await self._source.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._source.__aexit__()

    async def names(self, vocabulary: Vocabulary, start: int, end: int) -> tuple[str, ...]:
        """The names of metrics between two times (ms) that the vocabulary knows. Raises SourceError."""
        form: dict[str, str | list[str]] = {"start": _seconds(start), "end": _seconds(end)}
        if self._matchers:
            form["match[]"] = ["{" + self._matchers + "}"]
        path = "/api/v1/label/__name__/values"
        query = "&".join(
            f"{key}={_quoted(item)}"
            for key, value in form.items()
            for item in (value if isinstance(value, list) else [value])
        )
        body = await self._source.get(f"{path}?{query}", accept="application/json")
        try:
            answer = _NAMES.decode(body)
        except msgspec.MsgspecError as error:
            raise self._strange(error) from None
        if answer.status != "success":
            raise SourceError(self.name, f"refuses: {answer.error[:300]}", "check the matchers")
        return vocabulary.known(answer.data)

    async def samples(
        self, names: Sequence[str], start: int, end: int, *, piece: int = PIECE_MS
    ) -> tuple[RawSeries, ...]:
        """All samples of metrics in (start, end], ms, as they were scraped. Raises SourceError."""
        found = _Collected(self.name)
        for some in _some(names):
            await self._samples(found, some, start, end, piece)
        return found.series()

    async def _samples(
        self, found: "_Collected", names: Sequence[str], start: int, end: int, piece: int
    ) -> None:
        low = start
        while low < end:
            high = min(low + piece, end)
            query = f"{self._selector(names)}[{high - low}ms]"
            try:
                answer = await self._query("/api/v1/query", {"query": query, "time": _seconds(high)})
            except SourceError as error:
                if not error.too_much or high - low <= SMALLEST_PIECE_MS:
                    raise
                piece = max((high - low) // 2, SMALLEST_PIECE_MS)
                continue
            for series in answer.data.result:
                found.add(series, low, high)
            low = high

    async def averages(
        self, names: Sequence[str], start: int, end: int, step: int, *, function: str = "avg_over_time"
    ) -> tuple[RawSeries, ...]:
        """A value for each `step` ms in (start, end]: `function` (avg_over_time, max_over_time,
        last_over_time for counters) over the samples of that step; none where there are none.

        Raises SourceError.
        """
        found = _Collected(self.name)
        for some in _some(names):
            # The functions drop the name of the metric, so that each name is asked for by itself.
            for name in some:
                low = start
                points = MOST_POINTS
                while low < end:
                    high = min(low + step * points, start + (end - start) // step * step)
                    if high <= low:
                        break
                    # Prometheus 2 counts a sample on both bounds of a range, 3 only on the upper one.
                    query = f"{function}({self._selector([name])}[{step - 1}ms])"
                    form = {
                        "query": query,
                        "start": _seconds(low + step),
                        "end": _seconds(high),
                        "step": _seconds(step),
                    }
                    try:
                        answer = await self._query("/api/v1/query_range", form)
                    except SourceError as error:
                        if not error.too_much or points < 4:
                            raise
                        points //= 2
                        continue
                    for series in answer.data.result:
                        series.metric = {"__name__": name, **series.metric}
                        found.add(series, low, high)
                    low = high
        return found.series()

    def _selector(self, names: Sequence[str]) -> str:
        matchers = f",{self._matchers}" if self._matchers else ""
        if len(names) == 1:
            return '{__name__="' + names[0] + '"' + matchers + "}"
        return '{__name__=~"' + "|".join(names) + '"' + matchers + "}"

    async def _query(self, path: str, form: dict[str, str]) -> _Answer:
        body = await self._source.post(path, form)
        try:
            answer = _ANSWER.decode(body)
        except msgspec.MsgspecError as error:
            raise self._strange(error) from None
        if answer.status != "success":
            raise SourceError(
                self.name,
                f"refuses: {answer.error[:300]}",
                "check the matchers",
                too_much="too many samples" in answer.error or answer.error_type == "timeout",
            )
        if answer.data.result_type != "matrix":
            raise SourceError(
                self.name, f"answers with a {answer.data.result_type[:40]}", "is it a Prometheus?"
            )
        for warning in answer.warnings[:20]:
            self.warnings.setdefault(warning[:300])
        return answer

    def _strange(self, error: Exception) -> SourceError:
        return SourceError(
            self.name, f"does not answer as Prometheus does: {error}", "is this the address of a Prometheus?"
        )


class _Collected:
    """Series put together from pieces of time."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._series: dict[tuple[tuple[str, str], ...], RawSeries] = {}
        self._samples = 0

    def add(self, series: _Series, low: int, high: int) -> None:
        """Add samples of (low, high]; those on the lower bound belong to the piece before."""
        labels = series.metric
        key = tuple(sorted(labels.items()))
        raw = self._series.get(key)
        if raw is None:
            if len(self._series) >= MOST_SERIES:
                raise SourceError(self._source, f"has more than {MOST_SERIES} series", "give matchers")
            origin = f"{labels.get('job', '')}/{labels.get('instance', '')}"
            own = {name: value for name, value in labels.items() if name != "__name__"}
            raw = self._series[key] = RawSeries(labels.get("__name__", ""), own, origin)
        self._samples += len(series.values)
        if self._samples > MOST_SAMPLES:
            raise SourceError(self._source, f"has more than {MOST_SAMPLES} samples", "ask for less time")
        for seconds, text in series.values:
            time = round(seconds * 1000)
            if low < time <= high:
                raw.times.append(time)
                raw.values.append(float(text))

    def series(self) -> tuple[RawSeries, ...]:
        return tuple(self._series.values())


def _some(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + NAMES_AT_ONCE] for start in range(0, len(names), NAMES_AT_ONCE))


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
