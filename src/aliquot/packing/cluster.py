"""Nodes with whole GPUs that can be shared in thousandths, CPU and memory; what pods demand of them.

The model is that of the openb benchmark: a pod takes a part of one GPU, or whole GPUs, or none, besides CPU
and memory.
"""

import msgspec

WHOLE = 1000
"""Thousandths of a GPU (milli-GPU)."""


class Demand(msgspec.Struct, frozen=True, cache_hash=True):
    """What pods of one kind ask for. gpus devices, milli (1 to 1000) of each; 0 of 0 for no GPU.

    cpu: thousandths of a CPU; memory: MiB; models: the GPU models that will do, empty for any. profile: of a
    partition of a board (`boards`), "" for parts of GPUs that are divided freely; milli is then its size.
    """

    cpu: int
    memory: int
    gpus: int
    milli: int
    models: tuple[str, ...] = ()
    profile: str = ""

    def total_milli(self) -> int:
        """Milli-GPU over all its devices."""
        return self.gpus * self.milli

    def is_share(self) -> bool:
        """Whether it takes a part of one GPU."""
        return self.gpus == 1 and self.milli < WHOLE


class Node(msgspec.Struct, frozen=True):
    """A node's capacity, in the units of Demand. model: of its GPUs, "" without any."""

    name: str
    cpu: int
    memory: int
    gpus: int
    model: str

    def state(self) -> "State":
        """The node without pods."""
        return State(self.cpu, self.memory, (WHOLE,) * self.gpus, self.model)


Room = tuple[int, tuple[int, ...]]
"""The number of a board's type, and what is left of its counters."""


class State(msgspec.Struct, frozen=True, cache_hash=True):
    """What is left of a node, in the units of Demand. gpus: milli-GPU left of each device, by index.

    held: which sizes of GPU demand its pods have, ascending: 0 for a share, otherwise the number of GPUs.
    boards: the type of each board, by number, and what is left of its counters, ascending.
    """

    cpu: int
    memory: int
    gpus: tuple[int, ...]
    model: str
    held: tuple[int, ...] = ()
    boards: tuple["Room", ...] = ()

    def fits(self, demand: Demand) -> bool:
        """Whether the demand can be placed here, unless it is for partitions of boards."""
        if self.cpu < demand.cpu or self.memory < demand.memory:
            return False
        if not demand.gpus:
            return True
        if demand.models and self.model not in demand.models:
            return False
        milli = demand.milli
        return sum(1 for left in self.gpus if left >= milli) >= demand.gpus

    def without(self, demand: Demand, devices: tuple[int, ...]) -> "State":
        """What is left after the demand, which takes its part of each of the devices (by index)."""
        gpus = self.gpus
        held = self.held
        if devices:
            left = list(gpus)
            for index in devices:
                left[index] -= demand.milli
            gpus = tuple(left)
            size = 0 if demand.is_share() else demand.gpus
            if size not in held:
                held = tuple(sorted((*held, size)))
        return State(self.cpu - demand.cpu, self.memory - demand.memory, gpus, self.model, held)


def tightest(state: State, demand: Demand) -> tuple[int, ...]:
    """The devices with the least left that is enough, lowest index first among equals."""
    milli = demand.milli
    fitting = sorted((left, index) for index, left in enumerate(state.gpus) if left >= milli)
    return tuple(index for _, index in fitting[: demand.gpus])
