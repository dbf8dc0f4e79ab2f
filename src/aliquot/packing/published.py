"""The six policies that the FGD paper (USENIX ATC 2023) compares, as its simulator computes them.

Their scores are integers from 0 to 100, and where they are cut off decides ties: the published figures
depend on it.
"""

import math
from collections.abc import Sequence

from aliquot.packing.cluster import WHOLE, Demand, State, tightest
from aliquot.packing.fragmentation import Fragmentation
from aliquot.packing.go_random import GoRandom
from aliquot.packing.placer import Stateless

MOST_CPU = 128_000
MOST_GPU = 8 * WHOLE
"""The largest node's CPU and GPU, by which the simulator scales."""


class _Tightest(Stateless):
    def after(self, state: State, demand: Demand) -> State:
        return state.without(demand, tightest(state, demand))


class Random:
    """A node drawn from those that the pod fits, and of its devices one drawn too."""

    def __init__(self, random: GoRandom) -> None:
        self._random = random

    def score(self, state: State, demand: Demand) -> float:
        return 0.0

    def after(self, state: State, demand: Demand) -> State:
        if not demand.is_share():
            return state.without(demand, tightest(state, demand))
        fitting = [index for index, left in enumerate(state.gpus) if left >= demand.milli]
        return state.without(demand, (fitting[self._random.below(len(fitting))],))

    def pick(self, scores: Sequence[float], best: float) -> int:
        fitting = [index for index, score in enumerate(scores) if score == best]
        return fitting[self._random.below(len(fitting))]

    def arrived(self, demand: Demand, states: Sequence[State]) -> bool:
        return False


class DotProd(_Tightest):
    """The node where what is left and what is asked for have the smallest product."""

    def score(self, state: State, demand: Demand) -> float:
        product = (state.cpu / MOST_CPU) * (demand.cpu / MOST_CPU)
        product += (sum(state.gpus) / MOST_GPU) * (demand.total_milli() / MOST_GPU)
        return int(100 * (1 - product / 2))


class BestFit(_Tightest):
    """The node with least CPU and GPU left afterwards.

    The simulator then spreads the scores over 0 to 100, which changes neither the best nor its ties.
    """

    def score(self, state: State, demand: Demand) -> float:
        cpu = (state.cpu - demand.cpu) / MOST_CPU
        gpu = (sum(state.gpus) - demand.total_milli()) / MOST_GPU
        return int(100 * (1 - (0.5 * cpu + 0.5 * gpu)))


class GpuPacking(_Tightest):
    """Devices in use before idle ones, nodes in use before idle ones, and the fullest of them."""

    def score(self, state: State, demand: Demand) -> float:
        if not demand.gpus:
            return 0
        count = len(state.gpus)
        if all(left == WHOLE for left in state.gpus):
            return max(33 - count, count)
        taken = [state.gpus[index] for index in tightest(state, demand)]
        idle = taken.count(WHOLE)
        if idle:
            return max(50 - idle, 33)
        return max(100 - sum(left * 100 // WHOLE for left in taken) // 10, 50)


class GpuClustering(_Tightest):
    """Pods of one size together: shares, single GPUs, 2, 4 and 8 GPUs."""

    def score(self, state: State, demand: Demand) -> float:
        if not demand.gpus:
            return 0
        base = 25 * (MOST_GPU - sum(state.gpus)) // MOST_GPU
        size = 0 if demand.is_share() else demand.gpus
        if not state.held:
            return base + 25
        if size not in state.held:
            return base
        return base + (75 if len(state.held) == 1 else 50)


class Fgd(Stateless):
    """The node, and for a share the device, where fragmentation grows least."""

    def __init__(self, fragmentation: Fragmentation) -> None:
        self._fragmentation = fragmentation

    def score(self, state: State, demand: Demand) -> float:
        return self._best(state, demand)[0]

    def after(self, state: State, demand: Demand) -> State:
        return self._best(state, demand)[1]

    def _best(self, state: State, demand: Demand) -> tuple[int, State]:
        before = self._fragmentation.of(state)
        if not demand.is_share():
            after = state.without(demand, tightest(state, demand))
            return self._score(before - self._fragmentation.of(after)), after
        best: tuple[int, State] | None = None
        tried: set[int] = set()
        for index, left in enumerate(state.gpus):
            if left < demand.milli or left in tried:
                continue
            tried.add(left)
            after = state.without(demand, (index,))
            score = self._score(before - self._fragmentation.of(after))
            if best is None or score > best[0]:
                best = (score, after)
        if best is None:
            raise ValueError("the demand does not fit the node")
        return best

    def _score(self, gain: float) -> int:
        return int(1 / (1 + math.exp(-gain / WHOLE)) * 100)
