"""Samples of one metric of one device, part of a device, or workload, in columns of integers.

A sample stands for a stretch of time that ends when it was taken: exporters report what was since they last
looked. Stretches never overlap; time that no sample stands for is a gap, in which the value is unknown (not
0). With times 60 s apart, spans of 60 s, and a sample missing:

    times    60_000   120_000           240_000   (ms)
    spans    60_000    60_000            60_000
    values      300       500               100
    covers  (0-60]   (60-120]   gap    (180-240]
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from aliquot.model.meta import ObjectRef
from aliquot.usage.metrics import WHOLE_PPM, Metric, Unit
from aliquot.usage.provenance import Known, Provenance

Column = npt.NDArray[np.int64]
"""A column of samples: 64-bit integers, read-only inside a Series."""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What is measured: a device by its place in the inventory, or a part of it.

    node: where it is. driver, pool, device: the key of its board (`inventory.layout.Board.key`). part: the
    name of the published part (`inventory.layout.Part.name`), "" for the whole board. All are "" where only
    the owner is known (what a model server says of itself).
    """

    node: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    part: str = ""

    @property
    def board(self) -> tuple[str, str, str]:
        return (self.driver, self.pool, self.device)

    @property
    def whole(self) -> "Subject":
        """The board that this is a part of."""
        return replace(self, part="")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a device or part while it is measured; whatever is not known is None or ""."""

    queue: str = ""
    workload: ObjectRef | None = None
    pod: ObjectRef | None = None
    claim: ObjectRef | None = None
    container: str = ""

    @property
    def namespace(self) -> str:
        return next((ref.namespace for ref in (self.pod, self.claim, self.workload) if ref is not None), "")


NOBODY = Owner()
"""The owner of what is not held, or of which it is not known who holds it."""


def column(values: Iterable[int]) -> Column:
    """A read-only column. Raises OverflowError for what 64 bits cannot hold."""
    made: Column = np.array(values if isinstance(values, np.ndarray) else tuple(values), dtype=np.int64)
    made.flags.writeable = False
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Samples of one metric in the order of time, all of one subject with one owner.

    times: when each sample ends, ms since 1970 (UTC), strictly rising. spans: how long each stands for, ms,
    at least 1 and never reaching back beyond the sample before. values: in `unit`; of a level the average
    over the span, of an amount (`metric.amount`: energy, tokens) what came about in it. maxima: the largest
    value seen within the span; the same as values unless samples were rolled up (None: the same).

    provenance, rule: how all of the values came about, as in `Known`. share: how much of the board the owner
    held meanwhile (of a series without owner: how much of the board the subject is).
    """

    metric: Metric
    subject: Subject
    times: Column
    spans: Column
    values: Column
    maxima: Column | None = None
    owner: Owner = NOBODY
    provenance: Provenance = Provenance.MEASURED
    rule: str = ""
    share: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        columns = [self.times, self.spans, self.values] + ([] if self.maxima is None else [self.maxima])
        for one in columns:
            if one.dtype != np.int64 or one.ndim != 1 or len(one) != len(self.times):
                raise ValueError("the columns of a series are 64-bit integers, all of one length")
            one.flags.writeable = False
        if len(self.times) and int(self.spans.min()) < 1:
            raise ValueError("a sample stands for at least a millisecond")
        if len(self.times) > 1 and bool((np.diff(self.times) < self.spans[1:]).any()):
            raise ValueError("samples overlap, or are not in the order of time")

    @staticmethod
    def of(
        metric: Metric,
        subject: Subject,
        samples: Iterable[tuple[int, int, int]],
        owner: Owner = NOBODY,
        provenance: Provenance = Provenance.MEASURED,
        rule: str = "",
    ) -> "Series":
        """A series from (time, span, value) tuples in the order of time."""
        rows = tuple(samples)
        return Series(
            metric,
            subject,
            column(row[0] for row in rows),
            column(row[1] for row in rows),
            column(row[2] for row in rows),
            owner=owner,
            provenance=provenance,
            rule=rule,
        )

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(time, span, value) of each sample."""
        return zip(self.times.tolist(), self.spans.tolist(), self.values.tolist(), strict=True)

    @property
    def unit(self) -> Unit:
        return self.metric.unit

    @property
    def start(self) -> int:
        """Where the first sample's span begins, ms; 0 without samples."""
        return int(self.times[0] - self.spans[0]) if len(self) else 0

    @property
    def end(self) -> int:
        """When the last sample ends, ms; 0 without samples."""
        return int(self.times[-1]) if len(self) else 0

    @property
    def covered(self) -> int:
        """The milliseconds that samples stand for; `end - start - covered` is the time of the gaps."""
        return int(self.spans.sum())

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Stretches between samples that none stands for, as (start, end) in ms."""
        starts = self.times - self.spans
        places = np.flatnonzero(starts[1:] > self.times[:-1]).tolist()
        return tuple((int(self.times[place]), int(starts[place + 1])) for place in places)

    def total(self) -> int:
        """Of an amount: the sum of the values (millijoules). Of a level: its integral, value x ms. Exact."""
        if self.metric.amount:
            return _sum(self.values)
        return exact_dot(self.values, self.spans)

    def mean(self) -> Known[int]:
        """The average over the time covered (of an amount per second), to nearest; unknown if empty."""
        covered = self.covered
        if not covered:
            return Known.unknown("no samples")
        total = self.total() * 1000 if self.metric.amount else self.total()
        return Known((2 * total + covered) // (2 * covered), self.provenance, self.rule)

    def maximum(self) -> Known[int]:
        """The largest value seen; unknown without samples."""
        if not len(self):
            return Known.unknown("no samples")
        most = self.values if self.maxima is None else self.maxima
        return Known(int(most.max()), self.provenance, self.rule)

    def percentile(self, ppm: int) -> Known[int]:
        """The smallest value that was not exceeded during `ppm` of the time covered: 950_000 is the p95.

        Weighted by time, so that samples taken at falling resolution count for as long as they stand for.
        """
        if not len(self):
            return Known.unknown("no samples")
        order = np.argsort(self.values, kind="stable")
        reached = np.cumsum(self.spans[order])
        wanted = -(-self.covered * ppm // WHOLE_PPM)
        place = min(int(np.searchsorted(reached, wanted)), len(self) - 1)
        return Known(int(self.values[order[place]]), self.provenance, self.rule)

    def time_above(self, value: int) -> int:
        """The milliseconds in which the value was greater than `value`."""
        return int(self.spans[self.values > value].sum())

    def last_above(self, value: int) -> int | None:
        """When it was last greater than `value`, ms; None if it never was. The end of that sample.

        By the largest value within each sample: a burst does not go unseen because it was rolled up with an
        hour of rest.
        """
        found = np.flatnonzero((self.values if self.maxima is None else self.maxima) > value)
        return int(self.times[found[-1]]) if len(found) else None

    def between(self, start: int, end: int) -> "Series":
        """What lies in [start, end) ms; samples across a bound are cut to it.

        A level keeps its value; an amount is divided in proportion to time, rounded down at one side so that
        the two sides of a cut add up: 10 mJ over 3 s cut after 1 s are 3 mJ and 7 mJ.
        """
        if start <= self.start and self.end <= end:
            return self
        first = int(np.searchsorted(self.times, start, side="right"))
        last = int(np.searchsorted(self.times - self.spans, end, side="left"))
        if first >= last:
            return self._cut(slice(0, 0))
        found = self._cut(slice(first, last))
        times, spans, values = found.times.copy(), found.spans.copy(), found.values.copy()
        for place in {0, len(times) - 1}:
            begin, stop = int(times[place] - spans[place]), int(times[place])
            low, high = max(begin, start), min(stop, end)
            if self.metric.amount:
                whole, span = int(values[place]), stop - begin
                values[place] = whole * (high - begin) // span - whole * (low - begin) // span
            times[place], spans[place] = high, high - low
        return replace(found, times=times, spans=spans, values=values)

    def _cut(self, part: slice) -> "Series":
        most = None if self.maxima is None else self.maxima[part]
        return replace(
            self, times=self.times[part], spans=self.spans[part], values=self.values[part], maxima=most
        )

    def same(self, other: "Series") -> bool:
        """Whether two series say the same."""
        most = [item.values if item.maxima is None else item.maxima for item in (self, other)]
        return (
            (self.metric, self.subject, self.owner, self.provenance, self.rule, self.share)
            == (other.metric, other.subject, other.owner, other.provenance, other.rule, other.share)
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.spans, other.spans)
            and np.array_equal(self.values, other.values)
            and np.array_equal(most[0], most[1])
        )


_LOW_BITS = 20
_BLOCK = 1 << 17


def exact_dot(values: Column, weights: Column) -> int:
    """The sum of products as an exact integer, where 64 bits would overflow.

    Values are split at 2^20: with weights below 2^25 ms (9 hours) and blocks of 2^17 samples every partial
    sum stays below 2^63. Larger figures are multiplied one by one.
    """
    if not len(values):
        return 0
    if int(weights.max()) >= 1 << 25 or int(values.min()) < 0:
        return sum(int(a) * int(b) for a, b in zip(values.tolist(), weights.tolist(), strict=True))
    found = 0
    for begin in range(0, len(values), _BLOCK):
        part, weight = values[begin : begin + _BLOCK], weights[begin : begin + _BLOCK]
        high, low = part >> _LOW_BITS, part & ((1 << _LOW_BITS) - 1)
        if int(high.max()) >= 1 << _LOW_BITS:
            found += sum(int(a) * int(b) for a, b in zip(part.tolist(), weight.tolist(), strict=True))
        else:
            found += (int(np.dot(high, weight)) << _LOW_BITS) + int(np.dot(low, weight))
    return found


def _sum(values: Column) -> int:
    if len(values) and int(np.abs(values).max()) >= 1 << 40:
        return sum(values.tolist())
    return int(values.sum())


def joined(parts: Sequence[Series]) -> Series:
    """Series of one metric and subject, one after the other in time, as one; the first says whose it is.

    Raises ValueError where they overlap or there are none.
    """
    if not parts:
        raise ValueError("there are no series to join")
    if len(parts) == 1:
        return parts[0]
    most = None
    if any(part.maxima is not None for part in parts):
        most = np.concatenate([part.values if part.maxima is None else part.maxima for part in parts])
    return replace(
        parts[0],
        times=np.concatenate([part.times for part in parts]),
        spans=np.concatenate([part.spans for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        maxima=most,
    )
