"""What queues are ordered by: named criteria. A policy lists those it wants; the first to differ decides.

| name | who goes first |
|---|---|
| withinFairShare | not above its fair share; above means in every resource |
| withinQuotaWithWork | with its next work still within its quota in every resource |
| priority | the higher priority |
| hasShareWithWork | would not use, with its next work, a resource that it has no share of |
| dominantShareWithWork | the smaller dominant share with its next work |
| dominantShare | the smaller dominant share |
| allocatableShare | the smaller allocatable share, resource by resource, accelerators first |
| age | the older; between two queues it always decides |

The dominant share (Ghodsi et al., Dominant Resource Fairness, NSDI 2011) is the largest of allocated /
allocatable over the resources, where allocatable is what the cluster has if there is no bound, and what is
held a thousandfold where it is 0. Of two queues of which one has the larger allocatable share in one resource
and the smaller in another, the first resource decides: only so is the order transitive.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter

from aliquot.queues.amounts import UNIT, Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import CRITERIA
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import NO_BOUND, Bound, finite

Work = tuple[Amount, ...]
"""What work wants (or what a queue loses, negative), by place of the resource in FairShares.resources."""

Value = int | float | tuple[Bound, ...]
Key = tuple[Value, ...]

NO_SHARE_FACTOR = 1000
"""By how much what is held of a resource counts where the queue has no share of it."""

_ENDLESS = 10**60
"""Stands for NO_BOUND where speed counts: integers compare faster with integers."""

_Row = tuple[list[Amount], Amount, Amount, bool, Amount]
"""Of a queue and a resource: the ledger's column; fair share; quota; whether the allocatable share is 0; what
allocated amounts are divided by for the dominant share."""

_Stand = tuple[int, int, int, float, list[tuple[Amount, Amount, bool, Amount]]]
"""Of a queue as the ledger stands: withinFairShare; whether it holds more than its quota of anything, and
anything that it has no share of; the dominant share; for each resource what it holds, and of its row the
last three."""


class Standing:
    """Sort keys of queues as the ledger stands. Smaller keys go first; with `reverse`, last.

    reverse: for victims. The next work is none then, but what the queue loses counts in its dominant share.
    """

    def __init__(
        self, shares: FairShares, ledger: Ledger, order: Sequence[str] | None = None, *, reverse: bool = False
    ) -> None:
        """order: the criteria; those of the rules if None. Raises ValueError for one that does not exist."""
        self.order = tuple(shares.rules.order if order is None else order)
        unknown = [name for name in self.order if name not in CRITERIA]
        if unknown:
            raise ValueError(f"no criterion is called {unknown[0]!r}; there are {', '.join(CRITERIA)}")
        self._shares = shares
        self._reverse = reverse
        self._chosen = _chooser(self.order)
        self._sign = sign = -1 if reverse else 1
        tree = shares.tree
        self._columns = [ledger.column(resource) for resource in shares.resources]
        self._rows: list[tuple[_Row, ...] | None] = [None] * len(tree.names)
        self._ways = tree.ways
        self._changed = ledger.watch()
        self._known: list[tuple[Work, Key] | None] = [None] * len(tree.names)
        self._stands: list[_Stand | None] = [None] * len(tree.names)
        self._priorities = [-priority * sign for priority in tree.priorities]
        self._ages = [age * sign for age in tree.ages]
        self._shares_of = [
            tuple(column[number] * sign for column in shares.allocatable) for number in range(len(tree.names))
        ]

    def work(self, charge: Charge) -> Work:
        """A charge as Work."""
        get = charge.get
        return tuple([get(resource, 0) for resource in self._shares.resources])

    def key(self, number: int, work: Work) -> Key:
        """The sort key of a queue (by number) whose next work wants `work`."""
        if self._changed:
            for changed in self._changed:
                for step in self._ways[changed]:
                    self._known[step] = self._stands[step] = None
            self._changed.clear()
        known = self._known[number]
        if known is not None and known[0] == work:
            return known[1]
        key = self._key(number, work)
        self._known[number] = work, key
        return key

    def _key(self, number: int, work: Work) -> Key:
        stand = self._stands[number]
        if stand is None:
            stand = self._stands[number] = self._stand_of(number)
        above, beyond, without, dominant, amounts = stand
        dominant_after = 0.0
        if self._reverse:
            for (held, _, _, scale), wanted in zip(amounts, work):
                if (part := float((held + wanted) / scale)) > dominant_after:
                    dominant_after = part
            values: Key = (
                -above,
                -beyond,
                self._priorities[number],
                -without,
                -dominant_after,
                -dominant,
                self._shares_of[number],
                self._ages[number],
            )
        else:
            for (held, quota, none, scale), wanted in zip(amounts, work):
                after = held + wanted
                if after > quota:
                    beyond = 1
                if none and after > 0:
                    without = 1
                if (part := float(after / scale)) > dominant_after:
                    dominant_after = part
            values = (
                above,
                beyond,
                self._priorities[number],
                without,
                dominant_after,
                dominant,
                self._shares_of[number],
                self._ages[number],
            )
        return values if self._chosen is None else self._chosen(values)

    def _stand_of(self, number: int) -> _Stand:
        above, beyond, without = 1, 0, 0
        dominant = 0.0
        rows = self._rows[number]
        if rows is None:
            rows = self._rows[number] = self._rows_of(number)
        amounts = []
        for column, share, quota, none, scale in rows:
            held = column[number]
            if held <= share:
                above = 0
            if self._reverse and held > quota:
                beyond = 1
            if self._reverse and none and held > 0:
                without = 1
            if (part := float(held / scale)) > dominant:
                dominant = part
            amounts.append((held, quota, none, scale))
        return above, beyond, without, dominant, amounts

    def _rows_of(self, number: int) -> tuple[_Row, ...]:
        shares, steps = self._shares, self._shares.rules.steps
        found = []
        for place, resource in enumerate(shares.resources):
            quota, allocatable = shares.quotas[place][number], shares.allocatable[place][number]
            scale = shares.total[resource] if allocatable == NO_BOUND else finite(allocatable)
            found.append(
                (
                    self._columns[place],
                    shares.shares[place][number],
                    _ENDLESS if quota == NO_BOUND else finite(quota),
                    allocatable == 0,
                    scale or max(1, steps.get(resource, UNIT) // NO_SHARE_FACTOR),
                )
            )
        return tuple(found)


def _chooser(order: Sequence[str]) -> Callable[[Key], Key] | None:
    """Picks the criteria wanted out of all of them; None where all are wanted as they are."""
    if tuple(order) == CRITERIA:
        return None
    places = [CRITERIA.index(name) for name in order]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)
