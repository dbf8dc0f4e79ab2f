"""Values over time of several simulations of one policy: their median and range, in as many steps as show."""

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from aliquot.simulation.results import Result, Sample

STEPS = 180
"""A curve has at most so many points; between them is the mean."""

Value = Callable[[Sample], float]


class Curve(msgspec.Struct, frozen=True):
    """times: seconds, ascending, each the beginning of a step. middle: the median over the simulations that
    go on so long; low, high: their range; means: their means."""

    times: tuple[int, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    means: tuple[float, ...] = ()

    def mean_only(self) -> "Curve":
        """The means over the simulations, without a range: such curves add up."""
        return Curve(self.times, self.means, self.means, self.means, self.means)

    @property
    def most(self) -> float:
        return max(self.high, default=0.0)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.middle) if self.middle else 0.0


def curve(results: Sequence[Result], value: Value, steps: int = STEPS) -> Curve:
    """A value of samples over time. The simulations are noted equally often."""
    return of_values([[(item.time, value(item)) for item in result.samples] for result in results], steps)


def of_values(runs: Sequence[Sequence[tuple[int, float]]], steps: int = STEPS) -> Curve:
    """The same of (time, value) of each simulation, at the same times as far as each goes.

    With 3 values and 2 steps the first step is the mean of the first two values.
    """
    longest = max(runs, key=len, default=())
    width = max(1, -(-len(longest) // steps))
    times: list[int] = []
    middle: list[float] = []
    low: list[float] = []
    high: list[float] = []
    means: list[float] = []
    for first in range(0, len(longest), width):
        values = [
            statistics.fmean(value for _, value in part)
            for run in runs
            if (part := run[first : first + width])
        ]
        times.append(longest[first][0])
        middle.append(statistics.median(values))
        low.append(min(values))
        high.append(max(values))
        means.append(statistics.fmean(values))
    return Curve(tuple(times), tuple(middle), tuple(low), tuple(high), tuple(means))


def counted(results: Sequence[Result], times: Callable[[Result], Iterable[int]], steps: int = STEPS) -> Curve:
    """How many of the moments that `times` gives (ascending) have come, at every sample."""
    runs = []
    for result in results:
        moments = list(times(result))
        count = 0
        values: list[tuple[int, float]] = []
        for item in result.samples:
            while count < len(moments) and moments[count] <= item.time:
                count += 1
            values.append((item.time, float(count)))
        runs.append(values)
    return of_values(runs, steps)
