"""What queues hold at one time, and why they may not hold more."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShares


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


class Held:
    """What queues hold at one time, copied, so that victims may be taken and given back in the ledger
    meanwhile; that costs the number of queues, once for all who want to take in the same state.

    allocated, fixed: columns by queue number in the order of FairShares.resources; fixed is what cannot be
    preempted.
    """

    def __init__(self, shares: FairShares, ledger: Ledger) -> None:
        self._shares = shares
        self.allocated = [list(ledger.column(resource)) for resource in shares.resources]
        self.fixed = [list(ledger.fixed_column(resource)) for resource in shares.resources]
        self._above: dict[int, tuple[bool, bool]] = {}
        self._above_below: dict[int, list[int]] = {}
        self._left: dict[int, list[tuple[str, int, Amount]]] = {}

    def keeps_share(self, number: int, charge: Charge) -> bool:
        """Whether a queue with this much more would stay within its fair share of every resource."""
        get = charge.get
        for resource, _, amount in self._share_left(number):  # noqa: SIM110 - asked of every gang that waits
            if get(resource, 0) > amount:
                return False
        return True

    def _share_left(self, number: int) -> list[tuple[str, int, Amount]]:
        """What a queue may still get within its fair share, with the name and the place of the resource."""
        left = self._left.get(number)
        if left is None:
            shares = self._shares
            terms = zip(shares.resources, self.allocated, shares.shares, strict=True)
            left = self._left[number] = [
                (resource, place, share[number] - column[number])
                for place, (resource, column, share) in enumerate(terms)
                if not isinstance(share[number], float)
            ]
        return left

    def within_quota(self, number: int, wanted: Sequence[Amount]) -> bool:
        """Whether a queue with this much more would hold no more of anything than its quota."""
        for held, amount, quota in zip(self.allocated, wanted, self._shares.quotas):
            if held[number] + amount > quota[number]:
                return False
        return True

    def refusal(
        self, number: int, wanted: Sequence[Amount], preemptible: bool, *, fair: bool = True
    ) -> Refusal | None:
        """Why work of a queue may not have this much more, or None.

        With it its queue must stay within its fair share of every resource, where that counts (`fair`); work
        that cannot be preempted also within its quota, counting only such work.
        """
        shares = self._shares
        if fair:
            for resource, place, left in self._share_left(number):
                if wanted[place] > left:
                    return Refusal(Ground.OVER_FAIR_SHARE, shares.tree.names[number], resource)
        if preemptible:
            return None
        for place, (column, quota, amount) in enumerate(zip(self.fixed, shares.quotas, wanted)):
            if column[number] + amount > quota[number]:
                return Refusal(Ground.OVER_QUOTA, shares.tree.names[number], shares.resources[place])
        return None

    def above(self, number: int) -> tuple[bool, bool]:
        """Whether a queue holds more of something than its allocatable share, and than its quota."""
        found = self._above.get(number)
        if found is None:
            shares = self._shares
            share = quota = False
            for column, allocatable, quotas in zip(self.allocated, shares.allocatable, shares.quotas):
                share = share or column[number] > allocatable[number]
                quota = quota or column[number] > quotas[number]
            found = self._above[number] = share, quota
        return found

    def above_below(self, parent: int) -> list[int]:
        """The queues right below one that hold more of something than their allocatable share or quota."""
        found = self._above_below.get(parent)
        if found is None:
            below = self._shares.tree.below[parent]
            found = self._above_below[parent] = [queue for queue in below if any(self.above(queue))]
        return found
