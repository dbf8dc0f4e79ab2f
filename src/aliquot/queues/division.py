"""Dividing one resource among sibling queues.

First everybody gets what it asks for within its quota. What is over goes to the queues that want more: by
falling priority, within a priority in proportion to weights, lowered for those who used more in the past
than their part; in rounds, because a queue that wants less than its part leaves the rest to the others.

Exact: integers throughout, Fractions only where amounts are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from aliquot.queues.amounts import UNIT, Amount, exact
from aliquot.queues.tree import NO_BOUND, Bound, finite


class Claimant(NamedTuple):
    """A queue as the division sees it, with its terms for the resource. Amounts in billionths.

    requested: what it holds and waits for. usage: past use as a part of all there was to use, in billionths.
    age: a rank, 0 the oldest; no two siblings have the same.
    """

    quota: Bound
    limit: Bound
    weight: Amount
    priority: int
    requested: Amount
    usage: int = 0
    age: int = 0

    @property
    def requestable(self) -> Amount:
        """What it may ask for: never beyond its limit."""
        return at_most(self.requested, self.limit)


class Part(NamedTuple):
    """What a queue got of what was over in one round.

    over: what there was to deal out. numerator, denominator: the queue's part of it. given: what it got.
    rest: the round deals out what rounding down left.
    """

    over: Amount
    numerator: Amount
    denominator: Amount
    given: Amount
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Division:
    """What each claimant gets, in their order. guaranteed: within quota. parts: of what was over. left: what
    nobody could be given."""

    guaranteed: tuple[Amount, ...]
    shares: tuple[Amount, ...]
    parts: tuple[tuple[Part, ...], ...]
    left: Amount


def at_most(amount: Amount, bound: Bound) -> Amount:
    """The smaller of the two."""
    return amount if amount <= bound else finite(bound)


def divide(
    total: Amount,
    claimants: Sequence[Claimant],
    step: int = 1,
    usage_weight: Fraction = Fraction(0),
    whole_rests: bool = False,
    held: Sequence[Amount] | None = None,
) -> Division:
    """Divide `total` among siblings.

    Of 5 GPUs among a (quota 2, wants 4) and b (quota 1, wants 4, both of weight 1), a gets 2 and b 1; of the
    2 over each gets 1. With the weights 3 and 1 a's part of the 2 over is 1.5 and b's 0.5; in whole GPUs a
    gets 1 at first, and the rest goes to the largest remainder, here the same for both, so to the older.

    step, whole_rests, usage_weight: see ShareRules. held: shares given already, instead of the quotas.
    The shares of claimants whose quotas together exceed the total exceed it, too: quotas are promises.
    """
    wanted = [claimant.requestable for claimant in claimants]
    if held is None:
        shares = [at_most(want, total if claimant.quota == NO_BOUND else claimant.quota)
                  for want, claimant in zip(wanted, claimants)]  # fmt: skip
        over = total - sum(shares)
    else:
        shares = list(held)
        over = total
    guaranteed = tuple(shares)
    parts: list[list[Part]] = [[] for _ in claimants]
    over = max(over, 0)
    if over > 0:
        surplus = _Surplus(claimants, wanted, shares, parts, step, usage_weight, whole_rests)
        over = surplus.deal(over)
    return Division(guaranteed, tuple(map(exact, shares)), tuple(map(tuple, parts)), exact(over))


class _Surplus:
    """Deals out what is over; `shares` and `parts` are changed in place."""

    def __init__(
        self,
        claimants: Sequence[Claimant],
        wanted: Sequence[Amount],
        shares: list[Amount],
        parts: list[list[Part]],
        step: int,
        usage_weight: Fraction,
        whole_rests: bool,
    ) -> None:
        self.claimants = claimants
        self.wanted = wanted
        self.shares = shares
        self.parts = parts
        self.step = step
        self.usage_weight = usage_weight
        self.whole_rests = whole_rests

    def deal(self, over: Amount) -> Amount:
        """Deal out; gives what nobody could be given."""
        by_priority: dict[int, list[int]] = {}
        for number, claimant in enumerate(self.claimants):
            if self.shares[number] < self.wanted[number] and claimant.weight:
                by_priority.setdefault(claimant.priority, []).append(number)
        priorities = sorted(by_priority, reverse=True)
        remainders: dict[int, dict[int, Fraction]] = {}
        for priority in priorities:
            over, remainders[priority] = self._rounds(by_priority[priority], over)
        for priority in priorities:
            over = self._rests(remainders[priority], over)
        return over

    def _rounds(self, numbers: list[int], over: Amount) -> tuple[Amount, dict[int, Fraction]]:
        """Rounds among queues of one priority, until nobody leaves anything of its part to others.

        Gives what is left, and of each queue that got less than its part what rounding down took from it.
        """
        remainders: dict[int, Fraction] = {}
        again = True
        while again and over > 0:
            again = False
            numbers = [number for number in numbers if self.shares[number] < self.wanted[number]]
            weights, whole = self._weights(numbers)
            if not whole:
                break
            dealt = over
            for number, weight in zip(numbers, weights):
                # part = dealt * weight / whole; compared without dividing.
                missing = self.wanted[number] - self.shares[number]
                if missing * whole <= dealt * weight:
                    given = missing
                    remainders.pop(number, None)
                    again = again or missing * whole < dealt * weight
                else:
                    given = dealt * weight // (whole * self.step) * self.step
                    if given * whole < dealt * weight:
                        remainders[number] = Fraction(dealt * weight, whole) - given
                if given:
                    self.shares[number] += given
                    self.parts[number].append(Part(dealt, weight, whole, given))
                    over -= given
        return over, remainders

    def _weights(self, numbers: Sequence[int]) -> tuple[list[Amount], Amount]:
        """The weights of queues, lowered by past use, and their sum.

        With n = weight / sum of weights and the past use u, w = max(0, n + k * (n - u)); here multiplied by
        the sum of weights, the denominator of k and UNIT to stay with integers.
        """
        claimants = self.claimants
        base = [claimants[number].weight for number in numbers]
        total = sum(base)
        if not total:
            return [], 0
        k = self.usage_weight
        if k and any(claimants[number].usage for number in numbers):
            own, past = (k.numerator + k.denominator) * UNIT, k.numerator * total
            base = [
                max(0, (weight * own - past * claimants[number].usage) * (1 if total > 0 else -1))
                for number, weight in zip(numbers, base)
            ]
        elif total < 0:
            base = [-weight for weight in base]
        base = [max(0, weight) for weight in base]
        return base, sum(base)

    def _rests(self, remainders: dict[int, Fraction], over: Amount) -> Amount:
        """What rounding down left: a step each, the largest remainder first, then the oldest.

        Unless whole steps are given to whoever asks for less, something may be left even then: it goes to
        those who still want more, again a step each.
        """
        ordered = sorted(remainders, key=lambda number: (-remainders[number], self.claimants[number].age))
        while ordered and over > 0:
            for number in ordered:
                missing = self.wanted[number] - self.shares[number]
                given = min(self.step, over, self.step if self.whole_rests else missing)
                if given > 0:
                    self.shares[number] += given
                    self.parts[number].append(Part(over, 1, 1, given, rest=True))
                    over -= given
            if self.whole_rests:
                break
            ordered = [number for number in ordered if self.shares[number] < self.wanted[number]]
        return over
