"""Whether work of one queue may take what queues elsewhere hold.

Two rights justify taking. To keep fair shares: the victim's side holds more than its allocatable share of
some resource. To guarantee quotas: the reclaimer's side stays within its quota in every resource, and the
victim's side holds more than its quota of some. "Side" is the pair of queues just below the lowest queue
above both. A right is needed for every bundle that is taken, one after the other, from what then remains.

After that, nobody may be better off than those it took from: at every level, a queue that would be above its
fair share must stay below the saturation (held / fair share) of each sibling that lost something. Otherwise
the two would take from each other for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import Bound, QueueTree


class Ground(StrEnum):
    """Why taking is refused.

    overFairShare: the reclaimer would hold more than its fair share. overQuota: work that cannot be preempted
    would hold more than the quota. victimWithinShare: the victim's side holds no more than it is entitled to.
    saturation: the reclaimer's side would be as saturated as the victim's.
    """

    OVER_FAIR_SHARE = "overFairShare"
    OVER_QUOTA = "overQuota"
    VICTIM_WITHIN_SHARE = "victimWithinShare"
    SATURATION = "saturation"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a queue may not take. queue: the one above its terms, or the victim's side. other: the queue that
    it was compared with, "" if none. resource: the first that speaks against it, "" if all do."""

    ground: Ground
    queue: str
    resource: str = ""
    other: str = ""


class Reclaimer:
    """Work that wants to take from other queues, and what queues held before it took anything.

    What queues hold is copied when this is made, so that victims may be taken and given back in the ledger
    meanwhile; that costs the number of queues. Amounts are in the order of FairShares.resources.
    """

    def __init__(
        self, shares: FairShares, ledger: Ledger, queue: str, charge: Charge, preemptible: bool = True
    ) -> None:
        """queue: must be one that can be used. charge: what the work wants, in billionths."""
        self._shares = shares
        self._tree = shares.tree
        self._number = shares.tree.numbers[queue]
        self._preemptible = preemptible
        self._resources = shares.resources
        self._wanted = [charge.get(resource, 0) for resource in shares.resources]
        self._allocated = [list(ledger.column(resource)) for resource in shares.resources]
        self._fixed = (
            [] if preemptible else [list(ledger.fixed_column(resource)) for resource in shares.resources]
        )

    def may_try(self) -> Refusal | None:
        """Why the work may not take anything from anyone, or None.

        With the work, its queue must stay within its fair share of every resource; work that cannot be
        preempted also within its quota, counting only such work.
        """
        number = self._number
        place = over(self._plus(number), [column[number] for column in self._shares.shares])
        if place is not None:
            return Refusal(Ground.OVER_FAIR_SHARE, self._tree.names[number], self._resources[place])
        return None if self._preemptible else self._over_quota(number)

    def may_take(self, victims: Mapping[str, Sequence[Charge]]) -> Refusal | None:
        """Why this set of victims may not be taken, or None.

        victims: by queue, what each of its victims holds, in the order in which they are taken; members that
        an elastic gang can spare one by one, the rest of a gang as one.
        """
        remaining: dict[int, list[Amount]] = {}
        involved: dict[int, set[int]] = {}
        for queue, charges in victims.items():
            number = self._tree.numbers.get(queue)
            if number is None:
                continue
            refusal = self._take(number, charges, remaining, involved)
            if refusal is not None:
                return refusal
        return self._balanced(remaining, involved)

    def _take(
        self,
        number: int,
        charges: Sequence[Charge],
        remaining: dict[int, list[Amount]],
        involved: dict[int, set[int]],
    ) -> Refusal | None:
        own, other = sides(self._tree, self._number, number)
        before = self._of(own)
        quota = self._bounds(self._shares.quotas, own)
        other_quota = self._bounds(self._shares.quotas, other)
        allocatable = self._bounds(self._shares.allocatable, other)
        taken: set[int] = set()
        for charge in charges:
            amounts = [charge.get(resource, 0) for resource in self._resources]
            held = remaining.get(other) or self._of(other)
            if not (
                keeps_fair_share(held, allocatable)
                or guarantees_quota(before, self._wanted, quota, held, other_quota)
            ):
                return Refusal(Ground.VICTIM_WITHIN_SHARE, self._tree.names[other], "", self._tree.names[own])
            taken.update(place for place, amount in enumerate(amounts) if amount > 0)
            for step in self._tree.ways[number]:
                left = remaining.setdefault(step, self._of(step))
                for place, amount in enumerate(amounts):
                    left[place] -= amount
        for step in self._tree.ways[number]:
            involved.setdefault(step, set()).update(taken)
        return None

    def _balanced(
        self, remaining: Mapping[int, list[Amount]], involved: Mapping[int, set[int]]
    ) -> Refusal | None:
        tree = self._tree
        mine = {place for place, amount in enumerate(self._wanted) if amount > 0}
        for step in tree.ways[self._number]:
            left = remaining.get(step) or self._of(step)
            held = [amount + wanted for amount, wanted in zip(left, self._wanted)]
            shares = self._bounds(self._shares.shares, step)
            for sibling in tree.below[tree.parents[step]]:
                if sibling == step or sibling not in remaining:
                    continue
                place = more_saturated(
                    sorted(involved[sibling] | mine),
                    held,
                    shares,
                    remaining[sibling],
                    self._bounds(self._shares.shares, sibling),
                    self._shares.rules.saturation,
                )
                if place is not None:
                    names = tree.names
                    return Refusal(Ground.SATURATION, names[step], self._resources[place], names[sibling])
            if not self._preemptible and (refusal := self._over_quota(step)) is not None:
                return refusal
        return None

    def _over_quota(self, number: int) -> Refusal | None:
        held = [column[number] + wanted for column, wanted in zip(self._fixed, self._wanted)]
        place = over(held, self._bounds(self._shares.quotas, number))
        if place is None:
            return None
        return Refusal(Ground.OVER_QUOTA, self._tree.names[number], self._resources[place])

    def _of(self, number: int) -> list[Amount]:
        return [column[number] for column in self._allocated]

    def _plus(self, number: int) -> list[Amount]:
        return [column[number] + wanted for column, wanted in zip(self._allocated, self._wanted)]

    def _bounds(self, columns: Sequence[Sequence[Bound]], number: int) -> list[Bound]:
        return [column[number] for column in columns]


