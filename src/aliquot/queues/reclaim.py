"""Whether work of one queue may take what queues elsewhere hold.

Two rights justify taking. To keep fair shares: the victim's side holds more than its allocatable share of
some resource. To guarantee quotas: the reclaimer's side stays within its quota in every resource, and the
victim's side holds more than its quota of some. "Side" is the pair of queues just below the lowest queue
above both. A right is needed for every bundle that is taken, one after the other, from what then remains.

After that, nobody may be better off than those it took from: at every level, a queue that would be above its
fair share must stay below the saturation (held / fair share) of each sibling that lost something. Otherwise
the two would take from each other for ever.
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence

from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.held import Ground, Held, Refusal
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import NO_BOUND, Bound


class Reclaimer:
    """Work that wants to take from other queues, and what queues held before it took anything.

    number: of its queue. wanted: what it wants, in the order of FairShares.resources.
    """

    def __init__(
        self,
        shares: FairShares,
        ledger: Ledger,
        queue: str,
        charge: Charge,
        preemptible: bool = True,
        held: Held | None = None,
    ) -> None:
        """queue: must be one that can be used. charge: what the work wants, in billionths. held: what queues
        hold now, where it is known already."""
        self._shares = shares
        self._ledger = ledger
        self._queue = queue
        self._tree = shares.tree
        self.number = shares.tree.numbers[queue]
        self._preemptible = preemptible
        self._resources = shares.resources
        self._guaranteed: dict[int, bool] = {}
        self._alone: dict[tuple[int, int, tuple[Amount, ...]], bool] = {}
        self._fits_quotas: bool | None = None
        self.wanted = [charge.get(resource, 0) for resource in shares.resources]
        self._held = Held(shares, ledger) if held is None else held
        self._allocated = self._held.allocated

    def wanting(self, charge: Charge) -> "Reclaimer":
        """The same for work that wants something else, with what queues held then."""
        return Reclaimer(self._shares, self._ledger, self._queue, charge, self._preemptible, self._held)

    def may_try(self) -> Refusal | None:
        """Why the work may not take anything from anyone, or None; see `Held.refusal`."""
        return self._held.refusal(self.number, self.wanted, self._preemptible)

    def may_take(self, victims: Mapping[str, Sequence[Charge]]) -> Refusal | None:
        """Why this set of victims may not be taken, or None.

        victims: by queue, what each of its victims holds, in the order in which they are taken; members that
        an elastic gang can spare one by one, the rest of a gang as one.
        """
        taking = self.begin()
        for queue, charges in victims.items():
            for charge in charges:
                if (refusal := taking.take(queue, charge)) is not None:
                    return refusal
        return taking.unbalanced()

    def may_take_from(self, own: int, other: int) -> bool:
        """Whether something may be taken from the side `other`, as things are; own: the side of this work."""
        share, quota = self._held.above(other)
        return share or (quota and self.within_quota(own))

    def within_quota(self, number: int) -> bool:
        """Whether a queue would hold no more of anything than its quota, with the work."""
        found = self._guaranteed.get(number)
        if found is None:
            found = self._guaranteed[number] = self._held.within_quota(number, self.wanted)
        return found

    def may_take_alone(self, queue: str, charge: Charge) -> bool:
        """Whether a victim of the queue that holds this much may be taken if nothing else is.

        Only the two sides and what the victim holds decide that, so it is found out once for all queues that
        are met at the same place of the tree.
        """
        tree, shares = self._tree, self._shares
        number = tree.numbers.get(queue)
        if number is None:
            return self._within_quotas()
        own, other = tree.sides(self.number, number)
        if own == other:
            return self.may_take({queue: [charge]}) is None
        amounts = tuple(charge.get(resource, 0) for resource in self._resources)
        key = (own, other, amounts)
        found = self._alone.get(key)
        if found is None:
            involved = [place for place, pair in enumerate(zip(amounts, self.wanted)) if max(pair) > 0]
            found = self._alone[key] = (
                self.may_take_from(own, other)
                and self._within_quotas()
                and more_saturated(
                    involved,
                    [amount + wanted for amount, wanted in zip(self.held(own), self.wanted)],
                    _row(shares.shares, own),
                    [held - amount for held, amount in zip(self.held(other), amounts)],
                    _row(shares.shares, other),
                    shares.rules.saturation,
                    shares.rules.shareless_take,
                )
                is None
            )
        return found

    def most(
        self,
        resource: str,
        step: Amount = 0,
        finer: Collection[int] = (),
        largest: Callable[[int], Amount] | None = None,
        only: Container[int] | None = None,
    ) -> Bound:
        """A bound on how much of a resource any victims may lose together that could be taken; never too low.
        The work wants some of it. step: what every victim holds of it is a multiple of this (0: anything),
        but for those in or below the queues `finer`, by number. largest: no bundle in or below a queue, by
        number, has more of it. only: the sides of which anything is lost at all.

        At each level, a queue that would be above its share must stay less saturated than each sibling that
        loses something, which says how much that can lose. What is taken below a queue is gone from it: so
        it is counted from below, and as taken already further up. With shares of 10 and 20, 9 and 26 held and
        2 wanted, 11/10 has to be below (26 - x)/20: x is below 4, and with a step of 1 it is 3 at most.

        And the right to take is lost with what the sibling has too much: of 23 with a share of 20, 2 may go,
        and then one bundle more.
        """
        tree, shares = self._tree, self._shares
        if resource not in self._resources:
            return NO_BOUND
        place = self._resources.index(resource)
        share, held, factor = shares.shares[place], self._allocated[place], shares.rules.saturation
        taken: Amount = 0
        for side in tree.ways[self.number]:
            after = held[side] + self.wanted[place] - taken
            own = share[side]
            for sibling in self._held.above_below(tree.parents[side]):
                if sibling == side or held[sibling] <= 0 or not self.may_take_from(side, sibling):
                    continue
                if only is not None and sibling not in only:
                    continue
                other = share[sibling]
                most = held[sibling]
                if not isinstance(own, float) and not isinstance(other, float) and after > own:
                    if other <= 0:
                        most = most if shares.rules.shareless_take or own > 0 else 0
                    elif own <= 0:
                        most = 0
                    elif step and sibling not in finer:
                        # Less than held - after * factor * other / own, in whole steps.
                        most = min(
                            most, -(-(most * own - after * factor * other) // (own * step)) * step - step
                        )
                    else:
                        most = min(most, most - after * factor * other // own)
                if largest is not None and most > 0:
                    before = self._while_entitled(place, side, sibling)
                    if not isinstance(before, float):
                        if step and sibling not in finer:
                            before = -(-before // step) * step - step
                        if before < most:
                            most = min(most, before + largest(sibling))
                taken += max(0, most)
        return taken

    def _while_entitled(self, place: int, own: int, other: int) -> Bound:
        """How much of a resource a side that may be taken from has more than gives the right to; NO_BOUND if
        it is another resource that does."""
        shares, held = self._shares, self._allocated
        guaranteed = self.within_quota(own)
        least: Bound = NO_BOUND
        for index, column in enumerate(held):
            bound = shares.allocatable[index][other]
            if guaranteed:
                bound = min(bound, shares.quotas[index][other])
            if index == place:
                least = bound
            elif column[other] > bound:
                return NO_BOUND
        return NO_BOUND if isinstance(least, float) else held[place][other] - least

    def _within_quotas(self) -> bool:
        """Whether no queue above would hold too much of what cannot be preempted."""
        if self._fits_quotas is None:
            self._fits_quotas = all(self.over_quota(step) is None for step in self._tree.ways[self.number])
        return self._fits_quotas

    def has_right(self, own: int, other: int, after: Sequence[Amount], held: Sequence[Amount]) -> bool:
        """Whether something may be taken from a side that holds this much. after: what the side `own` would
        hold with the work."""
        shares = self._shares
        return keeps_fair_share(held, _row(shares.allocatable, other)) or guarantees_quota(
            after, _row(shares.quotas, own), held, _row(shares.quotas, other)
        )

    def begin(self) -> "Taking":
        """Victims taken one by one, for who wants to know after each whether it goes on."""
        return Taking(self, self._shares)

    def over_quota(self, number: int) -> Refusal | None:
        """Why a queue would hold too much of what cannot be preempted, with the work; None for other work."""
        return self._held.refusal(number, self.wanted, self._preemptible, fair=False)

    def held(self, number: int) -> list[Amount]:
        """What a queue held when this was made."""
        return [column[number] for column in self._allocated]


class Taking:
    """Victims that are taken one after the other for one reclaimer, from nothing.

    Taking one costs the levels of its queue; asking for the balance the levels and siblings that lost
    something.
    """

    __slots__ = ("_involved", "_reclaimer", "_remaining", "_rights", "_shares", "_tree")

    def __init__(self, reclaimer: Reclaimer, shares: FairShares) -> None:
        self._reclaimer = reclaimer
        self._shares = shares
        self._tree = shares.tree
        self._remaining: dict[int, list[Amount]] = {}
        self._involved: dict[int, set[int]] = {}
        self._rights: dict[int, tuple[int, int, list[Amount]]] = {}

    def take(self, queue: str, charge: Charge) -> Refusal | None:
        """Take a victim of the queue, or say why it may not be taken, and leave it. Queues that cannot be
        used have no victims: nothing happens."""
        tree = self._tree
        number = tree.numbers.get(queue)
        if number is None:
            return None
        own, other, after = self._sides(number)
        remaining = self._remaining
        held = remaining.get(other)
        if held is None:
            right = self._reclaimer.may_take_from(own, other)
        else:
            right = self._reclaimer.has_right(own, other, after, held)
        if not right:
            return Refusal(Ground.VICTIM_WITHIN_SHARE, tree.names[other], "", tree.names[own])
        amounts = [charge.get(resource, 0) for resource in self._shares.resources]
        taken = [place for place, amount in enumerate(amounts) if amount > 0]
        for step in tree.ways[number]:
            left = remaining.get(step)
            if left is None:
                left = remaining[step] = self._reclaimer.held(step)
                self._involved[step] = set()
            for place in taken:
                left[place] -= amounts[place]
            self._involved[step].update(taken)
        return None

    def unbalanced(self) -> Refusal | None:
        """Why what was taken so far would leave a side of the reclaimer better off than one that lost
        something, or its work that cannot be preempted above a quota; None if neither."""
        tree, shares, reclaimer = self._tree, self._shares, self._reclaimer
        mine = {place for place, amount in enumerate(reclaimer.wanted) if amount > 0}
        for step in tree.ways[reclaimer.number]:
            left = self._remaining.get(step) or reclaimer.held(step)
            held = [amount + wanted for amount, wanted in zip(left, reclaimer.wanted)]
            own_shares = _row(shares.shares, step)
            for sibling in tree.below[tree.parents[step]]:
                if sibling == step or sibling not in self._remaining:
                    continue
                place = more_saturated(
                    sorted(self._involved[sibling] | mine),
                    held,
                    own_shares,
                    self._remaining[sibling],
                    _row(shares.shares, sibling),
                    shares.rules.saturation,
                    shares.rules.shareless_take,
                )
                if place is not None:
                    return Refusal(
                        Ground.SATURATION, tree.names[step], shares.resources[place], tree.names[sibling]
                    )
            if (refusal := reclaimer.over_quota(step)) is not None:
                return refusal
        return None

    def _sides(self, number: int) -> tuple[int, int, list[Amount]]:
        """The queues that are compared, and what the reclaimer's side would hold with the work."""
        found = self._rights.get(number)
        if found is None:
            reclaimer = self._reclaimer
            own, other = self._tree.sides(reclaimer.number, number)
            after = [amount + wanted for amount, wanted in zip(reclaimer.held(own), reclaimer.wanted)]
            found = self._rights[number] = (own, other, after)
        return found


