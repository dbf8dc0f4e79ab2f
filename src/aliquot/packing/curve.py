"""The benchmark's curve: GPU allocated, in percent of the capacity, by GPU arrived."""

from collections.abc import Iterable, Mapping
from statistics import fmean

HIGHEST = 130


def allocation_curve(events: Iterable[tuple[int, int]], capacity_milli: int) -> dict[int, float]:
    """Allocated percent at every whole percent arrived, 0 to 130.

    events: after every arrival the milli-GPU that all arrivals so far asked for, and that those placed hold.
    The value at a percent is the mean over the events that round to it; where there is none, over those next
    to it.
    """
    columns: dict[int, list[float]] = {}
    for arrived, used in events:
        column = round(100 * (arrived / capacity_milli))
        columns.setdefault(column, []).append(round(100 * (used / capacity_milli), 2))
    curve = {}
    for column in range(HIGHEST + 1):
        values = columns.get(column) or columns.get(column - 1, []) + columns.get(column + 1, [])
        if values:
            curve[column] = round(fmean(values), 2)
    return curve


def mean_of(curves: Iterable[Mapping[int, float]], column: int) -> float:
    """The mean over runs of one column."""
    return round(fmean(curve[column] for curve in curves), 2)
