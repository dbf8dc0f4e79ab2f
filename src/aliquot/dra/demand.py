"""Demand: the test that a single device must pass for a request, apart from constraints."""

from collections.abc import Mapping
from typing import NamedTuple

from aliquot.cel.quantity import Quantity
from aliquot.dra.capacity import consumption
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Devices, Pool, PoolState, members
from aliquot.dra.selectors import Matcher
from aliquot.dra.taints import DeviceTaints, untolerated
from aliquot.model.resource import DeviceToleration


class Eligible(NamedTuple):
    """Which devices of a pool could ever serve a demand.

    eligible: pass every test that does not depend on what is in use. matched: by the selectors; conditional:
    need binding conditions, which are off; tainted: untolerated; undersized: of those that match, too small
    or not to be divided as asked. amounts: what the demand takes of the capacities of shareable devices that
    match, in billionths.
    """

    eligible: Devices
    matched: Devices
    conditional: Devices
    tainted: Devices
    undersized: Devices
    amounts: Mapping[int, Mapping[str, int]]


class Demand:
    """Selectors, tolerations, capacity and admin access of one alternative.

    Equal demands are the same object within a fleet.
    """

    def __init__(
        self,
        features: Features,
        taints: DeviceTaints,
        matcher: Matcher,
        tolerations: tuple[DeviceToleration, ...],
        capacity: Mapping[str, Quantity],
        admin: bool,
    ) -> None:
        self.features = features
        self.taints = taints
        self.matcher = matcher
        self.tolerations = tolerations
        self.capacity = capacity
        self.admin = admin
        self._eligible: dict[Pool, Eligible] = {}

    @staticmethod
    def of(
        fleet: Fleet,
        matcher: Matcher,
        tolerations: tuple[DeviceToleration, ...],
        capacity: Mapping[str, Quantity],
        *,
        admin: bool,
    ) -> "Demand":
        key = (matcher, tolerations, tuple(sorted(capacity.items())), admin)
        known = fleet.demands.get(key)
        if known is None:
            known = Demand(fleet.features, fleet.taints, matcher, tolerations, capacity, admin)
            fleet.demands[key] = known
        return known

    def eligible(self, pool: Pool) -> Eligible:
        """What of a pool could serve the demand; computed once. Nothing of a pool with a problem."""
        known = self._eligible.get(pool)
        if known is None:
            known = self._eligible[pool] = self._judge(pool)
        return known

    def forget(self, pool: Pool) -> None:
        """Drop what is remembered about a pool that is gone."""
        self._eligible.pop(pool, None)
        self.matcher.forget(pool)

    def _judge(self, pool: Pool) -> Eligible:
        if pool.problem:
            return Eligible(0, 0, 0, 0, 0, {})
        features = self.features
        matched = self.matcher.match(pool).matched
        conditional = 0 if features.binding_conditions else matched & pool.conditional
        tainted = 0
        if features.device_taints:
            for index, taints in self.taints.of(pool).items():
                if matched >> index & 1 and untolerated(taints, self.tolerations) is not None:
                    tainted |= 1 << index
        undersized = 0
        amounts: dict[int, Mapping[str, int]] = {}
        if features.consumable_capacity and (self.capacity or pool.shareable):
            for index in members(matched if self.capacity else matched & pool.shareable):
                taken = consumption(pool.devices[index], self.capacity)
                if taken is None:
                    undersized |= 1 << index
                elif pool.shareable >> index & 1:
                    amounts[index] = {name: amount.nano for name, amount in taken.items()}
        eligible = matched & ~(conditional | tainted | undersized)
        return Eligible(eligible, matched, conditional, tainted, undersized, amounts)

    def free(self, pool: Pool, usage: PoolState) -> Devices:
        """The eligible devices that are not in use, whose counters suffice and that have capacity left."""
        found = self.eligible(pool)
        if self.admin:
            return found.eligible
        free = found.eligible & ~(usage.taken | usage.blocked)
        if usage.shared:
            # A device that others share may be shared again, its counters are paid for already.
            free &= ~usage.shared
            again = found.eligible & usage.shared & pool.shareable & ~usage.taken
            for index in members(again):
                if fits(pool, index, usage.consumed.get(index), found.amounts[index]):
                    free |= 1 << index
        return free


def fits(pool: Pool, index: int, consumed: Mapping[str, int] | None, amounts: Mapping[str, int]) -> bool:
    """Whether a shareable device has the amounts left over, in billionths."""
    if not consumed:
        return True
    capacity = pool.devices[index].capacity
    return all(
        consumed.get(name, 0) + amount <= capacity[name].value.nano for name, amount in amounts.items()
    )
