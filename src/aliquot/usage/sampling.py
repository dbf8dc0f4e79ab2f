"""From what an exporter said at some moments to samples that stand for stretches of time.

Readings of a level hold since the reading before, if that is not longer ago than one and a half times the
usual distance; else something is missing and the time before is a gap. Readings of a counter give what came
about since the reading before, however long ago. A counter that goes down was reset (a driver was loaded
anew, a server restarted): what it shows came about since then, as Prometheus' own `increase` has it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aliquot.usage.metrics import Metric
from aliquot.usage.series import NOBODY, Column, Owner, Series, Subject, column, joined

USUAL_STEP_MS = 60_000
"""The distance of readings that is taken for usual where a single one is all there is."""


def usual_step(times: Column) -> int:
    """The distance that readings usually have, ms: the median of the distances, the lower of two."""
    if len(times) < 2:
        return USUAL_STEP_MS
    distances = np.sort(np.diff(times))
    return max(1, int(distances[(len(distances) - 1) // 2]))


def sampled(
    metric: Metric,
    subject: Subject,
    times: Column,
    readings: Column,
    *,
    step: int = 0,
    owner: Owner = NOBODY,
    maxima: Column | None = None,
) -> Series:
    """The series of one exporter's readings: in any order, with repeats of a time (the first counts).

    readings: values of a level, or what a counter showed. step: their usual distance in ms, 0: as they lie.
    maxima: of a level, where readings are averages.
    """
    order = np.argsort(times, kind="stable")
    if len(times) > 1:
        order = order[np.concatenate(([True], np.diff(times[order]) > 0))]
    times, readings = times[order], readings[order]
    most = None if maxima is None or metric.amount else maxima[order]
    if metric.amount:
        made = _increments(times, readings)
    else:
        made = _levels(times, readings, step or usual_step(times))
    return Series(metric, subject, *made, maxima=most, owner=owner)


def _levels(times: Column, values: Column, step: int) -> tuple[Column, Column, Column]:
    if not len(times):
        return column(()), column(()), column(())
    distances = np.concatenate((np.array([step], dtype=np.int64), np.diff(times)))
    spans = np.where(2 * distances > 3 * step, step, distances)
    return times, spans.astype(np.int64), values


def _increments(times: Column, counts: Column) -> tuple[Column, Column, Column]:
    if len(times) < 2:
        return column(()), column(()), column(())
    grown = np.diff(counts)
    values = np.where(grown < 0, counts[1:], grown).astype(np.int64)
    return times[1:], np.diff(times), values


def overlaid(series: Sequence[Series]) -> Series:
    """Several series that measure the same thing as one that counts every moment once.

    Two exporters on one node, or one that is scraped by two jobs, say the same twice. The series that covers
    the most time counts; the others fill its gaps, counters with whole increments only. Equal coverage: the
    first. Raises ValueError without any.
    """
    if not series:
        raise ValueError("there are no series to lay over each other")
    ordered = sorted(series, key=lambda item: -item.covered)
    found = ordered[0]
    for other in ordered[1:]:
        found = _filled(found, other)
    return found


def _whole_within(series: Series, start: int, end: int) -> Series:
    """The samples that lie in [start, end) as a whole.

    When within a stretch a counter grew is not known. If one exporter saw it grow by 2 from minute 1 to 3,
    and another by 2 from minute 2 on, taking half of the first for the minute before would make 3 of 2.
    """
    low = int(np.searchsorted(series.times - series.spans, start, side="left"))
    high = max(int(np.searchsorted(series.times, end, side="right")), low)
    return replace(
        series, times=series.times[low:high], spans=series.spans[low:high], values=series.values[low:high]
    )


def _filled(first: Series, other: Series) -> Series:
    if not len(other):
        return first
    if not len(first):
        return replace(other, owner=first.owner, subject=first.subject)
    holes = [(other.start, first.start), *first.gaps, (first.end, other.end)]
    pieces: list[Series] = []
    at = 0
    for start, end in holes:
        if start >= end:
            continue
        piece = _whole_within(other, start, end) if other.metric.amount else other.between(start, end)
        if not len(piece):
            continue
        before = int(np.searchsorted(first.times, start, side="right"))
        if before > at:
            pieces.append(first.between(int(first.times[at] - first.spans[at]), int(first.times[before - 1])))
            at = before
        pieces.append(piece)
    if not pieces:
        return first
    if at < len(first):
        pieces.append(first.between(int(first.times[at] - first.spans[at]), first.end))
    return replace(
        joined(pieces),
        subject=first.subject,
        owner=first.owner,
        provenance=first.provenance,
        rule=first.rule,
    )
