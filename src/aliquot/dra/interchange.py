"""Which devices are interchangeable in the course of a search.

Two devices are if swapping them turns every way to go on into another valid way. For devices that draw on
counters that means: the same draws on the same counter set, or on sets that look the same: as much left of
each counter and the same devices around, free and taken alike.
"""

from collections.abc import Hashable, Sequence

from aliquot.dra.constraints import Together
from aliquot.dra.pools import Devices, members
from aliquot.dra.progress import Progress
from aliquot.dra.requests import Blueprint
from aliquot.dra.taints import DeviceTaints
from aliquot.dra.view import View


class Interchange:
    """Classes of interchangeable devices of some views, for some claims."""

    def __init__(
        self,
        taints: DeviceTaints,
        views: Sequence[View],
        blueprints: Sequence[Blueprint],
        together: Sequence[Together] = (),
    ) -> None:
        self._taints = taints
        self._views = views
        self._blueprints = blueprints
        self._together = together
        self._static: dict[tuple[int, int], int] = {}
        self._statics: dict[Hashable, int] = {}

    def class_of(self, claim: Progress, number: int, index: int, banned: Sequence[Devices]) -> Hashable:
        """Equal for devices that are interchangeable for a request of `claim` in the current state.

        number: of the view that the device is in. banned: by view, the devices left out of the request.
        """
        view = self._views[number]
        pool = view.pool
        bit = 1 << index
        static = (self._static_of(number, index), bool((view.taken | view.shared) & bit))
        if pool.shareable & bit:
            used = view.consumed.get(index)
            amounts = () if used is None else tuple(sorted(used.items()))
            if not pool.drawing & bit:
                return (static, amounts)
            return (static, number, index)
        if not pool.drawing & bit:
            return static
        rivals = pool.rivals(index)
        sets = {pool.counter_sets[n] for n, _ in pool.draws[index]}
        if len(sets) != 1 or rivals & pool.shareable or claim.with_admin_access():
            return (static, number, pool.draws[index])
        (only,) = sets
        start, end = pool.set_spans[only]
        geometry: list[Hashable] = []
        for member in members(rivals):
            draws = pool.draws[member]
            if any(not start <= n < end for n, _ in draws):
                return (static, number, pool.draws[index])
            available = not (view.taken | banned[number]) >> member & 1
            geometry.append(
                (self._static_of(number, member), available, tuple((n - start, a) for n, a in draws))
            )
        own = tuple((n - start, a) for n, a in pool.draws[index])
        return (static, own, view.remaining[start:end], frozenset(_counted(geometry)))

    def _static_of(self, number: int, index: int) -> int:
        """A number for all that tells devices apart but does not change during the search."""
        known = self._static.get((number, index))
        if known is None:
            view = self._views[number]
            pool = view.pool
            device = pool.devices[index]
            facts: list[Hashable] = [
                bool(self._taints.tainted(pool) >> index & 1),
                bool(device.binding_conditions),
                device.binds_to_node or pool.home(index) is not None,
                pool.node_selection(index),
                bool(view.devices >> index & 1),
                view.appraisal.places_of(index),
                pool.shareable >> index & 1,
            ]
            if pool.shareable >> index & 1:
                facts.append(tuple(sorted((n, c.value.nano) for n, c in device.capacity.items())))
            facts.extend(pool.attribute(each.name_in(pool))[index] for each in self._together)
            for blueprint in self._blueprints:
                facts.extend(
                    pool.attribute(constraint.attribute)[index] for constraint in blueprint.constraints
                )
                for request in blueprint.requests:
                    for alternative in request.alternatives:
                        found = alternative.demand.eligible(pool)
                        facts.append((found.eligible >> index & 1, found.matched >> index & 1))
                        if index in found.amounts:
                            facts.append(tuple(sorted(found.amounts[index].items())))
            known = self._statics.setdefault(tuple(facts), len(self._statics))
            self._static[number, index] = known
        return known


def _counted(values: Sequence[Hashable]) -> list[Hashable]:
    counts: dict[Hashable, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())
