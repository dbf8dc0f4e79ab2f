"""A part of a device, the pods that share one, and whether one more fits."""

from dataclasses import dataclass
from fractions import Fraction

from aliquot.fractions.devices import NodeDevices
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind

ALL_CORES = 100
"""Percent of a device's compute."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken of one device. memory: billionths of a MiB (of a hundredth where the node does not tell
    how much a device has). cores: percent of compute, 0 where it is not limited."""

    memory: int
    cores: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Devices for a request on a node. joined: the groups to join; fresh: how many whole devices to open
    besides. now: all of them have room today, else only once something has left."""

    joined: tuple[str, ...]
    fresh: int
    part: Part
    now: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What a pod has on a node: a part of the device of each group."""

    places: tuple[tuple[str, Part], ...]

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.places)


class Group:
    """One shared device. now, later: memory taken; held: memory of all pods, leaving and promised ones too;
    and the same of compute and of the number of pods."""

    __slots__ = ("cores_later", "cores_now", "held", "later", "now", "pods_later", "pods_now")

    def __init__(self) -> None:
        self.now = self.later = self.held = 0
        self.cores_now = self.cores_later = 0
        self.pods_now = self.pods_later = 0

    def change(self, part: Part, now: int, later: int, held: int) -> None:
        """Add (1), take (-1) or leave alone (0) a part in each column."""
        if now:
            self.now += now * part.memory
            self.cores_now += now * part.cores
            self.pods_now += now
        if later:
            self.later += later * part.memory
            self.cores_later += later * part.cores
            self.pods_later += later
        self.held += held * part.memory

    @property
    def empty(self) -> bool:
        return not self.pods_now and not self.pods_later

    def state(self) -> tuple[int, ...]:
        """All columns, for comparison."""
        return (
            self.now,
            self.later,
            self.held,
            self.cores_now,
            self.cores_later,
            self.pods_now,
            self.pods_later,
        )


def part_on(request: GpuRequest, devices: NodeDevices) -> Part:
    """What a shared request takes of each device of a node.

    A part takes that much of the memory; memory takes itself, also where it is rounded up for the queue.
    What cannot be less is given in full: under MPS a replica's equal part of the device.
    """
    if request.kind is Kind.MEMORY:
        memory = request.memory_mib * WHOLE
    else:
        memory = request.part * (devices.capacity // WHOLE)
    return Part(max(memory, devices.grain * (devices.capacity // WHOLE)), request.cores)


def share_of(part: Part, devices: NodeDevices) -> Fraction:
    """What is taken of one device of the node: of its memory or compute, whichever is more; 1 at most."""
    return min(max(Fraction(part.memory, devices.capacity), Fraction(part.cores, ALL_CORES)), Fraction(1))


def fits_later(group: Group, part: Part, devices: NodeDevices) -> bool:
    """A group that dissolves has no room: its device is a whole one later."""
    return (
        group.pods_later > 0
        and group.later + part.memory <= devices.capacity
        and _cores_fit(group.cores_later, part.cores)
        and (devices.sharers is None or group.pods_later < devices.sharers)
    )


def fits_now(group: Group, part: Part, devices: NodeDevices) -> bool:
    """A group of promised pods alone is no device today."""
    return (
        group.pods_now > 0
        and group.now + part.memory <= devices.capacity
        and _cores_fit(group.cores_now, part.cores)
        and (devices.sharers is None or group.pods_now < devices.sharers)
    )


def _cores_fit(used: int, wanted: int) -> bool:
    """HAMi's rule: all of the compute is wanted only alone, and what has given all of it takes nobody."""
    if wanted == ALL_CORES or (not wanted and used == ALL_CORES):
        return False
    return used + wanted <= ALL_CORES
