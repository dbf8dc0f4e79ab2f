"""Where pods could be if nothing ran there."""

from collections.abc import Callable

from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.static_fit import StaticFit

MOST = 1_000
"""So many kinds of pods are known at a time."""


class Hosts:
    """The nodes of a cluster by the kinds of pods that they could take, as long as the nodes and their
    devices stay as they are."""

    def __init__(self, state: ClusterState, static_fit: Callable[[PodFacts], StaticFit]) -> None:
        """static_fit: what labels and taints alone say."""
        self._state = state
        self._static_fit = static_fit
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, facts: PodFacts) -> int:
        """The nodes (bit i: node number i) that could take the pod, as far as labels, taints, resources and
        the devices that its claims ask for tell: never too few."""
        if facts.claims_shape is None:
            return self._found(facts)
        kind = (facts.traits.constraints, facts.traits.demand.items, facts.claims_shape)
        known = self._known.get(kind)
        if known is None:
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[kind] = self._found(facts)
        return known

    def _found(self, facts: PodFacts) -> int:
        whole, demand = self._state.table.whole, facts.traits.demand.items
        found = 0
        for number in self._static_fit(facts).numbers:
            if all(whole[number].get(resource, 0) >= wanted for resource, wanted in demand):
                found |= 1 << number
        return found & self._state.devices.hosts(facts.wanted) if facts.wanted else found
