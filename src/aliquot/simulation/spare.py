"""What is free on every node, device by device, and how much of that is of no use to work as it comes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from aliquot.model.core import Node
from aliquot.model.index import Key
from aliquot.model.resource import ResourceSlice
from aliquot.packing.cluster import WHOLE, Demand, State
from aliquot.packing.fragmentation import Fragmentation, typical_pods
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.policy import NO_ACCELERATORS
from aliquot.simulation.rates import NodeRates, product, takes_work
from aliquot.simulation.workload import Workload

_MILLI = UNIT // WHOLE
_AT_LEAST = 100
"""The mix of work is learnt anew after so many arrivals at the earliest, and after a twentieth of all."""


class Free(msgspec.Struct):
    """What is left of a node: thousandths of a CPU, MiB, thousandths of each device; and who took which part
    of which device. names: the number of each device that the node's driver tells apart. open: takes work."""

    cpu: int
    memory: int
    model: str
    left: list[int]
    names: dict[str, int]
    taken: dict[Key, tuple[tuple[int, int], ...]] = {}
    open: bool = True


class Mix(msgspec.Struct):
    """The pods that were submitted, by what they ask for: so far, and as of when the mix was last learnt.
    arrived: workloads so far; learn_at: at which number of them it is learnt anew."""

    pods: dict[Demand, int] = {}
    learnt: dict[Demand, int] = {}
    arrived: int = 0
    learn_at: int = 0


def demand_of(workload: Workload) -> Demand:
    """What one pod of a workload asks for."""
    if not workload.amounts:
        part = workload.part if workload.devices else 0
        return Demand(workload.cpu, workload.memory, workload.devices, part, workload.models)
    milli = workload.devices_of_pod // _MILLI
    if milli >= WHOLE:
        return Demand(workload.cpu, workload.memory, -(-milli // WHOLE), WHOLE)
    return Demand(workload.cpu, workload.memory, 1 if milli else 0, milli)


class Spare:
    """Told of every pod that gets a node or leaves it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        slices: Mapping[str, Sequence[ResourceSlice]],
        rates: Mapping[str, NodeRates],
    ) -> None:
        self.free = {node.name: _free(node, slices.get(node.name, ()), rates[node.name]) for node in nodes}
        self.mix = Mix()
        self._values: dict[str, float] = {}
        self._changed: set[str] = set(self.free)
        self._measure: Fragmentation | None = None

    def arrived(self, workload: Workload) -> None:
        """A workload was submitted: its pods are part of the mix from now on."""
        self.mix.pods[demand_of(workload)] = self.mix.pods.get(demand_of(workload), 0) + workload.pods
        self.mix.arrived += 1

    def take(self, node: str, pod: Key, workload: Workload, names: Sequence[str]) -> None:
        """A pod takes room on a node. names: "driver/pool/device" of its devices, as far as they are told."""
        free = self.free.get(node)
        if free is None:
            return
        demand = demand_of(workload)
        known = [free.names[name] for name in names if name in free.names]
        if len(known) != demand.gpus:
            known = _tightest(free.left, demand)
        self.put(node, pod, workload, tuple((index, demand.milli) for index in known))

    def put(self, node: str, pod: Key, workload: Workload, parts: tuple[tuple[int, int], ...]) -> None:
        """A pod takes these parts (thousandths) of a node's devices, by number."""
        free = self.free[node]
        for index, milli in parts:
            free.left[index] -= milli
        free.cpu -= workload.cpu
        free.memory -= workload.memory
        free.taken[pod] = parts
        self._changed.add(node)

    def give(self, node: str, pod: Key, workload: Workload) -> None:
        """A pod left its node."""
        free = self.free.get(node)
        parts = free.taken.pop(pod, None) if free is not None else None
        if free is None or parts is None:
            return
        for index, milli in parts:
            free.left[index] += milli
        free.cpu += workload.cpu
        free.memory += workload.memory
        self._changed.add(node)

    def opened(self, node: str, is_open: bool) -> None:
        """A node takes work, or no longer."""
        free = self.free.get(node)
        if free is not None:
            free.open = is_open
            self._changed.add(node)

    def fragmented(self) -> int:
        """The free devices of nodes in order, in billionths, that a pod of the mix cannot use in the mean."""
        mix = self.mix
        if not mix.pods:
            return 0
        if mix.arrived >= mix.learn_at:
            mix.learnt = dict(mix.pods)
            mix.learn_at = mix.arrived + max(_AT_LEAST, mix.arrived // 20)
            self._measure = None
        if self._measure is None:
            self._measure = Fragmentation(typical_pods(Counter(mix.learnt).elements()))
            self._changed.update(self.free)
        for name in self._changed:
            free = self.free[name]
            value = 0.0
            if free.open and any(free.left):
                left = tuple(max(0, item) for item in free.left)
                value = self._measure.of(State(max(0, free.cpu), free.memory, left, free.model))
            self._values[name] = value
        self._changed.clear()
        # Exactly rounded, so that the order in which nodes changed makes no difference.
        return round(math.fsum(self._values.values())) * _MILLI


def _tightest(left: Sequence[int], demand: Demand) -> list[int]:
    """The devices with the least left that is enough; where there are too few, those with most."""
    fitting = sorted((room, index) for index, room in enumerate(left) if room >= demand.milli)
    chosen = [index for _, index in fitting[: demand.gpus]]
    if len(chosen) < demand.gpus:
        rest = sorted((-room, index) for index, room in enumerate(left) if index not in chosen)
        chosen += [index for _, index in rest[: demand.gpus - len(chosen)]]
    return chosen


def _free(node: Node, slices: Sequence[ResourceSlice], rates: NodeRates) -> Free:
    names: dict[str, int] = {}
    for item in slices:
        if item.spec.driver not in NO_ACCELERATORS:
            for device in item.spec.devices:
                if not device.consumes_counters:
                    names[f"{item.spec.driver}/{item.spec.pool.name}/{device.name}"] = len(names)
    count = -(-rates.devices // UNIT)
    if len(names) != count:
        names = {}
    cpu, memory = node.status.allocatable.get("cpu"), node.status.allocatable.get("memory")
    return Free(
        cpu=cpu.nano // 10**6 if cpu is not None else 0,
        memory=memory.nano // UNIT >> 20 if memory is not None else 0,
        model=product(node, slices),
        left=[WHOLE] * count,
        names=names,
        open=takes_work(node),
    )
