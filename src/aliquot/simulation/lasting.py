"""How long things last, from some that have ended and some of which is only known that they last longer.

The product-limit estimate (Kaplan and Meier, JASA 53, 1958): what has not ended yet counts as at risk up to
now, so that long ones are not overlooked just because none of them has ended. Where few of a kind have lasted
so long, what is known of more kinds counts too; and past everything seen, what has lasted is taken to go on
by a power law (Hill, Annals of Statistics 3, 1975), by which run times are spread far more nearly than by an
exponential: what has gone on for ten hours, and ten times as long as others, will as likely as not go on for
ten more.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable


class Spread:
    """How long things of a kind last.

    ended, going: what they lasted, and what those that go on have lasted so far. wider: what is known of more
    kinds, and, without that, the power law past the shortest quarter, count as `share` things of this kind.

    >>> # ended after 10 and 30, one still there after 20: of three a third is gone at 10, the rest at 30
    """

    FURTHEST = 10
    """Nothing is taken to last longer than so many times the longest that was seen."""
    HALVINGS = 36

    def __init__(
        self,
        ended: Iterable[float],
        going: Iterable[float] = (),
        wider: "Spread | None" = None,
        share: float = 5.0,
    ) -> None:
        over = sorted(ended)
        times = sorted([(value, True) for value in over] + [(value, False) for value in going])
        self.ended = len(over)
        self._wider = wider
        self._share = share
        self._values = [value for value, _ in times]
        self._steps: list[float] = []
        self._lefts = [1.0]
        for place, (value, is_over) in enumerate(times):
            if is_over:
                self._steps.append(value)
                self._lefts.append(self._lefts[-1] * (1 - 1 / (len(times) - place)))
        self._longest = self._values[-1] if times else 0.0
        # Below this, enough is known of what ends when; past it the power law has a say.
        self._short = over[len(over) // 4] if over else 0.0
        self._power = _power(over, self._values)

    def left(self, value: float, after: float) -> float:
        """Which part of what has lasted `after` lasts longer than `value`, which is more."""
        count = len(self._values) - bisect_right(self._values, after)
        share, others = 0.0, 0.0
        if self._wider is not None:
            share, others = self._share, self._wider.left(value, after)
        elif after >= self._short and after > 0:
            share, others = self._share, (after / value) ** self._power
        if not count:
            return others
        before = self._lefts[bisect_right(self._steps, after)]
        found = self._lefts[bisect_right(self._steps, value)] / before
        if value > self._longest > 0:
            found *= (self._longest / value) ** self._power
        return (count * found + share * others) / (count + share)

    def at(self, after: float, point: float) -> float:
        """How long one lasts in all that has lasted `after`, at a point from 0 (short) to below 1 (long)."""
        least, most = after, self.FURTHEST * max(self._reach(), after)
        # At the beginning of all, something has to be over before anything can end.
        wanted = 1 - max(point, 1e-9)
        if not most or self.left(most, after) > wanted:
            return most
        # The shortest of which no more than the wanted part is left, found by halving on a scale of ratios.
        offset = max(after, 1e-3)
        for _ in range(self.HALVINGS):
            middle = math.sqrt((least + offset) * (most + offset)) - offset
            if self.left(middle, after) <= wanted:
                most = middle
            else:
                least = middle
        return most

    def _reach(self) -> float:
        """The longest that was seen, of this kind or of others."""
        return max(self._longest, self._wider._reach() if self._wider is not None else 0.0)


def _power(ended: list[float], values: list[float]) -> float:
    """The exponent of the power law for the longer half, 1 at least: below that there is no mean.

    As if one more had ended at e times where that half begins.
    """
    if not ended:
        return 1.0
    begin = ended[len(ended) // 2]
    over = sum(1 for value in ended if value > begin)
    lasted = sum(math.log(value / begin) for value in values if value > begin > 0)
    return max(1.0, (over + 1) / (lasted + 1))
