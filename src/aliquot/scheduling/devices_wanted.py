"""What pods of a breed take of the devices of each node, in the terms of the packing measure.

A form is a part of a device in thousandths (1000: all of it), or a partition of a board. On nodes of other
devices the same pods can take another: 20Gi is half of a GPU with 40Gi, and a quarter of one with 80Gi.
"""

from collections.abc import Sequence
from typing import NamedTuple

from aliquot.dra.demand import Demand
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.requests import blueprint
from aliquot.dra.shares import share_of_device
from aliquot.fractions.requests import GpuRequest, Kind
from aliquot.fractions.resources import WHOLE_DEVICES
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.mix import Breed, Example
from aliquot.scheduling.state import ClusterState

WHOLE = 1000
_BILLIONTHS = 1_000_000
"""Billionths of a device in a thousandth."""


class Form(NamedTuple):
    """milli: thousandths of a device. board: whether it is a partition of a board, of that size."""

    milli: int
    board: bool = False


class Wanted(NamedTuple):
    """What a breed takes: so many devices, and of each on every node a form; None where it finds none."""

    devices: int
    forms: tuple[Form | None, ...]
    demand: Demand | None
    """The devices that claims ask for; None for those of device plugins."""


class DevicesWanted:
    """Looks up what breeds take on the nodes of one cluster, whatever is in use there."""

    def __init__(self, state: ClusterState, uncounted: frozenset[str]) -> None:
        """uncounted: drivers whose devices are no accelerators."""
        self._state = state
        self._uncounted = uncounted
        self._known: dict[Breed, Wanted | None] = {}

    def of(self, breed: Breed, example: Example, numbers: Sequence[int]) -> Wanted | None:
        """numbers: the nodes that suit by labels and taints. None if what the breed asks for is more than so
        many devices of one kind."""
        if breed not in self._known:
            if len(self._known) >= _MOST_BREEDS:
                self._known.clear()
            self._known[breed] = self._look(breed, example, numbers)
        return self._known[breed]

    def _look(self, breed: Breed, example: Example, numbers: Sequence[int]) -> Wanted | None:
        forms: list[Form | None] = [None] * len(self._state.table.nodes)
        if breed.gpus is not None:
            if breed.claims or breed.gpus.mig:
                return None
            for number in numbers:
                forms[number] = self._of_plugin(breed.gpus, number)
            return Wanted(breed.gpus.devices, tuple(forms), None)
        asked = self._asked(example.claims)
        if asked is None:
            return None
        demand, count = asked
        for number in numbers:
            forms[number] = self._of_pools(demand, number)
        return Wanted(count, tuple(forms), demand)

    def _of_plugin(self, request: GpuRequest, number: int) -> Form | None:
        state = self._state
        whole = state.table.whole[number]
        if request.kind is Kind.WHOLE:
            names = (request.resource,) if request.resource else tuple(filter(WHOLE_DEVICES.match, whole))
            return Form(WHOLE) if any(whole.get(name) for name in names) else None
        if not state.parts.whole(number) or not state.parts.takes(number, request):
            return None
        milli = int(state.parts.charge(number, request)) // (request.devices * _BILLIONTHS)
        return Form(max(1, milli)) if milli <= WHOLE else None

    def _asked(self, claims: Sequence[ResourceClaim]) -> tuple[Demand, int] | None:
        """The accelerators that the claims ask for: so many that pass one test."""
        fleet = self._state.devices.fleet
        found: tuple[Demand, int] | None = None
        for claim in claims:
            ready = blueprint(fleet, claim)
            if ready.problem is not None:
                return None
            for request in ready.requests:
                first = request.alternatives[0] if len(request.alternatives) == 1 else None
                if first is None or not first.count or first.demand.admin:
                    return None
                if self._is_no_accelerator(first.demand):
                    continue
                if found is not None and found[0] is not first.demand:
                    return None
                found = first.demand, first.count + (0 if found is None else found[1])
        return found

    def _is_no_accelerator(self, demand: Demand) -> bool:
        for pool in self._state.devices.fleet.pools.values():
            if demand.eligible(pool).matched:
                return pool.driver in self._uncounted
        return False

    def _of_pools(self, demand: Demand, number: int) -> Form | None:
        name = self._state.table.names[number]
        for pool in self._state.devices.fleet.local_pools(name):
            eligible = demand.eligible(pool).eligible & pool.local.get(name, 0)
            plain = eligible & ~pool.drawing
            if plain:
                return Form(_milli(demand, pool, next(members(plain))))
            if eligible:
                share = share_of_device(pool, next(members(eligible)))
                return Form(max(1, int(share * WHOLE)), board=True)
        return None


_MOST_BREEDS = 1_000


def _milli(demand: Demand, pool: Pool, index: int) -> int:
    """Thousandths of a device, by the capacity of which most is taken."""
    if not pool.shareable >> index & 1:
        return WHOLE
    capacity = pool.devices[index].capacity
    return max(
        (
            max(1, amount * WHOLE // capacity[name].value.nano)
            for name, amount in demand.eligible(pool).amounts[index].items()
            if capacity[name].value.nano
        ),
        default=WHOLE,
    )


def accelerators(pool: Pool, demands: Sequence[Demand]) -> Devices:
    """The devices of a pool that some of the demands can have."""
    found = 0
    for demand in demands:
        found |= demand.eligible(pool).eligible
    return found
