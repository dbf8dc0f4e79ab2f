"""Usage: which devices, shares and counters of a fleet are taken, and by which claim.

Devices allocated with adminAccess are not in use by that (KEP-5018). A device draws on its shared counters
once, however many claims share it (KEP-4815, KEP-5075).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NewType, TypeAlias

from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Devices, Pool, PoolKey, members
from aliquot.model.resource import AllocationResult, DeviceRequestAllocationResult, ResourceClaim

ClaimKey: TypeAlias = tuple[str, str]
"""(namespace, name) of a claim."""

Holder: TypeAlias = tuple[ClaimKey, str | None]
"""A claim and, if it has only a share of the device, the share's id."""

Mark = NewType("Mark", int)
"""A point to which a Usage can be taken back."""


class PoolUsage:
    """What is taken of one pool.

    taken: devices held whole; shared: devices of which shares are held; blocked: devices whose counters no
    longer suffice. remaining: what is left of each counter in billionths, negative when overdrawn.
    consumed: by device number, what shares take of each capacity in billionths. holders: by device number.
    """

    __slots__ = ("blocked", "consumed", "holders", "pool", "remaining", "shared", "taken")

    def __init__(self, pool: Pool, blocked: Devices | None = None) -> None:
        """blocked: of a pool of which nothing is taken, where it is known already."""
        self.pool = pool
        self.taken: Devices = 0
        self.shared: Devices = 0
        self.blocked = lacking(pool, pool.drawing, pool.counters) if blocked is None else blocked
        self.remaining: list[int] = list(pool.counters)
        self.consumed: dict[int, dict[str, int]] = {}
        self.holders: dict[int, dict[Holder, None]] = {}

    def copy(self) -> "PoolUsage":
        twin = PoolUsage(self.pool, self.blocked)
        twin.taken, twin.shared = self.taken, self.shared
        twin.remaining = self.remaining.copy()
        twin.consumed = {index: amounts.copy() for index, amounts in self.consumed.items()}
        twin.holders = {index: holders.copy() for index, holders in self.holders.items()}
        return twin

    def take(self, index: int, claim: ClaimKey, result: DeviceRequestAllocationResult) -> None:
        bit = 1 << index
        fresh = not (self.taken | self.shared) & bit
        share = result.share_id
        self.holders.setdefault(index, {})[claim, share] = None
        if share is None:
            self.taken |= bit
        else:
            self.shared |= bit
            self._consume(index, result, 1)
        if fresh and self.pool.drawing & bit:
            self._draw(index, -1)

    def release(self, index: int, claim: ClaimKey, result: DeviceRequestAllocationResult) -> None:
        bit = 1 << index
        holders = self.holders.get(index, {})
        holders.pop((claim, result.share_id), None)
        if not any(share is None for _, share in holders):
            self.taken &= ~bit
        if not any(share is not None for _, share in holders):
            self.shared &= ~bit
        if result.share_id is not None:
            self._consume(index, result, -1)
        if not holders:
            self.holders.pop(index, None)
            if self.pool.drawing & bit:
                self._draw(index, 1)

    def _consume(self, index: int, result: DeviceRequestAllocationResult, sign: int) -> None:
        """Add what a share takes, or take it off again; what comes to nothing is left out."""
        amounts = self.consumed.setdefault(index, {})
        for name, amount in result.consumed_capacity.items():
            left = amounts.get(name, 0) + sign * amount.nano
            if left:
                amounts[name] = left
            else:
                amounts.pop(name, None)
        if not amounts:
            del self.consumed[index]

    def _draw(self, index: int, sign: int) -> None:
        pool, remaining = self.pool, self.remaining
        for number, amount in pool.draws[index]:
            remaining[number] += sign * amount
        rivals = pool.rivals(index)
        self.blocked = (self.blocked & ~rivals) | lacking(pool, rivals, remaining)

    def plain(self) -> tuple[object, ...]:
        """All of it as data that later changes do not alter."""
        consumed = {index: amounts.copy() for index, amounts in self.consumed.items()}
        holders = {index: frozenset(holders) for index, holders in self.holders.items()}
        return self.taken, self.shared, self.blocked, tuple(self.remaining), consumed, holders


