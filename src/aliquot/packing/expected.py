"""Aliquot's placement: each pod goes where the cluster loses least of what it can still be expected to hold.

Three losses count, the first before the others:

1. what the devices' rooms are worth in whole GPUs, at the prices of the cutting-stock problem
   (`patterns`): a 160 into a room of 190 costs nothing, into a room of 350 a third of a GPU;
2. what the rooms can be expected to be filled with, given the CPU of their node (`filling`), and
3. how many pods of each kind the cluster could hold, weighted by frequency over the square of that number:
   the gradient of the sum of frequency / capacity, so that what few nodes can hold is given away last.

The mix of pods is learnt from the arrivals so far, anew whenever their number has doubled.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from aliquot.packing.cluster import WHOLE, Demand, State
from aliquot.packing.filling import CPU_CELL, CPU_CELLS, Filling
from aliquot.packing.patterns import CELLS, cells, part_prices, worth_of_rooms
from aliquot.packing.placer import Stateless

PATTERN_WEIGHT = 100.0
FILLING_WEIGHT = 4.0
"""Weights of the first and second loss against the third. Between 3 and 20 the second hardly matters."""

WHOLE_NODE_TENTHS = 9
"""What a pod for a whole node takes of its CPU and memory, in tenths."""

LONGEST_PERIOD = 16_384
"""Arrivals after which the mix is learnt anew at the latest."""

CPU_STEP = 1000
MEMORY_STEP = 32_768
"""Of what nodes have left: nodes that differ by less count as alike, rounded down."""
KIND_MILLI_STEP = 50
KIND_CPU_STEPS = 2
KIND_MEMORY_STEPS = 1
"""Of what pods ask for, CPU and memory in the steps of nodes: for the third loss, kinds that differ by less
are taken together, rounded up."""

_Outline = tuple[str, int, int, tuple[int, ...]]
"""A node as the losses see it: model, steps of CPU and memory, milli-GPU left of the devices, ascending."""
_Kind = tuple[int, int, float]
"""Steps of CPU, steps of memory, weight."""
_Group = tuple[int, int, list[_Kind]]
"""Milli-GPU of each GPU, GPUs, and the kinds that ask for so many, in the order of their CPU."""
_MergedKind = tuple[int, int, int, int, tuple[str, ...]]
"""GPUs, milli-GPU of each, steps of CPU, steps of memory, GPU models."""


class _View(NamedTuple):
    """What the losses take from a node's devices alone, whatever its CPU and memory.

    worth: the first loss. rooms: cells left of each device, and its share of the node's CPU, which goes by
    what its pods should take. sizes: for each size of demand that fits, the least CPU it asks for, how many
    pods fit, the milli-GPU left of the devices that fit one, the milli-GPU of a pod, and its kinds.
    """

    worth: float
    rooms: list[tuple[int, float]]
    sizes: list[tuple[int, int, int, int, list[_Kind]]]


class ExpectedCapacity(Stateless):
    """The policy. It learns from `arrived`; of equal losses the first node wins, on it the fullest device.

    The devices of a node are alike to it: it expects what is left of them in ascending order and keeps it so.
    """

    def __init__(self) -> None:
        self._counts: Counter[Demand] = Counter()
        self._seen = 0
        self._learn_at = 1
        self._shapes: dict[tuple[str, int], tuple[int, int]] = {}
        self._values: dict[_Outline, float] = {}
        self._views: dict[tuple[str, tuple[int, ...]], _View] = {}
        self._groups: dict[str, list[_Group]] = {}
        self._worth = [0.0] * (CELLS + 1)
        self._filling = Filling({}, {})

    def score(self, state: State, demand: Demand) -> float:
        before = self._value((state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus))
        best = max(self._value(outline) for outline in _outlines(state, demand))
        # Losses that are equal on paper are equal here too, whatever their sums' last bits are.
        return round(best - before, 6)

    def after(self, state: State, demand: Demand) -> State:
        best = max(_outlines(state, demand), key=self._value)
        return State(state.cpu - demand.cpu, state.memory - demand.memory, best[3], state.model)

    def arrived(self, demand: Demand, states: Sequence[State]) -> bool:
        self._counts[demand] += 1
        self._seen += 1
        if self._seen < self._learn_at:
            return False
        self._learn_at = self._seen + min(self._seen, LONGEST_PERIOD)
        self._learn(states)
        return True

    def _value(self, outline: _Outline) -> float:
        value = self._values.get(outline)
        if value is None:
            value = self._values[outline] = self._measure(outline)
        return value

    def _measure(self, outline: _Outline) -> float:
        model, cpu, memory, gpus = outline
        view = self._views.get((model, gpus))
        if view is None:
            view = self._views[(model, gpus)] = self._view(model, gpus)
        value = view.worth
        if view.rooms:
            filled = self._filling.filled
            cells_of_cpu = cpu * CPU_STEP / CPU_CELL
            for room, share in view.rooms:
                value += FILLING_WEIGHT * WHOLE * filled(room, share * cells_of_cpu)
        for least_cpu, count, usable, total, kinds in view.sizes:
            if least_cpu <= cpu:
                value += _hosted(count, usable, total, cpu, memory, kinds)
        return value

    def _view(self, model: str, gpus: Sequence[int]) -> "_View":
        rooms = [left * CELLS // WHOLE for left in gpus if left]
        needs = [self._filling.cpu_needed[room] for room in rooms]
        whole = sum(needs)
        sizes = []
        for milli, number, kinds in self._groups.get(model, ()):
            count, usable = _room_for(gpus, number, milli)
            if count:
                sizes.append((kinds[0][0], count, usable, number * milli, kinds))
        return _View(
            PATTERN_WEIGHT * WHOLE * sum(self._worth[room] for room in rooms),
            [(room, need / whole) for room, need in zip(rooms, needs) if need],
            sizes,
        )

    def _learn(self, states: Sequence[State]) -> None:
        kinds: Counter[_MergedKind] = Counter()
        parts: Counter[int] = Counter()
        fillers: Counter[tuple[int, int]] = Counter()
        for demand, count in self._counts.items():
            if not demand.gpus:
                continue
            cpu = -(-demand.cpu // (CPU_STEP * KIND_CPU_STEPS)) * KIND_CPU_STEPS
            memory = -(-demand.memory // (MEMORY_STEP * KIND_MEMORY_STEPS)) * KIND_MEMORY_STEPS
            milli = -(-demand.milli // KIND_MILLI_STEP) * KIND_MILLI_STEP
            kinds[(demand.gpus, milli, cpu, memory, demand.models)] += count
            size = cells(demand.milli)
            parts[size] += count * demand.gpus
            cpu_of_one = min(CPU_CELLS, -(-demand.cpu // (CPU_CELL * demand.gpus)))
            fillers[(size, cpu_of_one)] += count * demand.gpus
        prices = part_prices(parts)
        self._worth = worth_of_rooms(prices)
        self._filling = Filling({kind: count / self._seen for kind, count in fillers.items()}, prices)
        for kind in self._whole_nodes(states):
            kinds[kind] += 1
        self._groups = _weighed(kinds, states)
        self._values.clear()
        self._views.clear()

    def _whole_nodes(self, states: Sequence[State]) -> Iterator[_MergedKind]:
        """A pod that takes nearly all of a node, for each shape of nodes seen so far.

        It counts as if it had come once: large pods are rare, and the first of them should find a node.
        """
        for state in states:
            shape = (state.model, len(state.gpus))
            cpu, memory = self._shapes.get(shape, (0, 0))
            if state.cpu > cpu or state.memory > memory:
                self._shapes[shape] = (max(cpu, state.cpu), max(memory, state.memory))
        for (_, number), (cpu, memory) in self._shapes.items():
            if number > 1:
                most_cpu = cpu * WHOLE_NODE_TENTHS // 10 // CPU_STEP
                yield (number, WHOLE, most_cpu, memory * WHOLE_NODE_TENTHS // 10 // MEMORY_STEP, ())


def _weighed(kinds: Mapping[_MergedKind, int], states: Sequence[State]) -> dict[str, list[_Group]]:
    """The kinds by GPU model, each with its weight: frequency over the square of the cluster's capacity."""
    outlines = Counter(
        (state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus) for state in states
    )
    by_size: dict[tuple[int, int], list[_MergedKind]] = {}
    for kind in kinds:
        by_size.setdefault(kind[:2], []).append(kind)
    whole = sum(len(state.gpus) for state in states) * WHOLE
    capacities: Counter[_MergedKind] = Counter()
    for (model, cpu_left, memory_left, gpus), count in outlines.items():
        for size, group in by_size.items():
            fits, usable = _room_for(gpus, *size)
            if fits:
                for kind in group:
                    _, _, cpu, memory, models = kind
                    if cpu <= cpu_left and memory <= memory_left and (not models or model in models):
                        pods = min(
                            fits, cpu_left // cpu if cpu else fits, memory_left // memory if memory else fits
                        )
                        capacities[kind] += count * (pods * size[0] * size[1] + usable)
    weights = {
        kind: kinds[kind] * (whole / capacity) ** 2 for kind, capacity in capacities.items() if capacity
    }
    total = sum(weights.values())
    groups: dict[str, list[_Group]] = {}
    for node_model in {state.model for state in states}:
        found: dict[tuple[int, int], list[_Kind]] = {}
        for (number, milli, cpu, memory, models), weight in weights.items():
            if not models or node_model in models:
                found.setdefault((number, milli), []).append((cpu, memory, weight / total))
        # In the order of what they ask for, so that the first that asks for too much ends a search.
        groups[node_model] = sorted(
            (milli, number, sorted(group)) for (number, milli), group in found.items()
        )
    return groups


