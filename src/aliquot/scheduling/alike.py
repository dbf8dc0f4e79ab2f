"""Nodes whose devices look the same to claims, so that the allocator need be asked about one of them only.

In a fleet of equal machines most nodes are alike: all idle, or all full. To claims without constraints two
nodes are alike when each request sees the same pattern of matching, tainted, undersized, taken and shared
devices on both.
"""

from collections.abc import Hashable, Sequence

from aliquot.dra.demand import Demand
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.requests import blueprint
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim


class Likeness:
    """Tells for given claims which nodes are alike, in the present state of a usage."""

    def __init__(self, fleet: Fleet, usage: Usage, claims: Sequence[ResourceClaim]) -> None:
        self._fleet = fleet
        self._usage = usage
        blueprints = [blueprint(fleet, claim) for claim in claims]
        self._demands: list[Demand] = [
            alternative.demand
            for ready in blueprints
            for request in ready.requests
            for alternative in request.alternatives
        ]
        # Constraints compare attributes, and several partitions of one device depend on its counters.
        self._simple = not any(ready.constraints for ready in blueprints)
        self._single = sum(ready.least for ready in blueprints) <= 1 and len(self._demands) == 1

    def of(self, node: Node) -> Hashable | None:
        """Equal for nodes that are alike; None for a node that is to be looked at by itself."""
        if not self._simple:
            return None
        reach = self._fleet.reach(node)
        parts: list[Hashable] = []
        for pool, devices in reach:
            if len(pool.local) != 1 or pool.selected or pool.ubiquitous:
                parts.append((id(pool), devices))
                continue
            if pool.drawing and not self._single:
                return None
            parts.append(self._pattern(pool, devices))
        return tuple(parts)

    def _pattern(self, pool: Pool, devices: Devices) -> Hashable:
        usage = self._usage.of_pool(pool)
        seen = tuple(
            (*demand.eligible(pool)[:5], demand.matcher.match(pool).failed) for demand in self._demands
        )
        shares = tuple(
            (
                index,
                tuple(sorted(usage.consumed.get(index, {}).items())),
                tuple((name, item.value.nano) for name, item in pool.devices[index].capacity.items()),
            )
            for index in members(usage.shared)
        )
        return (pool.problem, devices, usage.taken, usage.shared, usage.blocked, seen, shares)