def lacking(pool: Pool, devices: Devices, remaining: Iterable[int]) -> Devices:
    """Those of the devices that draw more on some counter than remains of it."""
    left = list(remaining)
    draws = pool.draws
    found = 0
    for index in members(devices):
        for number, amount in draws[index]:
            if amount > left[number]:
                found |= 1 << index
                break
    return found


class Usage:
    """Everything taken in a fleet; changed by take and release, taken back exactly by undo.

    holdings: the allocation of each claim. changes: every device that was taken or given back, in order, so
    that whoever keeps something derived can catch up.
    """

    def __init__(self, fleet: Fleet) -> None:
        """Nothing is taken."""
        self.fleet = fleet
        self.holdings: dict[ClaimKey, AllocationResult] = {}
        self.changes: list[tuple[Pool, int]] = []
        self._pools: dict[PoolKey, PoolUsage] = {}
        self._owned: set[PoolKey] = set()
        self._claims: dict[PoolKey, dict[ClaimKey, None]] = {}
        self._journal: list[tuple[bool, ClaimKey, AllocationResult]] = []

    @staticmethod
    def of(fleet: Fleet, claims: Iterable[ResourceClaim], previous: "Usage | None" = None) -> "Usage":
        """What the allocations of these claims take.

        previous: the usage of an earlier state of the same cluster; what did not change is taken over from
        it, and it stays as it is.
        """
        allocations: dict[ClaimKey, AllocationResult] = {}
        for claim in claims:
            allocation = claim.status.allocation
            if allocation is not None:
                allocations[claim.key] = allocation
        usage = Usage(fleet)
        if previous is not None:
            usage._take_over(previous)
            for key, held in list(usage.holdings.items()):
                if allocations.get(key) is not held:
                    usage.release(key)
        for key, allocation in allocations.items():
            if key not in usage.holdings:
                usage.take(key, allocation)
        usage._journal.clear()
        usage.changes.clear()
        return usage

    def _take_over(self, previous: "Usage") -> None:
        self.holdings = previous.holdings.copy()
        self._claims = {key: claims.copy() for key, claims in previous._claims.items()}
        self._pools = previous._pools.copy()
        # From here on neither may change the common PoolUsage objects; each copies before it writes.
        previous._owned = set()
        for key, claims in self._claims.items():
            pool = self.fleet.pools.get(key)
            if pool is previous.fleet.pools.get(key):
                continue
            self._pools.pop(key, None)
            if pool is not None:
                for claim in claims:
                    for result in self.holdings[claim].devices.results:
                        if (result.driver, result.pool) == key and not result.admin_access:
                            self._change(key, claim, result, taking=True)

    def twin(self) -> "Usage":
        """A usage in the same state that goes its own way from here."""
        twin = Usage(self.fleet)
        twin._take_over(self)
        return twin

    def is_free(self, allocation: AllocationResult) -> bool:
        """Whether all that an allocation takes is free to be taken."""
        for result in allocation.devices.results:
            pool = self.fleet.pools.get((result.driver, result.pool))
            index = None if pool is None else pool.names.get(result.device)
            if result.admin_access or pool is None or index is None:
                continue
            usage, bit = self.of_pool(pool), 1 << index
            if usage.taken & bit or (result.share_id is None and usage.shared & bit):
                return False
            if usage.blocked & bit and not usage.shared & bit:
                return False
            consumed = usage.consumed.get(index, {})
            for name, amount in result.consumed_capacity.items() if result.share_id is not None else ():
                capacity = pool.devices[index].capacity.get(name)
                if capacity is not None and consumed.get(name, 0) + amount.nano > capacity.value.nano:
                    return False
        return True

    def of_pool(self, pool: Pool) -> PoolUsage:
        """What is taken of a pool. Not to be changed."""
        found = self._pools.get(pool.key)
        if found is None:
            found = self._pools[pool.key] = PoolUsage(pool)
            self._owned.add(pool.key)
        return found

    def take(self, claim: ClaimKey, allocation: AllocationResult) -> None:
        """Count a claim's allocation as taken. What it takes may be taken already; see `check_cluster`.

        Raises ValueError if the claim holds an allocation.
        """
        if claim in self.holdings:
            raise ValueError(f"claim {claim[0]}/{claim[1]} holds an allocation already")
        self._journal.append((True, claim, allocation))
        self._apply(claim, allocation, taking=True)

    def release(self, claim: ClaimKey) -> None:
        """Give back what the claim holds. Raises KeyError if it holds nothing."""
        allocation = self.holdings[claim]
        self._journal.append((False, claim, allocation))
        self._apply(claim, allocation, taking=False)

    def mark(self) -> Mark:
        """Remember this point. Marks may be nested and need not be used."""
        return Mark(len(self._journal))

    def undo(self, mark: Mark) -> None:
        """Take back every take and release since the mark."""
        journal = self._journal
        while len(journal) > mark:
            took, claim, allocation = journal.pop()
            self._apply(claim, allocation, taking=not took)

    def _apply(self, claim: ClaimKey, allocation: AllocationResult, *, taking: bool) -> None:
        if taking:
            self.holdings[claim] = allocation
        else:
            del self.holdings[claim]
        for result in allocation.devices.results:
            if result.admin_access:
                continue
            key = (result.driver, result.pool)
            if taking:
                self._claims.setdefault(key, {})[claim] = None
            else:
                claims = self._claims.get(key, {})
                claims.pop(claim, None)
                if not claims:
                    self._claims.pop(key, None)
            self._change(key, claim, result, taking=taking)

    def _change(
        self, key: PoolKey, claim: ClaimKey, result: DeviceRequestAllocationResult, *, taking: bool
    ) -> None:
        pool = self.fleet.pools.get(key)
        if pool is None:
            return
        index = pool.names.get(result.device)
        if index is None:
            return
        usage = self._pools.get(key)
        if usage is None:
            usage = self._pools[key] = PoolUsage(pool)
            self._owned.add(key)
        elif key not in self._owned:
            usage = self._pools[key] = usage.copy()
            self._owned.add(key)
        if taking:
            usage.take(index, claim, result)
        else:
            usage.release(index, claim, result)
        self.changes.append((pool, index))

    def settle(self) -> None:
        """What was done up to now stays. `changes` goes on."""
        self._journal.clear()

    def claims_of(self, key: PoolKey) -> Iterable[ClaimKey]:
        """The claims that hold devices of a pool."""
        return self._claims.get(key, ())

    def results_of(self, key: PoolKey) -> Iterator[DeviceRequestAllocationResult]:
        """What the claims hold of a pool, devices that it no longer has included."""
        for claim in self._claims.get(key, ()):
            for result in self.holdings[claim].devices.results:
                if (result.driver, result.pool) == key and not result.admin_access:
                    yield result

    def differing(self, other: "Usage") -> list[Pool]:
        """The pools of either fleet that are not the same, or not certainly taken the same, in both."""
        found: list[Pool] = []
        pools, others = self.fleet.pools, other.fleet.pools
        if pools is not others:
            for key in pools.keys() | others.keys():
                if pools.get(key) is not others.get(key):
                    found += [each[key] for each in (pools, others) if key in each]
        for key in self._pools.keys() | other._pools.keys():
            if self._pools.get(key) is not other._pools.get(key) and key in pools:
                found.append(pools[key])
        return found

    def state(self) -> Mapping[object, object]:
        """All that is taken as plain data, for comparison."""
        return {
            "holdings": dict(self.holdings),
            "claims": {key: frozenset(claims) for key, claims in self._claims.items()},
            "pools": {
                key: usage.plain()
                for key, usage in self._pools.items()
                if usage.plain() != PoolUsage(usage.pool).plain()
            },
        }
