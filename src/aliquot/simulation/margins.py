"""How wide a range for a start has to be: by what became of the ranges that were foretold before.

Split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; for
ranges between quantiles Romano, Patterson and Candes, NeurIPS 2019), carried along with time: what was
foretold lately counts more, so that margins follow when a cluster comes to be used in another way. Errors are
ratios, for a wait of ten hours is foretold no more exactly, in proportion, than one of ten minutes. What is
still waiting counts too, as being off by no less than it is by now (`lasting`), or else the short waits, of
which the end is known first, would make ranges too narrow whenever waits grow.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

SLACK = 300
"""Seconds that are added to both sides of a ratio: what starts at once is no infinite error."""

PRIOR: Sequence[float] = (-0.5, -0.3, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Logarithms of ratios, above 0 where the range was too narrow, that count as if they had been seen: as
long as nothing else is known, ranges are wide. Where all work says how long it runs, `TOLD` of that."""
TOLD = 0.3


class Foretold(msgspec.Struct, frozen=True):
    """A range that was foretold earlier, without margins, and what has come of it.

    age: seconds since then. first, last: seconds from then. waited: from then until the start, or until now
    where it has not `started`.
    """

    age: int
    first: int
    last: int
    waited: int
    started: bool


class MarginRules(msgspec.Struct, frozen=True):
    """early, late: which part of the starts may come before and after the range. half_life: after so many
    seconds what was foretold counts half. prior: as how many workloads the prior counts."""

    early: float = 0.1
    late: float = 0.1
    half_life: int = 21_600
    prior: float = 6.0


class Margins(msgspec.Struct, frozen=True):
    """By what the ends of a range are multiplied, the slack added to both."""

    early: float = 1.0
    late: float = 1.0

    def first(self, seconds: int) -> int:
        """The beginning of a range, in seconds, that began at so many without margins."""
        return max(0, round((seconds + SLACK) * self.early) - SLACK)

    def last(self, seconds: int) -> int:
        """The end of a range, in seconds, that ended at so many without margins."""
        return max(0, round((seconds + SLACK) * self.late) - SLACK)


def margins_of(before: Iterable[Foretold], rules: MarginRules | None = None, untold: float = 1.0) -> Margins:
    """The margins that would have made the ranges before hold as often as is asked.

    untold: which part of the work, 0 to 1, does not say how long it runs.
    Ranges of one moment are right or wrong together: they count as the square root of their number.
    """
    rules = rules or MarginRules()
    found = list(before)
    together = Counter(item.age for item in found)
    early: list[tuple[float, bool, float]] = []
    late: list[tuple[float, bool, float]] = []
    for item in found:
        weight = math.pow(0.5, item.age / rules.half_life) / math.sqrt(together[item.age])
        late.append((_ratio(item.waited, item.last), item.started, weight))
        early.append((_ratio(item.waited, item.first), item.started, weight))
    share = rules.prior / len(PRIOR)
    vague = TOLD + (1 - TOLD) * untold
    early += [(-value * vague, True, share) for value in PRIOR]
    late += [(value * vague, True, share) for value in PRIOR]
    return Margins(
        early=math.exp(_quantile(early, rules.early)), late=math.exp(_quantile(late, 1 - rules.late))
    )


def _ratio(waited: int, foretold: int) -> float:
    return math.log((waited + SLACK) / (foretold + SLACK))


def _quantile(seen: list[tuple[float, bool, float]], part: float) -> float:
    """The value below which this part lies, by the product-limit estimate: (value, whether it is the true one
    and not only less than that, weight)."""
    ordered = sorted(seen, key=lambda item: (item[0], not item[1]))
    at_risk = sum(weight for _, _, weight in ordered)
    left = 1.0
    for value, known, weight in ordered:
        if known:
            left *= 1 - weight / at_risk
            if left <= 1 - part + 1e-9:
                return value
        at_risk = max(at_risk - weight, 1e-12)
    return ordered[-1][0]
