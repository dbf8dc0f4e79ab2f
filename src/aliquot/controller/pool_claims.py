"""Which allocated claims hold devices of which pool, brought from snapshot to snapshot at the cost of what
changed."""

from collections.abc import Iterable

from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot

Pool = tuple[str, str]
"""Driver and name."""


class PoolClaims:
    """Claims by pool. Those of the last snapshot are kept, so that no identity is used again meanwhile."""

    def __init__(self) -> None:
        self._last: tuple[ResourceClaim, ...] = ()
        self._known: dict[int, ResourceClaim] = {}
        self._by_pool: dict[Pool, dict[int, ResourceClaim]] = {}

    def follow(self, snapshot: Snapshot) -> None:
        """Bring it to this snapshot."""
        claims = snapshot.resource_claims
        if claims is self._last:
            return
        now = {id(claim): claim for claim in claims}
        for identity in self._known.keys() - now.keys():
            for pool in pools_of(self._known[identity]):
                held = self._by_pool[pool]
                held.pop(identity, None)
                if not held:
                    del self._by_pool[pool]
        for identity in now.keys() - self._known.keys():
            for pool in pools_of(now[identity]):
                self._by_pool.setdefault(pool, {})[identity] = now[identity]
        self._last, self._known = claims, now

    def of(self, pools: Iterable[Pool]) -> list[ResourceClaim]:
        """The allocated claims that hold devices of any of these pools, in order."""
        found: dict[int, ResourceClaim] = {}
        for pool in pools:
            found.update(self._by_pool.get(pool, {}))
        return sorted(found.values(), key=lambda claim: claim.key)


def pools_of(claim: ResourceClaim) -> set[Pool]:
    """The pools of the devices that the claim holds."""
    allocation = claim.status.allocation
    return set() if allocation is None else {(item.driver, item.pool) for item in allocation.devices.results}
