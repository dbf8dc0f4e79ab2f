"""The openb benchmark's orders: which pods arrive, in which order, and which of equal nodes comes first.

As the simulator of FGD (USENIX ATC 2023) draws them for a seed and a tune ratio of 1.3: the trace's pods
shuffled, then copies drawn from the trace, or pods taken away, until the GPUs asked for are 1.3 times those
there are.
"""

from collections.abc import Mapping, Sequence

from aliquot.packing.cluster import WHOLE, Demand, Node
from aliquot.packing.go_random import GoRandom

TUNE_TENTHS = 13
"""GPUs asked for by all arrivals, in tenths of the GPUs there are."""

_DRAWS_BETWEEN = 10
"""Draws that the simulator's ten informers take for their watch time-outs between the two orders."""


def arrival_order(pods: Mapping[str, Demand], capacity_milli: int, random: GoRandom) -> list[str]:
    """Names of the pods that arrive, in order; a pod that arrives again has its name again.

    capacity_milli: of all GPUs. random: fresh from its seed.
    """
    random.int63()  # The simulator logs one draw.
    names = sorted(pods)
    arrivals = list(names)
    random.shuffle(arrivals)
    total = sum(pods[name].total_milli() for name in names)
    target = capacity_milli * TUNE_TENTHS // 10
    if total < target:
        while True:
            name = names[random.below(len(names))]
            pod = pods[name]
            # The simulator counts one GPU of the pod here, also for pods of several.
            if total + pod.milli > target:
                break
            total += pod.total_milli()
            arrivals.append(name)
    else:
        while total > target:
            total -= pods[arrivals.pop(random.below(len(arrivals)))].total_milli()
    return arrivals


def node_order(nodes: Sequence[Node], random: GoRandom) -> list[Node]:
    """The nodes, of which the first wins among equals. random: as arrival_order left it."""
    for _ in range(_DRAWS_BETWEEN):
        random.int63()
    by_name = sorted(nodes, key=lambda node: node.name)
    ranks = random.permutation(len(by_name))
    return [node for _, node in sorted(zip(ranks, by_name, strict=True), key=lambda pair: pair[0])]


def order_for_seed(
    pods: Mapping[str, Demand], nodes: Sequence[Node], seed: int
) -> tuple[list[str], list[Node]]:
    """Both orders of the benchmark for a seed."""
    random = GoRandom(seed)
    capacity = sum(node.gpus * WHOLE for node in nodes)
    return arrival_order(pods, capacity, random), node_order(nodes, random)