def sides(tree: QueueTree, reclaimer: int, victim: int) -> tuple[int, int]:
    """The queues above (or equal to) the two that are compared: the first pair, from the top, that differs.

    Where one queue is above the other no pair differs, and both are the upper one.
    """
    pair = (reclaimer, victim)
    for pair in zip(reversed(tree.ways[reclaimer]), reversed(tree.ways[victim])):
        if pair[0] != pair[1]:
            break
    return pair


def over(held: Sequence[Amount], bounds: Sequence[Bound]) -> int | None:
    """The place of the first resource of which more is held than the bound; None if there is none."""
    for place, (amount, most) in enumerate(zip(held, bounds)):
        if amount > most:
            return place
    return None


def keeps_fair_share(held: Sequence[Amount], allocatable: Sequence[Bound]) -> bool:
    """Whether taking from a queue that holds this much keeps fair shares: it has too much of something."""
    return over(held, allocatable) is not None


def guarantees_quota(
    own: Sequence[Amount],
    wanted: Sequence[Amount],
    own_quota: Sequence[Bound],
    held: Sequence[Amount],
    quota: Sequence[Bound],
) -> bool:
    """Whether taking guarantees a quota: with what it wants the own side stays within its quota of
    everything, and the other, which holds `held`, has more than its quota of something."""
    after = [amount + more for amount, more in zip(own, wanted)]
    return over(after, own_quota) is None and over(held, quota) is not None


def more_saturated(
    places: Sequence[int],
    held: Sequence[Amount],
    shares: Sequence[Bound],
    other_held: Sequence[Amount],
    other_shares: Sequence[Bound],
    factor: Amount,
) -> int | None:
    """The first of these resources in which a queue above its fair share would, times `factor`, be at least
    as saturated as another; None if there is none.

    Saturation is held / share, compared exactly: with 7 held of a share of 6 against 8 of 7, 7 * 7 >= 8 * 6
    says that 7/6 is more than 8/7. Resources of which the other has no share do not count: it has to give
    all up.
    """
    for place in places:
        share, other = shares[place], other_shares[place]
        if isinstance(share, float) or isinstance(other, float) or other <= 0 or held[place] <= share:
            continue
        if share == 0 or held[place] * factor * other >= other_held[place] * share:
            return place
    return None
