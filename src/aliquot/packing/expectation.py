"""What a cluster can be expected to hold, for a known mix of pods: the measure that placements are judged by.

Three losses count, the first before the others:

1. what the devices' rooms are worth in whole GPUs, at the prices of the cutting-stock problem (`patterns`,
   `boards`): a 160 into a room of 190 costs nothing, into a room of 350 a third of a GPU;
2. what the rooms can be expected to be filled with, given the CPU of their node (`filling`), and
3. how many pods of each kind the cluster could hold, weighted by frequency over the square of that number:
   the gradient of the sum of frequency / capacity, so that what few nodes can hold is given away last.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aliquot.packing.boards import Board, Counters, Partition
from aliquot.packing.cluster import WHOLE, Demand, Room, State
from aliquot.packing.filling import CPU_CELL, CPU_CELLS, Filling
from aliquot.packing.patterns import CELLS, cells, part_prices, worth_of_rooms

WHOLE_NODE_TENTHS = 9
"""What a pod for a whole node takes of its CPU and memory, in tenths."""

CPU_STEP = 1000
MEMORY_STEP = 32_768
"""Of what nodes have left: nodes that differ by less count as alike, rounded down."""
KIND_MILLI_STEP = 50
KIND_CPU_STEPS = 2
KIND_MEMORY_STEPS = 1
"""Of what pods ask for, CPU and memory in the steps of nodes: for the third loss, kinds that differ by less
are taken together, rounded up."""

MOST_VALUES = 200_000
"""Outlines of nodes whose value is remembered before the memory is emptied."""

Outline = tuple[str, int, int, tuple[int, ...], tuple[Room, ...]]
"""A node as the losses see it: model, steps of CPU and memory, milli-GPU left of the devices, ascending, and
rooms of boards, ascending."""
WholeNodes = Mapping[tuple[str, int], tuple[int, int]]
"""The most CPU and memory of the nodes of a model with so many GPUs."""

_Kind = tuple[int, int, float]
"""Steps of CPU, steps of memory, weight."""
_Group = tuple[int, int, str, list[_Kind]]
"""Milli-GPU of each GPU, GPUs, profile, and the kinds that ask for so many, in the order of their CPU."""
_MergedKind = tuple[int, int, str, int, int, tuple[str, ...]]
"""GPUs, milli-GPU of each, profile, steps of CPU, steps of memory, GPU models."""


class Weights(NamedTuple):
    """Of the first and second loss against the third."""

    pattern: float
    filling: float


FILLING_UP = Weights(100.0, 4.0)
"""Where a cluster fills up. Between 3 and 20 the second hardly matters."""

STEADY = Weights(0.3, 0.03)
"""Where as many pods leave as come. What a room lost it gets back when a pod leaves it, but a large pod, of
which the third loss tells, waits until several have left. A third of these weights does as well."""


class BoardType(NamedTuple):
    """A type of board: the counters of a whole one, and its partitions by profile."""

    counters: Counters
    partitions: Mapping[str, Partition]


class _View(NamedTuple):
    """What the losses take from a node's devices alone, whatever its CPU and memory.

    worth: the first loss. rooms: cells left of each device, and its share of the node's CPU, which goes by
    what its pods should take. sizes: for each size of demand that fits, the least CPU it asks for, how many
    pods fit, the milli-GPU left of the devices that fit one, the milli-GPU of a pod, and its kinds.
    """

    worth: float
    rooms: list[tuple[int, float]]
    sizes: list[tuple[int, int, float, int, list[_Kind]]]


class Expectation:
    """The measure for one mix.

    The devices of a node are alike to it: it expects what is left of them in ascending order and keeps it so.
    """

    def __init__(
        self,
        mix: Mapping[Demand, int],
        arrivals: int,
        states: Iterable[State],
        whole_nodes: WholeNodes,
        boards: Sequence[BoardType] = (),
        *,
        leaving: bool = False,
        weights: Weights = FILLING_UP,
    ) -> None:
        """mix: how often each kind of pod came. arrivals: of all pods. states: the nodes for whose capacity
        kinds compete. whole_nodes: what has room for the largest pods. boards: the types that rooms name by
        number. leaving: pods leave again, see `_weighed`. weights: of the losses."""
        self._weights = weights
        kinds: Counter[_MergedKind] = Counter()
        parts: Counter[int] = Counter()
        fillers: Counter[tuple[int, int]] = Counter()
        profiles: Counter[str] = Counter()
        for demand, count in mix.items():
            if not demand.gpus:
                continue
            cpu = -(-demand.cpu // (CPU_STEP * KIND_CPU_STEPS)) * KIND_CPU_STEPS
            memory = -(-demand.memory // (MEMORY_STEP * KIND_MEMORY_STEPS)) * KIND_MEMORY_STEPS
            milli = -(-demand.milli // KIND_MILLI_STEP) * KIND_MILLI_STEP
            kinds[(demand.gpus, milli, demand.profile, cpu, memory, demand.models)] += count
            if demand.profile:
                profiles[demand.profile] += count * demand.gpus
                continue
            size = cells(demand.milli)
            parts[size] += count * demand.gpus
            cpu_of_one = min(CPU_CELLS, -(-demand.cpu // (CPU_CELL * demand.gpus)))
            fillers[(size, cpu_of_one)] += count * demand.gpus
        prices = part_prices(parts)
        self._worth = worth_of_rooms(prices)
        self._filling = Filling({kind: count / arrivals for kind, count in fillers.items()}, prices)
        self._boards = [Board(board.counters, board.partitions, profiles) for board in boards]
        for kind in _for_whole_nodes(whole_nodes):
            kinds[kind] += 1
        self._groups = self._weighed(kinds, states, leaving)
        self._values: dict[Outline, float] = {}
        self._views: dict[tuple[str, tuple[int, ...], tuple[Room, ...]], _View] = {}

    def fits(self, state: State, demand: Demand) -> bool:
        """Whether the demand can be placed, for partitions of boards too."""
        if not demand.profile:
            return state.fits(demand)
        if state.cpu < demand.cpu or state.memory < demand.memory:
            return False
        return self._room_for((), state.boards, demand.gpus, demand.milli, demand.profile)[0] > 0

    def score(self, state: State, demand: Demand) -> float:
        """What placing the demand on a node that it fits loses: 0 for nothing, otherwise less."""
        best = max((self._value(outline) for outline in self._outlines(state, demand)), default=0.0)
        # Losses that are equal on paper are equal here too, whatever their sums' last bits are.
        return round(best - self.value(state), 6)

    def after(self, state: State, demand: Demand) -> State:
        """The node with the demand on the device where least is lost, of equals the fullest."""
        best = max(self._outlines(state, demand), key=self._value)
        return State(
            state.cpu - demand.cpu, state.memory - demand.memory, best[3], state.model, boards=best[4]
        )

    def value(self, state: State) -> float:
        """What the node is worth, the losses counted from 0."""
        return self._value(
            (state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus, state.boards)
        )

    def _value(self, outline: Outline) -> float:
        value = self._values.get(outline)
        if value is None:
            if len(self._values) >= MOST_VALUES:
                self._values.clear()
                self._views.clear()
            value = self._values[outline] = self._measure(outline)
        return value

    def _measure(self, outline: Outline) -> float:
        model, cpu, memory, gpus, boards = outline
        view = self._views.get((model, gpus, boards))
        if view is None:
            view = self._views[(model, gpus, boards)] = self._view(model, gpus, boards)
        value = view.worth
        if view.rooms:
            filled = self._filling.filled
            cells_of_cpu = cpu * CPU_STEP / CPU_CELL
            for room, share in view.rooms:
                value += self._weights.filling * WHOLE * filled(room, share * cells_of_cpu)
        for least_cpu, count, usable, total, kinds in view.sizes:
            if least_cpu <= cpu:
                value += _hosted(count, usable, total, cpu, memory, kinds)
        return value

    def _view(self, model: str, gpus: Sequence[int], boards: Sequence[Room]) -> _View:
        rooms = [left * CELLS // WHOLE for left in gpus if left]
        needs = [self._filling.cpu_needed[room] for room in rooms]
        whole = sum(needs)
        sizes = []
        for milli, number, profile, kinds in self._groups.get(model, ()):
            count, usable = self._room_for(gpus, boards, number, milli, profile)
            if count:
                sizes.append((kinds[0][0], count, usable, number * milli, kinds))
        worth = sum(self._worth[room] for room in rooms)
        worth += sum(self._boards[number].worth(left) for number, left in boards)
        return _View(
            self._weights.pattern * WHOLE * worth,
            [(room, need / whole) for room, need in zip(rooms, needs) if need],
            sizes,
        )

    def _room_for(
        self, gpus: Sequence[int], boards: Sequence[Room], number: int, milli: int, profile: str
    ) -> tuple[int, float]:
        """How many pods of so many GPUs there is room for, and the milli-GPU left of devices with any."""
        count, usable = 0, 0.0
        if profile:
            for board, left in boards:
                most = self._boards[board].most(left, profile)
                if most:
                    count += most
                    usable += self._boards[board].milli(left)
            return count // number, usable
        for rest in gpus:
            if rest >= milli:
                count += rest // milli
                usable += rest
        return count // number, usable

    def _outlines(self, state: State, demand: Demand) -> list[Outline]:
        """What the node can look like with the demand on it: one for each different place of one part."""
        cpu = (state.cpu - demand.cpu) // CPU_STEP
        memory = (state.memory - demand.memory) // MEMORY_STEP
        model, gpus, boards = state.model, state.gpus, state.boards
        if not demand.gpus:
            return [(model, cpu, memory, gpus, boards)]
        if demand.profile:
            found = [boards]
            for _ in range(demand.gpus):
                found = list(
                    dict.fromkeys(after for held in found[:1] for after in self._parted(held, demand))
                )
                # Several partitions are placed one by one, each where least is lost.
                found.sort(key=lambda held: -self._value((model, cpu, memory, gpus, held)))
            return [(model, cpu, memory, gpus, held) for held in found]
        return [(model, cpu, memory, left, boards) for left in _divided(gpus, demand)]

    def _parted(self, boards: tuple[Room, ...], demand: Demand) -> Iterator[tuple[Room, ...]]:
        """The boards after one partition, for each different place where it can be."""
        for index, room in enumerate(boards):
            if index and room == boards[index - 1]:
                continue
            number, left = room
            for after in self._boards[number].places(left, demand.profile):
                yield tuple(sorted((*boards[:index], (number, after), *boards[index + 1 :])))

    def _weighed(
        self, kinds: Mapping[_MergedKind, int], states: Iterable[State], leaving: bool
    ) -> dict[str, list[_Group]]:
        """The kinds by GPU model, each with its weight: frequency over the square of its capacity.

        Where pods leave, a cluster in use stays nearly full, and of the places for pods of many GPUs fewer
        are left than for others: that for a pod of 8 GPUs counts as an eighth of what it is empty.
        """
        outlines = Counter(
            (state.model, state.cpu // CPU_STEP, state.memory // MEMORY_STEP, state.gpus, state.boards)
            for state in states
        )
        by_size: dict[tuple[int, int, str], list[_MergedKind]] = {}
        for kind in kinds:
            by_size.setdefault(kind[:3], []).append(kind)
        whole = sum((len(gpus) + len(boards)) * count for (_, _, _, gpus, boards), count in outlines.items())
        capacities: dict[_MergedKind, float] = {}
        for (model, cpu_left, memory_left, gpus, boards), nodes in outlines.items():
            for size, group in by_size.items():
                fits, usable = self._room_for(gpus, boards, *size)
                if not fits:
                    continue
                for kind in group:
                    _, _, _, cpu, memory, models = kind
                    if cpu <= cpu_left and memory <= memory_left and (not models or model in models):
                        pods = min(
                            fits, cpu_left // cpu if cpu else fits, memory_left // memory if memory else fits
                        )
                        capacity = nodes * (pods * size[0] * size[1] + usable)
                        capacities[kind] = capacities.get(kind, 0) + capacity
        weights = {
            kind: kinds[kind] * (whole * WHOLE * (kind[0] if leaving else 1) / capacity) ** 2
            for kind, capacity in capacities.items()
            if capacity
        }
        total = sum(weights.values())
        groups: dict[str, list[_Group]] = {}
        for node_model in sorted({outline[0] for outline in outlines}):
            found: dict[tuple[int, int, str], list[_Kind]] = {}
            for (number, milli, profile, cpu, memory, models), weight in weights.items():
                if not models or node_model in models:
                    found.setdefault((number, milli, profile), []).append((cpu, memory, weight / total))
            # In the order of what they ask for, so that the first that asks for too much ends a search.
            groups[node_model] = sorted(
                (milli, number, profile, sorted(group)) for (number, milli, profile), group in found.items()
            )
        return groups


def _for_whole_nodes(whole_nodes: WholeNodes) -> Iterator[_MergedKind]:
    """A pod that takes nearly all of a node, for each shape of nodes.

    It counts as if it had come once: large pods are rare, and the first of them should find a node.
    """
    for (_, number), (cpu, memory) in whole_nodes.items():
        if number > 1:
            most_cpu = cpu * WHOLE_NODE_TENTHS // 10 // CPU_STEP
            yield (number, WHOLE, "", most_cpu, memory * WHOLE_NODE_TENTHS // 10 // MEMORY_STEP, ())


def _divided(gpus: tuple[int, ...], demand: Demand) -> list[tuple[int, ...]]:
    """What can be left of a node's devices: one for each different device that a share fits."""
    milli = demand.milli
    if demand.gpus == 1:
        found = []
        last = -1
        for index, left in enumerate(gpus):
            if left >= milli and left != last:
                last = left
                rest = left - milli
                if index == 0 or gpus[index - 1] <= rest:
                    found.append((*gpus[:index], rest, *gpus[index + 1 :]))
                else:
                    found.append(tuple(sorted((*gpus[:index], rest, *gpus[index + 1 :]))))
        return found
    first = next((index for index, left in enumerate(gpus) if left >= milli), len(gpus))
    if first + demand.gpus > len(gpus):
        return []
    changed = list(gpus)
    for index in range(first, first + demand.gpus):
        changed[index] -= milli
    return [tuple(sorted(changed))]


def _hosted(count: int, usable: float, total: int, cpu: int, memory: int, kinds: Sequence[_Kind]) -> float:
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
