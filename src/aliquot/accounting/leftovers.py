"""What is free on a node: idle, as somebody who waits or is expected could have it, or stranded, and why."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from fractions import Fraction

import msgspec

from aliquot.accounting.entries import Category, Spare

WHOLE = Fraction(1)


class Reason(StrEnum):
    """Why something free is idle or stranded."""

    WANTED = "Wanted"
    """Idle: somebody who waits at this moment would fit here."""
    EXPECTED = "Expected"
    """Idle: nobody who waits fits, but work like what runs would."""
    NOBODY_ASKS = "NobodyAsks"
    """Idle: nothing waits or runs by which it could be judged."""
    OTHER_MODEL = "OtherModelWanted"
    """Stranded: whoever waits or is expected wants another model of device."""
    TOO_SMALL = "TooSmall"
    """Stranded: what is left of the device is less than anybody wants."""
    TOO_FEW_TOGETHER = "TooFewTogether"
    """Stranded: pods want more devices on one node than are free here."""
    NO_CPU = "NoCPULeft"
    """Stranded: the node has no CPU left for the pod that would use it."""
    NO_MEMORY = "NoMemoryLeft"
    """Stranded: the node has no memory left for the pod that would use it."""


_OBSTACLES = (Reason.OTHER_MODEL, Reason.TOO_SMALL, Reason.TOO_FEW_TOGETHER, Reason.NO_CPU, Reason.NO_MEMORY)
"""In the order in which they are looked at: the later, the nearer the demand came to fitting."""


class Demand(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What a pod asks for that waits (waiting) or is like what runs.

    devices: whole devices of one node, or 1 with a share below 1 of it. models: product names that would do,
    none: any. cpu_milli, memory: beside the devices.
    """

    devices: int = 1
    share: Fraction = WHOLE
    cpu_milli: int = 0
    memory: int = 0
    models: tuple[str, ...] = ()
    waiting: bool = False


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a node: CPU, memory, and the free part of each device, by any name. model: of all."""

    free: Mapping[str, Fraction]
    model: str
    cpu_milli: int
    memory: int


def spare_of(room: Room, demands: Sequence[Demand]) -> dict[str, Spare]:
    """What each free part of a node counts as, by the device's name; devices without any are left out.

    A part is idle when a pod of some demand fits on the node as it is now and would use that part.
    Of the reasons why nobody does, that of the demand which came nearest is told.
    """
    wholes = sum(1 for share in room.free.values() if share == WHOLE)
    verdicts: dict[Fraction, tuple[Category, Reason]] = {}
    found: dict[str, Spare] = {}
    for name, share in room.free.items():
        if share <= 0:
            continue
        if share not in verdicts:
            verdicts[share] = _verdict(share, wholes, room, demands)
        category, reason = verdicts[share]
        found[name] = Spare(category=category, share=share, reason=reason.value)
    return found


def _verdict(share: Fraction, wholes: int, room: Room, demands: Sequence[Demand]) -> tuple[Category, Reason]:
    if not demands:
        return Category.IDLE, Reason.NOBODY_ASKS
    nearest = -1
    expected = False
    for demand in demands:
        obstacle = _obstacle(share, wholes, room, demand)
        if obstacle is None:
            if demand.waiting:
                return Category.IDLE, Reason.WANTED
            expected = True
        else:
            nearest = max(nearest, _OBSTACLES.index(obstacle))
    return (Category.IDLE, Reason.EXPECTED) if expected else (Category.STRANDED, _OBSTACLES[nearest])


def _obstacle(share: Fraction, wholes: int, room: Room, demand: Demand) -> Reason | None:
    if demand.models and room.model and room.model not in demand.models:
        return Reason.OTHER_MODEL
    if share < demand.share:
        return Reason.TOO_SMALL
    if demand.share == WHOLE and demand.devices > wholes:
        return Reason.TOO_FEW_TOGETHER
    if demand.cpu_milli > room.cpu_milli:
        return Reason.NO_CPU
    return Reason.NO_MEMORY if demand.memory > room.memory else None
