"""Which pods are on which nodes, and what the tables of nodes hold by that."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from aliquot.fractions.groups import reserves
from aliquot.fractions.requests import GpuRequest
from aliquot.fractions.resources import WHOLE_DEVICES
from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.scheduling.facts import PodTraits
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.nodes import Demand, NodeTable
from aliquot.scheduling.parts import PartsInUse


@dataclass(frozen=True, slots=True)
class _Occupant:
    """A pod on a node with what it takes of it."""

    pod: Pod
    demand: Demand


class Occupants:
    """The pods on nodes, those bound for them included, by the numbers of the nodes. What they take is
    counted in the tables, node by node, once all that changed is known (`settle`)."""

    def __init__(
        self,
        table: NodeTable,
        parts: PartsInUse,
        neighbours: PodNeighbours,
        traits: Callable[[Pod], PodTraits],
    ) -> None:
        self._table = table
        self._parts = parts
        self._neighbours = neighbours
        self._traits = traits
        self._on: dict[int, dict[Key, _Occupant]] = {}
        self._was_on: dict[int, set[Key]] = {}
        self._changed: set[int] = set()

    def enter(self, number: int, pod: Pod, demand: Demand) -> None:
        if reserves(pod) is not None:
            # The devices that such a pod keeps are counted for the pods that share them.
            demand = demand.without(WHOLE_DEVICES.match)
        self._on.setdefault(number, {})[pod.key] = _Occupant(pod, demand)
        self._changed.add(number)

    def leave(self, number: int, pod: Pod) -> None:
        del self._on[number][pod.key]
        self._was_on.setdefault(number, set()).add(pod.key)
        self._changed.add(number)

    def keys(self, number: int) -> Iterable[Key]:
        """The names of the pods on a node."""
        return self._on.get(number, {})

    def pods(self, number: int) -> Iterator[Pod]:
        """The pods on a node."""
        for occupant in self._on.get(number, {}).values():
            yield occupant.pod

    def settle(self) -> None:
        """Count anew what is on the nodes where anybody came or went."""
        for number in sorted(self._changed):
            self._fill(number)
        self._changed.clear()

    def _fill(self, number: int) -> None:
        table, parts = self._table, self._parts
        name = table.names[number]
        here = self._on.get(number, {})
        table.clear(number)
        parts.clear(number, [*self._was_on.pop(number, ()), *here])
        pods: list[Pod] = []
        for key in sorted(here):
            occupant = here[key]
            pods.append(occupant.pod)
            table.occupy(name, occupant.demand)
            request = self._traits(occupant.pod).gpus
            if isinstance(request, GpuRequest):
                parts.occupy(number, occupant.pod, request)
        self._neighbours.replace(name, pods)
        for pod in pods:
            if pod.metadata.deletion_timestamp is not None:
                table.leave(number, here[pod.key].demand)
                parts.let_leave(number, pod.key)
