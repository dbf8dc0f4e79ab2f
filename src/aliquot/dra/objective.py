"""What makes one allocation better than another: an Objective, and the cost of devices under it.

The cost of a device is a weighted sum of criteria between 0 and 1; an allocation costs the sum over its
devices, each at the time it is chosen. Costs only order what is valid; they never make it invalid.
"""

from collections.abc import Sequence

import msgspec

from aliquot.dra.pools import Devices, Pool, PoolState, members

NUMA_NODE = ("resource.kubernetes.io/numaNode", "numaNode", "dra.net/numaNode")
PCIE_ROOT = ("resource.kubernetes.io/pcieRoot", "pcieRoot")


class Objective(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Weights of the criteria, and which attributes tell that devices are close to each other.

    spread: a device is far from those chosen for the claim before. crowd: it is taken out of a group of
    close devices that is larger than needed, or too small for the request. size: it is much of a physical
    device. opens: it breaks a physical device of which nothing was taken. loses: partitions (weighed by
    size) that can no longer be given away after it. slack: capacity left over after a share. delays: it
    needs binding conditions. tainted: it has a taint, though a tolerated one.
    locality: from the widest to the narrowest; of each level's attribute names the first that a device has
    counts, names without domain belong to the device's driver.
    """

    spread: float = 2.0
    crowd: float = 1.0
    size: float = 4.0
    opens: float = 2.0
    loses: float = 2.0
    slack: float = 1.0
    delays: float = 16.0
    tainted: float = 8.0
    locality: tuple[tuple[str, ...], ...] = (NUMA_NODE, PCIE_ROOT)


DEFAULT = Objective()
"""Keep physical devices and groups of close devices whole; keep what belongs together close."""


class Appraisal:
    """What an objective needs to know of one pool, looked up once.

    groups: per level of locality the devices of each place. places: per level each device's place.
    """

    __slots__ = ("_potential", "groups", "objective", "places", "pool", "sizes")

    def __init__(self, pool: Pool, objective: Objective) -> None:
        self.pool = pool
        self.objective = objective
        self.places: list[tuple[object, ...]] = []
        self.groups: list[list[Devices]] = []
        for names in objective.locality:
            columns = [pool.attribute(name if "/" in name else f"{pool.driver}/{name}") for name in names]
            places = tuple(
                next((value for value in values if value is not None), None) for values in zip(*columns)
            )
            grouped: dict[object, Devices] = {}
            for index, place in enumerate(places):
                if place is not None:
                    grouped[place] = grouped.get(place, 0) | 1 << index
            self.places.append(places)
            self.groups.append(list(grouped.values()))
        self.sizes = tuple(map(self._size, range(len(pool.devices)))) if pool.drawing else ()
        self._potential: dict[tuple[int, tuple[int, ...]], float] = {}

    def _size(self, index: int) -> float:
        """The largest share of a counter that the device draws."""
        counters = self.pool.counters
        return max(
            (amount / counters[number] for number, amount in self.pool.draws[index] if counters[number]),
            default=1.0,
        )

    def costs(
        self,
        free: Devices,
        taken: PoolState,
        wanted: int,
        tainted: Devices,
        near: Sequence[tuple[object, ...]],
    ) -> dict[int, float]:
        """The cost of each free device, as the next of `wanted`.

        near: the places, one per level, of the devices chosen for the claim before.
        """
        pool, objective = self.pool, self.objective
        costs = dict.fromkeys(members(free), 0.0)
        for level, groups in enumerate(self.groups):
            if len(groups) > 1:
                for group in groups:
                    here = group & free
                    if here:
                        count = here.bit_count()
                        crowd = objective.crowd * (1.0 if count < wanted else (count - wanted) / (count + 1))
                        for index in members(here):
                            costs[index] += crowd
            if near:
                places = self.places[level]
                weight = objective.spread / len(near)
                for index in costs:
                    place = places[index]
                    for other in near:
                        if other[level] is not None and place != other[level]:
                            costs[index] += weight
        for index in members(free & pool.conditional):
            costs[index] += objective.delays
        for index in members(free & tainted):
            costs[index] += objective.tainted
        if pool.drawing:
            for index in members(free & pool.drawing):
                costs[index] += self._partition(index, taken)
        for index in members(free & pool.shareable):
            costs[index] += self._share(index, taken)
        return costs

    def places_of(self, index: int) -> tuple[object, ...]:
        """Where a device is, one place per level."""
        return tuple(places[index] for places in self.places)

    def _partition(self, index: int, taken: PoolState) -> float:
        pool, objective, remaining = self.pool, self.objective, taken.remaining
        cost = objective.size * self.sizes[index]
        draws = pool.draws[index]
        if self.sizes[index] < 1.0 and all(remaining[n] == pool.counters[n] for n, _ in draws):
            cost += objective.opens
        for number in {pool.counter_sets[n] for n, _ in draws}:
            start, end = pool.set_spans[number]
            before = tuple(remaining[start:end])
            after = list(before)
            for counter, amount in draws:
                if start <= counter < end:
                    after[counter - start] -= amount
            whole = self._worth(number, tuple(pool.counters[start:end]))
            if whole:
                lost = self._worth(number, before) - self._worth(number, tuple(after))
                cost += objective.loses * lost / whole
        return cost

    def _worth(self, number: int, remaining: tuple[int, ...]) -> float:
        """How much could be given away of a counter set: the sizes of the devices that fit what remains."""
        known = self._potential.get((number, remaining))
        if known is not None:
            return known
        pool = self.pool
        start, end = pool.set_spans[number]
        worth = 0.0
        for index in members(pool.set_members[number]):
            if all(
                amount <= remaining[counter - start]
                for counter, amount in pool.draws[index]
                if start <= counter < end
            ):
                worth += self.sizes[index]
        self._potential[number, remaining] = worth
        return worth

    def _share(self, index: int, taken: PoolState) -> float:
        objective = self.objective
        capacity = self.pool.devices[index].capacity
        used = taken.consumed.get(index, {})
        cost = 0.0 if taken.shared >> index & 1 else objective.opens
        if capacity:
            left = sum(
                1 - used.get(name, 0) / each.value.nano if each.value.nano else 0.0
                for name, each in capacity.items()
            )
            cost += objective.slack * left / len(capacity)
        return cost
