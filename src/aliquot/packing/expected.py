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
from collections.abc import Sequence

from aliquot.packing.cluster import WHOLE, Demand, State
from aliquot.packing.filling import CPU_CELL, CPU_CELLS, Filling
from aliquot.packing.patterns import CELLS, cells, part_prices, worth_of_rooms
from aliquot.packing.placer import Stateless

PATTERN_WEIGHT = 100.0
FILLING_WEIGHT = 4.0
"""Weights of the first and second loss against the third. Between 3 and 20 the second hardly matters."""

LONGEST_PERIOD = 16_384
"""Arrivals after which the mix is learnt anew at the latest."""

CPU_STEP = 1000
MEMORY_STEP = 16_384
"""Of what nodes have left: nodes that differ by less count as alike, rounded down."""
KIND_CPU_STEPS = 2
KIND_MEMORY_STEPS = 2
"""Of what pods ask for, in the steps of nodes: kinds that differ by less are taken together, rounded up."""

_Outline = tuple[str, int, int, tuple[int, ...]]
"""A node as the losses see it: model, steps of CPU and memory, milli-GPU left of the devices, ascending."""
_Kind = tuple[int, int, float]
"""Steps of CPU, steps of memory, weight."""


class ExpectedCapacity(Stateless):
    """The policy. Learns from `arrived`; before the first arrival it prefers nothing."""

    def __init__(self) -> None:
        self._counts: Counter[Demand] = Counter()
        self._seen = 0
        self._learn_at = 1
        self._values: dict[_Outline, float] = {}
        self._groups: dict[str, list[tuple[int, int, list[_Kind]]]] = {}
        self._worth = [0.0] * (CELLS + 1)
        self._filling = Filling({}, {})

    def score(self, state: State, demand: Demand) -> float:
        before = self._value((state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus))
        return max(self._value(outline) for outline in _outlines(state, demand)) - before

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
        rooms = [left for left in gpus if left]
        if not rooms:
            return 0.0
        filling = self._filling
        shares = [filling.cpu_needed[left // 10] for left in rooms]
        whole = sum(shares)
        per_need = cpu * CPU_STEP / CPU_CELL / whole if whole else 0.0
        worth = filled = 0.0
        for left, need in zip(rooms, shares):
            room = left // 10
            worth += self._worth[room]
            filled += filling.filled(room, need * per_need)
        value = (PATTERN_WEIGHT * worth + FILLING_WEIGHT * filled) * WHOLE
        for number, milli, kinds in self._groups.get(model, ()):
            value += _hosted(rooms, cpu, memory, number, milli, kinds)
        return value

    def _learn(self, states: Sequence[State]) -> None:
        merged: Counter[tuple[int, int, int, int, tuple[str, ...]]] = Counter()
        parts: Counter[int] = Counter()
        fillers: Counter[tuple[int, int]] = Counter()
        for demand, count in self._counts.items():
            if not demand.gpus:
                continue
            frequency = count / self._seen
            cpu = -(-demand.cpu // (CPU_STEP * KIND_CPU_STEPS)) * KIND_CPU_STEPS
            memory = -(-demand.memory // (MEMORY_STEP * KIND_MEMORY_STEPS)) * KIND_MEMORY_STEPS
            merged[(demand.gpus, demand.milli, cpu, memory, demand.models)] += frequency
            size = cells(demand.milli)
            parts[size] += frequency * demand.gpus
            per_gpu = min(CPU_CELLS, -(-demand.cpu // (CPU_CELL * demand.gpus)))
            fillers[(size, per_gpu)] += frequency * demand.gpus
        prices = part_prices(parts)
        self._worth = worth_of_rooms(prices)
        self._filling = Filling(fillers, prices)
        outlines = Counter(
            (state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus) for state in states
        )
        capacity = sum(len(outline[3]) * count for outline, count in outlines.items()) * WHOLE
        weights = {}
        for kind, frequency in merged.items():
            number, milli, cpu, memory, models = kind
            held = 0.0
            for (model, cpu_left, memory_left, gpus), count in outlines.items():
                if not models or model in models:
                    held += count * _hosted(gpus, cpu_left, memory_left, number, milli, [(cpu, memory, 1.0)])
            if held:
                weights[kind] = frequency * (capacity / held) ** 2
        total = sum(weights.values())
        self._groups = {}
        for model in {state.model for state in states}:
            groups: dict[tuple[int, int], list[_Kind]] = {}
            for (number, milli, cpu, memory, models), weight in weights.items():
                if not models or model in models:
                    groups.setdefault((number, milli), []).append((cpu, memory, weight / total))
            self._groups[model] = [(*key, sorted(kinds)) for key, kinds in groups.items()]
        self._values.clear()


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


def _hosted(
    rooms: Sequence[int], cpu: int, memory: int, number: int, milli: int, kinds: Sequence[_Kind]
) -> float:
    """Milli-GPU that pods of the kinds could use here, by weight.

    For each kind: of as many pods as fit, and once more the devices' rooms that at least one fits, which
    tells what is lost to fragmentation in FGD's sense.
    """
    count = usable = 0
    for left in rooms:
        if left >= milli:
            count += left // milli
            usable += left
    count //= number
    if not count:
        return 0.0
    total = number * milli
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