def _outlines(state: State, demand: Demand) -> list[_Outline]:
    """What the node can look like with the demand on it: one for each different device that a share fits."""
    cpu = (state.cpu - demand.cpu) // CPU_STEP
    memory = (state.memory - demand.memory) // MEMORY_STEP
    gpus = state.gpus
    if not demand.gpus:
        return [(state.model, cpu, memory, gpus)]
    milli = demand.milli
    if demand.gpus == 1:
        found = []
        last = -1
        for index, left in enumerate(gpus):
            if left >= milli and left != last:
                last = left
                rest = left - milli
                if index == 0 or gpus[index - 1] <= rest:
                    changed = (*gpus[:index], rest, *gpus[index + 1 :])
                else:
                    changed = tuple(sorted((*gpus[:index], rest, *gpus[index + 1 :])))
                found.append((state.model, cpu, memory, changed))
        return found
    changed_gpus = list(gpus)
    first = next(index for index, left in enumerate(gpus) if left >= milli)
    for index in range(first, first + demand.gpus):
        changed_gpus[index] -= milli
    return [(state.model, cpu, memory, tuple(sorted(changed_gpus)))]


def _room_for(rooms: Sequence[int], number: int, milli: int) -> tuple[int, int]:
    """How many pods of so many GPUs the devices have room for, and the milli-GPU left of devices with any."""
    count = usable = 0
    for left in rooms:
        if left >= milli:
            count += left // milli
            usable += left
    return count // number, usable


def _hosted(count: int, usable: int, total: int, cpu: int, memory: int, kinds: Sequence[_Kind]) -> float:
    """Milli-GPU that pods of the kinds, of `total` each, could use on a node, by weight.

    For each kind: that of as many pods as fit (count, unless CPU or memory allow fewer), and once more that
    of the devices that one fits, which tells what is lost to fragmentation in FGD's sense.
    """
    value = 0.0
    for kind_cpu, kind_memory, weight in kinds:
        if kind_cpu > cpu:
            break
        if kind_memory > memory:
            continue
        fits = count
        if kind_cpu and cpu // kind_cpu < fits:
            fits = cpu // kind_cpu
        if kind_memory and memory // kind_memory < fits:
            fits = memory // kind_memory
        value += weight * (fits * total + usable)
    return value
