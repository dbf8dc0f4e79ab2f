"""Fragmentation as FGD measures it (Weng et al., "Beware of Fragmentation", USENIX ATC 2023).

The fragmentation of a node for one kind of pod is the idle GPU that this kind cannot use there: all of it if
the node cannot host the kind, otherwise that of the devices with too little left. Over a mix of kinds it is
the mean, weighted by how frequent they are.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import IntEnum

from aliquot.packing.cluster import Demand, State

_TYPICAL_PERCENT = 95


def typical_pods(pods: Iterable[Demand]) -> dict[Demand, float]:
    """The most frequent kinds that make up 95 % of the pods or more, with their frequencies.

    The frequencies add up to 1. Memory is left out: the measure does not look at it.
    """
    counts = Counter(Demand(pod.cpu, 0, pod.gpus, pod.milli, pod.models) for pod in pods)
    order = sorted(
        counts.items(),
        key=lambda item: (item[1], item[0].cpu, item[0].milli, item[0].gpus, item[0].models),
        reverse=True,
    )
    chosen: dict[Demand, int] = {}
    covered = 0
    for demand, count in order:
        if covered * 100 >= counts.total() * _TYPICAL_PERCENT:
            break
        chosen[demand] = count
        covered += count
    part = covered / counts.total()
    return {demand: count / counts.total() / part for demand, count in chosen.items()}


class _Part(IntEnum):
    """The parts in which the simulator adds up a node's idle GPU, in its order.

    Their order is that of floating-point addition: sums that are equal on paper may differ in the last bit,
    and a score of 49.999... is cut to 49.
    """

    LACKS_BOTH = 0
    LACKS_GPU = 1
    USABLE = 2
    LACKS_CPU = 3
    NO_GPU_ASKED = 4
    NO_GPU_ASKED_LACKS_CPU = 5
    OTHER_MODEL = 6


class Fragmentation:
    """The measure for a mix of kinds, each with its frequency."""

    def __init__(self, mix: Mapping[Demand, float]) -> None:
        self._mix = list(mix.items())
        self._levels = sorted({demand.cpu for demand in mix})
        self._known: dict[tuple[str, int, tuple[int, ...]], float] = {}

    def of(self, state: State) -> float:
        """Fragmented milli-GPU of a node."""
        # Which kinds the CPU left is enough for changes at few levels; within one the measure is the same.
        level = bisect_right(self._levels, state.cpu)
        key = (state.model, level, tuple(sorted(state.gpus)))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._measure(*key)
        return known

    def _measure(self, model: str, level: int, lefts: tuple[int, ...]) -> float:
        cpu = self._levels[level - 1] if level else -1
        idle = sum(lefts)
        parts = [0.0] * len(_Part)
        for demand, frequency in self._mix:
            enough_cpu = demand.cpu <= cpu
            if not demand.gpus:
                parts[_Part.NO_GPU_ASKED if enough_cpu else _Part.NO_GPU_ASKED_LACKS_CPU] += frequency * idle
            elif demand.models and model not in demand.models:
                parts[_Part.OTHER_MODEL] += frequency * idle
            elif demand.gpus <= len(lefts) and lefts[-demand.gpus] >= demand.milli:
                if enough_cpu:
                    small = sum(left for left in lefts if left < demand.milli)
                    parts[_Part.LACKS_GPU] += frequency * small
                else:
                    parts[_Part.LACKS_CPU] += frequency * idle
            else:
                parts[_Part.LACKS_GPU if enough_cpu else _Part.LACKS_BOTH] += frequency * idle
        return sum(parts)
