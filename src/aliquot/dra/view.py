"""A pool as one search sees it on one node."""

from typing import TypeAlias

from aliquot.dra.objective import Appraisal
from aliquot.dra.pools import Devices, Pool
from aliquot.dra.usage import PoolUsage, lacking

Saved: TypeAlias = tuple[Devices, Devices, Devices, tuple[int, ...], dict[int, dict[str, int]]]
"""What is taken of a pool at some point of a search."""


class View:
    """A pool as the search sees it on one node: usage plus what this search has taken.

    devices: those usable on the node. taken, shared, blocked, remaining, consumed: as in usage.PoolUsage.
    Values are replaced, never changed, so that going back is putting old ones in place.
    """

    __slots__ = ("appraisal", "blocked", "consumed", "devices", "pool", "remaining", "shared", "taken")

    def __init__(self, pool: Pool, devices: Devices, usage: PoolUsage, appraisal: Appraisal) -> None:
        self.pool = pool
        self.devices = devices
        self.taken = usage.taken
        self.shared = usage.shared
        self.blocked = usage.blocked
        self.remaining: tuple[int, ...] = tuple(usage.remaining)
        self.consumed = usage.consumed
        self.appraisal = appraisal

    def save(self) -> Saved:
        """The state now, for `restore`."""
        return self.taken, self.shared, self.blocked, self.remaining, self.consumed

    def restore(self, saved: Saved) -> None:
        """Go back to a state."""
        self.taken, self.shared, self.blocked, self.remaining, self.consumed = saved

    def take(self, index: int, amounts: dict[str, int] | None) -> None:
        """Take a device whole, or the amounts of a shareable one."""
        bit = 1 << index
        fresh = not (self.taken | self.shared) & bit
        if amounts is None:
            self.taken |= bit
        else:
            self.shared |= bit
            if amounts:
                used = self.consumed.get(index, {})
                sums = {name: used.get(name, 0) + amount for name, amount in amounts.items()}
                self.consumed = {**self.consumed, index: {**used, **sums}}
        if fresh and self.pool.drawing & bit:
            left = list(self.remaining)
            for number, amount in self.pool.draws[index]:
                left[number] -= amount
            self.remaining = tuple(left)
            rivals = self.pool.rivals(index)
            self.blocked = (self.blocked & ~rivals) | lacking(self.pool, rivals, left)
