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

from aliquot.queues.amounts import UNIT, Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import NO_BOUND, Bound, finite

Work = tuple[Amount, ...]
"""What work wants (or what a queue loses, negative), by place of the resource in FairShares.resources."""

Value = int | float | tuple[Bound, ...]
Key = tuple[Value, ...]

NO_SHARE_FACTOR = 1000
"""By how much what is held of a resource counts where the queue has no share of it."""

_Criterion = Callable[[int, Work], Value]


class Standing:
    """Sort keys of queues as the ledger stands. Smaller keys go first; with `reverse`, last.

    reverse: for victims. The next work is none then, but what the queue loses counts in its dominant share.
    """

    def __init__(
        self, shares: FairShares, ledger: Ledger, order: Sequence[str] | None = None, *, reverse: bool = False
    ) -> None:
        """order: the criteria; those of the rules if None. Raises ValueError for one that does not exist."""
        self._shares = shares
        self._reverse = reverse
        self._sign = -1 if reverse else 1
        self.order = tuple(shares.rules.order if order is None else order)
        self.none: Work = tuple(0 for _ in shares.resources)
        self._allocated = [ledger.column(resource) for resource in shares.resources]
        self._rows = list(zip(self._allocated, shares.shares))
        self._quotas = list(zip(self._allocated, shares.quotas))
        self._allocatable = list(zip(self._allocated, shares.allocatable))
        self._scales = [
            self._divisors(resource, column) for resource, column in zip(shares.resources, shares.allocatable)
        ]
        makers = {
            "withinFairShare": self._within_fair_share,
            "withinQuotaWithWork": self._within_quota,
            "priority": self._priority,
            "hasShareWithWork": self._has_share,
            "dominantShareWithWork": self._dominant_with_work,
            "dominantShare": self._dominant,
            "allocatableShare": self._by_allocatable,
            "age": self._age,
        }
        unknown = [name for name in self.order if name not in makers]
        if unknown:
            raise ValueError(f"no criterion is called {unknown[0]!r}; there are {', '.join(makers)}")
        self._criteria: tuple[_Criterion, ...] = tuple(makers[name]() for name in self.order)

    def work(self, charge: Charge) -> Work:
        """A charge as Work."""
        get = charge.get
        return tuple([get(resource, 0) for resource in self._shares.resources])

    def key(self, number: int, work: Work) -> Key:
        """The sort key of a queue (by number) whose next work wants `work`."""
        return tuple([criterion(number, work) for criterion in self._criteria])

    def _divisors(self, resource: str, allocatable: Sequence[Bound]) -> tuple[Amount, ...]:
        """By queue: what allocated amounts are divided by for the dominant share."""
        total = self._shares.total[resource]
        penalty = max(1, self._shares.rules.steps.get(resource, UNIT) // NO_SHARE_FACTOR)
        return tuple((total if value == NO_BOUND else finite(value)) or penalty for value in allocatable)

    def _within_fair_share(self) -> _Criterion:
        rows, sign = self._rows, self._sign

        def over(number: int, _: Work) -> int:
            for allocated, share in rows:
                if allocated[number] <= share[number]:
                    return 0
            return sign

        return over

    def _within_quota(self) -> _Criterion:
        quotas, sign = self._quotas, self._sign

        def over_with(number: int, work: Work) -> int:
            for (allocated, quota), wanted in zip(quotas, work):
                if allocated[number] + wanted > quota[number]:
                    return 1
            return 0

        def over(number: int, _: Work) -> int:
            for allocated, quota in quotas:
                if allocated[number] > quota[number]:
                    return sign
            return 0

        return over if self._reverse else over_with

    def _has_share(self) -> _Criterion:
        rows, sign = self._allocatable, self._sign
        none = self.none
        ignore = self._reverse

        def without(number: int, work: Work) -> int:
            for (allocated, share), wanted in zip(rows, none if ignore else work):
                if not share[number] and allocated[number] + wanted > 0:
                    return sign
            return 0

        return without

    def _priority(self) -> _Criterion:
        ranks = [-priority * self._sign for priority in self._shares.tree.priorities]
        return lambda number, _: ranks[number]

    def _age(self) -> _Criterion:
        ranks = [age * self._sign for age in self._shares.tree.ages]
        return lambda number, _: ranks[number]

    def _by_allocatable(self) -> _Criterion:
        sign = self._sign
        rows = [tuple(value * sign for value in row) for row in zip(*self._shares.allocatable)]
        return lambda number, _: rows[number]

    def _dominant_with_work(self) -> _Criterion:
        rows, sign = list(zip(self._allocated, self._scales)), self._sign

        def share(number: int, work: Work) -> float:
            largest = 0.0
            for (allocated, scale), wanted in zip(rows, work):
                value = float((allocated[number] + wanted) / scale[number])
                if value > largest:
                    largest = value
            return largest * sign

        return share

    def _dominant(self) -> _Criterion:
        rows, sign = list(zip(self._allocated, self._scales)), self._sign

        def share(number: int, _: Work) -> float:
            largest = 0.0
            for allocated, scale in rows:
                value = float(allocated[number] / scale[number])
                if value > largest:
                    largest = value
            return largest * sign

        return share
