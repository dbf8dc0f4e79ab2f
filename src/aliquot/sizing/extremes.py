"""How high a level may yet go, judged by how high it went: return levels of memory.

The largest value of each hour is taken, and a Gumbel distribution is fitted to these by its moments (block
maxima; Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, chapter 3). Its level for a
risk of 1/1000 is one that an hour exceeds with a probability of 1/1000. Few hours tell little of how
much they vary, so the standard deviation is taken at the upper end of its 95 % confidence interval (the
chi-square distribution, by Wilson and Hilferty's approximation). With hourly maxima of 30, 31 and 32 GiB

    mean 31, standard deviation 1, of three hours at most 5.0
    scale = 5.0 x sqrt(6) / pi = 3.9, location = 31 - 0.577 x 3.9 = 28.7
    level for 1/1000 = 28.7 + 6.9 x 3.9 = 55.8 GiB

while of 24 such hours the standard deviation would be 1.3 at most, and the level 37.5 GiB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aliquot.usage.series import Series

HOUR_MS = 3_600_000

_EULER = 0.577_215_664_901_532_9
_Z_95 = 1.644_853_626_951_472_7
LEAST_FILLED = 0.5
"""An hour counts when samples stand for at least this part of it."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """The distribution of hourly maxima. location, scale: of the Gumbel distribution, in the unit of the
    series; scale is 0 where all hours had the same maximum. blocks: how many hours; peak: the largest value
    seen in any."""

    location: float
    scale: float
    blocks: int
    peak: int

    def level(self, risk: float) -> float:
        """The level that an hour exceeds with this probability (above 0, below 1)."""
        return self.location - self.scale * math.log(-math.log1p(-risk))

    def risk(self, level: float) -> float:
        """The probability that an hour exceeds this level."""
        if self.scale == 0:
            return 0.0 if level >= self.location else 1.0
        return -math.expm1(-math.exp(min(700.0, -(level - self.location) / self.scale)))


def extremes(series: Series, block_ms: int = HOUR_MS) -> Extremes | None:
    """The distribution of the maxima of blocks; None with less than three blocks that have samples enough.

    Blocks are counted from the first sample; a sample belongs to the block that it ends in.
    """
    return of_maxima(block_maxima(series, block_ms))


def of_maxima(maxima: Sequence[int]) -> Extremes | None:
    """The distribution that these maxima of blocks are taken to be from; None for less than three."""
    if len(maxima) < 3:
        return None
    values = np.array(maxima, dtype=np.float64)
    deviation = float(values.std(ddof=1)) * _upper_factor(len(maxima) - 1)
    scale = deviation * math.sqrt(6) / math.pi
    return Extremes(float(values.mean()) - _EULER * scale, scale, len(maxima), max(maxima))


def block_maxima(series: Series, block_ms: int = HOUR_MS) -> list[int]:
    """The largest value of each block that samples stand for at least half of."""
    if not len(series):
        return []
    numbers = (series.times - series.start - 1) // block_ms
    most = series.values if series.maxima is None else series.maxima
    places = np.flatnonzero(np.diff(numbers, prepend=-1))
    highest = np.maximum.reduceat(most, places)
    filled = np.add.reduceat(series.spans, places)
    return [int(value) for value, time in zip(highest, filled) if time >= LEAST_FILLED * block_ms]


def _upper_factor(freedom: int) -> float:
    """By how much a standard deviation may be larger than it came out, with a confidence of 95 %.

    freedom: degrees of freedom. 11 (twelve hours): 1.55; 23: 1.33; 335 (two weeks): 1.07.
    """
    rest = 2 / (9 * freedom)
    quantile = freedom * (1 - rest - _Z_95 * math.sqrt(rest)) ** 3
    return math.sqrt(freedom / quantile) if quantile > 0 else math.inf
