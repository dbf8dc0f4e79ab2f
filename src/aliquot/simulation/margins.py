"""The range for a start, from the simulated futures and from what became of what was foretold before.

How wrong a forecast was is the logarithm of the ratio of the wait to the middle of its futures, in units of
their spread: a wait of ten hours is foretold no more exactly, in proportion, than one of ten minutes, and one
on which the futures agree better than one on which they do not. From such errors follows how likely every
start is now (a conformal predictive distribution: Vovk, Shen, Manokhin and Xie, Machine Learning 108, 2019;
scaled errors: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, JASA 113, 2018), and the range is the shortest
in seconds that is likely enough (Hyndman, American Statistician 50, 1996). It is much shorter than one that
leaves out as much on either side, for waits are skewed: of a wait that ends by an exponential law with a mean
of one, 80 % lie between 0 and 1.61, and between 0.11 and 2.30.

What was foretold lately counts more, so that ranges follow when a cluster comes to be used in another way,
and so does what was foretold for waits about as long. What is still waiting counts as being off by no less
than it is by now (`lasting`), or else the short waits, of which the end is known first, would make ranges too
short whenever waits grow.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import msgspec

SLACK = 300
"""Seconds that are added to both sides of a ratio: what starts at once is no infinite error."""

LEAST_SPREAD = 0.2
"""Futures that agree are wrong all the same: its square is added to that of their spread."""

UNKNOWN_SPREAD = 1.0
"""And that of this, as far as futures do not tell the start: by then anything may have happened."""

_ASSUMED = NormalDist(-0.2, 1.5)
PRIOR = tuple(_ASSUMED.inv_cdf((place + 0.5) / 40) for place in range(40))
"""Errors that count as if they had been seen. Futures agree too much, for all of them are drawn from the same
few run times of the past, and tell starts somewhat too late, for what nobody has seen the end of yet is given
long run times."""

LEVELS = 2
"""Waits are told apart in so many steps to a factor of e."""

_LONGEST = 40.0
"""Logarithm of seconds that no wait exceeds."""


class Middle(msgspec.Struct, frozen=True):
    """What the futures say of a start. level: logarithm of seconds (with `SLACK`) from when it was foretold,
    the median; spread: of these logarithms, as a standard deviation."""

    level: float
    spread: float

    @property
    def seconds(self) -> int:
        """The median, in seconds."""
        return max(0, round(math.exp(min(self.level, _LONGEST))) - SLACK)


class Foretold(msgspec.Struct, frozen=True):
    """What was foretold earlier, and what has come of it.

    age: seconds since then. middle: of the futures then. waited: seconds from then until the start, or until
    now where it has not `started`.
    """

    age: int
    middle: Middle
    waited: int
    started: bool


class MarginRules(msgspec.Struct, frozen=True):
    """How errors are counted.

    part: which part of the starts a range is to hold: somewhat more than is promised (four in five), for on
    some clusters fewer are held than on most. half_life: after so many seconds what was foretold
    counts half. alike: what was foretold for waits that many times e longer or shorter counts 1/e. together:
    forecasts of one moment are right or wrong together, so that n of them count as n to the power of 1 less
    this. prior: as how many forecasts the prior counts.
    """

    part: float = 0.85
    half_life: int = 21_600
    alike: float = 1.0
    together: float = 0.8
    prior: float = 12.0


class _Seen(NamedTuple):
    """An error that was seen. known: whether the wait was over, and the error is not only no less than this.
    level: of what was foretold."""

    value: float
    known: bool
    weight: float
    level: float


class Margins:
    """How wrong forecasts are, by what became of those before."""

    def __init__(self, before: Iterable[Foretold] = (), rules: MarginRules | None = None) -> None:
        self._rules = rules or MarginRules()
        found = list(before)
        together = Counter(item.age for item in found)
        self._seen = [
            _Seen(
                (_log(item.waited) - item.middle.level) / item.middle.spread,
                item.started,
                math.pow(0.5, item.age / self._rules.half_life)
                * math.pow(together[item.age], -self._rules.together),
                item.middle.level,
            )
            for item in found
        ]
        self._by_level: dict[int, Sequence[tuple[float, float]]] = {}

    def range(self, middle: Middle) -> tuple[int, int | None]:
        """The shortest range of seconds that holds a start as often as is asked; None: it has no end."""
        level = round(middle.level * LEVELS)
        errors = self._by_level.get(level)
        if errors is None:
            errors = self._by_level[level] = self._errors(level / LEVELS)
        ends = [
            max(0.0, math.exp(min(middle.level + middle.spread * error, _LONGEST)) - SLACK)
            for error, _ in errors
        ]
        shortest: tuple[float, float] | None = None
        last, held = 0, 0.0
        for first, (_, part) in enumerate(errors):
            while last < len(errors) and held < self._rules.part - 1e-9:
                held += errors[last][1]
                last += 1
            if held < self._rules.part - 1e-9:
                break
            if shortest is None or ends[last - 1] - ends[first] < shortest[1] - shortest[0]:
                shortest = ends[first], ends[last - 1]
            held -= part
        if shortest is None:
            # So much is overdue that no known error is enough.
            return math.floor(ends[0]), None
        return math.floor(shortest[0]), math.ceil(shortest[1])

    def _errors(self, level: float) -> list[tuple[float, float]]:
        """Errors in ascending order and how likely each is, by the product-limit estimate. What is likely to
        be more than the largest that is known is left out."""
        rules = self._rules
        seen = [
            (item.value, item.known, item.weight * math.exp(-abs(item.level - level) / rules.alike))
            for item in self._seen
        ]
        seen += [(value, True, rules.prior / len(PRIOR)) for value in PRIOR]
        seen.sort(key=lambda item: (item[0], not item[1]))
        at_risk = math.fsum(weight for _, _, weight in seen)
        left = 1.0
        found = []
        for value, known, weight in seen:
            if known:
                part = left * min(1.0, weight / at_risk)
                found.append((value, part))
                left -= part
            at_risk = max(at_risk - weight, 1e-12)
        return found


def middle_of(starts: Sequence[int | None], ahead: int) -> Middle:
    """What the futures say. starts: seconds in each, None where it does not start within `ahead` seconds; it
    is taken to start after twice as long."""
    levels = sorted(_log(2 * ahead if value is None else value) for value in starts)
    between = (quantile(levels, 0.8) - quantile(levels, 0.2)) / _BETWEEN
    unknown = sum(value is None for value in starts) / len(starts)
    return Middle(quantile(levels, 0.5), math.hypot(between, LEAST_SPREAD, unknown * UNKNOWN_SPREAD))


_BETWEEN = NormalDist().inv_cdf(0.8) - NormalDist().inv_cdf(0.2)
"""Standard deviations between these two quantiles."""


def _log(seconds: int) -> float:
    return math.log(seconds + SLACK)


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value below which so large a part of the ascending ones lies, between two of them if need be.

    >>> # quantile([10, 20, 30], 0.25) == 15
    """
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