def _row(columns: Sequence[Sequence[Bound]], number: int) -> list[Bound]:
    return [column[number] for column in columns]


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
    after: Sequence[Amount], own_quota: Sequence[Bound], held: Sequence[Amount], quota: Sequence[Bound]
) -> bool:
    """Whether taking guarantees a quota: after it the own side stays within its quota of everything, and the
    other, which holds `held`, has more than its quota of something."""
    return over(after, own_quota) is None and over(held, quota) is not None


def more_saturated(
    places: Sequence[int],
    held: Sequence[Amount],
    shares: Sequence[Bound],
    other_held: Sequence[Amount],
    other_shares: Sequence[Bound],
    factor: Amount,
    shareless_take: bool = True,
) -> int | None:
    """The first of these resources in which a queue above its fair share would, times `factor`, be at least
    as saturated as another; None if there is none.

    Saturation is held / share, compared exactly: with 7 held of a share of 6 against 8 of 7, 7 * 7 >= 8 * 6
    says that 7/6 is more than 8/7. Resources of which the other has no share do not count: it has to give
    all up. shareless_take: also to one that has no share of them itself; then the other could take it back.
    """
    for place in places:
        share, other = shares[place], other_shares[place]
        if isinstance(share, float) or isinstance(other, float) or held[place] <= share:
            continue
        if other <= 0:
            if shareless_take or share > 0:
                continue
            return place
        if share == 0 or held[place] * factor * other >= other_held[place] * share:
            return place
    return None
