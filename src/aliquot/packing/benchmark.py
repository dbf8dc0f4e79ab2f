"""A run of the openb benchmark: pods arrive one by one and never leave; one that fits nowhere is dropped."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from aliquot.packing.cluster import WHOLE, Demand, Node
from aliquot.packing.curve import allocation_curve
from aliquot.packing.expected import ExpectedCapacity
from aliquot.packing.fragmentation import Fragmentation, typical_pods
from aliquot.packing.go_random import GoRandom
from aliquot.packing.placer import Placer, Policy
from aliquot.packing.published import BestFit, DotProd, Fgd, GpuClustering, GpuPacking, Random

MARKS = (95, 100, 110, 120, 130)
"""Percent arrived at which results are told."""


class Placement(msgspec.Struct, frozen=True):
    """A decision. node: "" if the pod was dropped. arrived, used: milli-GPU, after it."""

    pod: str
    node: str
    arrived: int
    used: int


class Outcome(msgspec.Struct, frozen=True):
    """What came of a run. curve: percent of the GPUs allocated by percent arrived, 0 to 130."""

    placements: tuple[Placement, ...]
    curve: Mapping[int, float]


POLICIES: Mapping[str, Callable[[Iterable[Demand], int], Policy]] = {
    "Random": lambda pods, seed: Random(GoRandom(seed)),
    "DotProd": lambda pods, seed: DotProd(),
    "GpuClustering": lambda pods, seed: GpuClustering(),
    "GpuPacking": lambda pods, seed: GpuPacking(),
    "BestFit": lambda pods, seed: BestFit(),
    "FGD": lambda pods, seed: Fgd(Fragmentation(typical_pods(pods))),
    "Aliquot": lambda pods, seed: ExpectedCapacity(),
}
"""Policies by name, made from the pods of the trace (which only FGD uses) and a seed (only Random)."""


def run(
    policy: Policy, pods: Mapping[str, Demand], arrivals: Sequence[str], nodes: Sequence[Node]
) -> Outcome:
    """Place the arrivals, names of pods, in their order. nodes: of equal scores the first wins."""
    placer = Placer(nodes, policy)
    capacity = sum(node.gpus * WHOLE for node in nodes)
    arrived = used = 0
    placements = []
    for name in arrivals:
        demand = pods[name]
        index = placer.place(demand)
        milli = demand.total_milli()
        arrived += milli
        used += 0 if index is None else milli
        placements.append(Placement(name, "" if index is None else nodes[index].name, arrived, used))
    events = ((placement.arrived, placement.used) for placement in placements)
    return Outcome(tuple(placements), allocation_curve(events, capacity))
