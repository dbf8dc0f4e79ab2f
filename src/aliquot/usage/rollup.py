"""Samples added up in buckets of equal length, so that no sum changes when the resolution falls.

A bucket keeps what can be added: the time covered, the total (of a level value x ms, of an amount the
amount), the number of samples, and the largest value. Buckets of buckets are the same as buckets of the
samples: a day of hours is exactly a day of minutes. A sample that lies in two buckets is divided between them
by time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import Column, Owner, Series, Subject, column

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Columns of buckets of `width` ms that start at multiples of it; only those with samples.

    starts: when they start, ms, rising. covered: ms with samples, at most `width`. totals, maxima, counts: as
    described above; a sample in two buckets counts in the one in which it ends.
    """

    width: int
    starts: Column
    covered: Column
    totals: Column
    maxima: Column
    counts: Column

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self) -> Iterable[tuple[int, int, int, int, int]]:
        """(start, covered, total, maximum, count) of each bucket."""
        columns = (self.starts, self.covered, self.totals, self.maxima, self.counts)
        return zip(*(one.tolist() for one in columns), strict=True)


def bucketed(series: Series, width: int) -> Buckets:
    """The samples of a series in buckets of `width` ms, at most an hour (totals are 64-bit integers)."""
    if not len(series):
        empty = column(())
        return Buckets(width, empty, empty, empty, empty, empty)
    begins = series.times - series.spans
    pieces = (series.times - 1) // width - begins // width + 1
    rows = np.repeat(np.arange(len(series)), pieces)
    firsts = np.cumsum(pieces) - pieces
    numbers = np.arange(len(rows)) - np.repeat(firsts, pieces)
    starts = (begins[rows] // width + numbers) * width
    low = np.maximum(begins[rows], starts)
    high = np.minimum(series.times[rows], starts + width)
    values = series.values[rows]
    if series.metric.amount:
        spans, begun = series.spans[rows], begins[rows]
        totals = values * (high - begun) // spans - values * (low - begun) // spans
    else:
        totals = values * (high - low)
    most = (series.values if series.maxima is None else series.maxima)[rows]
    ends = (high == series.times[rows]).astype(np.int64)
    return _grouped(width, starts, high - low, totals, most, ends)


def coarser(buckets: Buckets, width: int) -> Buckets:
    """The same in wider buckets; `width` is a multiple of theirs. Raises ValueError."""
    if width % buckets.width:
        raise ValueError(f"buckets of {buckets.width} ms cannot be put into buckets of {width} ms")
    starts = buckets.starts // width * width
    return _grouped(width, starts, buckets.covered, buckets.totals, buckets.maxima, buckets.counts)


def _grouped(
    width: int, starts: Column, covered: Column, totals: Column, maxima: Column, counts: Column
) -> Buckets:
    if not len(starts):
        return Buckets(width, starts, covered, totals, maxima, counts)
    heads = np.flatnonzero(np.concatenate(([True], np.diff(starts) > 0)))
    return Buckets(
        width,
        starts[heads],
        np.add.reduceat(covered, heads),
        np.add.reduceat(totals, heads),
        np.maximum.reduceat(maxima, heads),
        np.add.reduceat(counts, heads),
    )


def series_of(
    buckets: Buckets, metric: Metric, subject: Subject, owner: Owner, provenance: Provenance, rule: str
) -> Series:
    """Buckets as a series: a sample for each, of the average (an amount: of the sum) and the largest value.

    Where in its bucket the covered time lies is not kept; it is put at the end.
    """
    if metric.amount:
        values = buckets.totals
    else:
        twice = 2 * np.maximum(buckets.covered, 1)
        values = (2 * buckets.totals + buckets.covered) // twice
    return Series(
        metric,
        subject,
        buckets.starts + buckets.width,
        buckets.covered,
        values,
        buckets.maxima,
        owner,
        provenance,
        rule,
    )
