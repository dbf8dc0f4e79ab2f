"""Physical devices and the parts of them that a pool publishes.

A driver publishes whole accelerators, parts of them, or both as alternatives that draw on the same counters.
Here they are put together again: one `Board` per physical device, with everything of it that can be
allocated. Devices belong to one board when they draw on the same counter set, else when they name the same
PCI address, else when one names the other's UUID as its parent's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Pool, PoolKey
from aliquot.dra.shares import share_of_device, slots_of_device
from aliquot.model.resource import Device, DeviceAttribute

PCI_ADDRESS = "resource.kubernetes.io/pciBusID"
_PRODUCT = ("productName", "model", "tpuType", "tpuGen", "family")
_MEMORY = ("memory", "addressableMemory", "hbm")
_PROFILE = ("profile", "vgpuType", "vgpuProfile", "partitionProfile", "computePartition")
_SUFFIXES = ("-counter-set", "-mutex", "-counters")
_DIGITS = re.compile(r"([0-9]+)")
_CHANNELS = frozenset({"channel", "daemon"})


@dataclass(frozen=True, slots=True)
class Part:
    """A published device. number: in its pool. share: the part of its board that it takes when allocated.

    kind: the driver's word for what it is (gpu, mig, vfio, ...). profile: how the board is partitioned, ""
    for a whole one. capacities: what claims may share, in billionths, by name. start: where on the board it
    lies, as a fraction of it, where the driver says so.
    """

    name: str
    number: int
    kind: str
    profile: str
    memory: Quantity | None
    share: Fraction
    shareable: bool
    capacities: Mapping[str, int]
    start: Fraction | None = None

    @property
    def whole(self) -> bool:
        return self.share == 1


@dataclass(frozen=True, slots=True)
class Board:
    """A physical device. node: the one node it is on, "" if it can be used from several. parts: by name."""

    driver: str
    pool: str
    node: str
    name: str
    product: str
    memory: Quantity | None
    accelerator: bool
    parts: tuple[Part, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.driver, self.pool, self.name)


@dataclass(frozen=True, slots=True)
class PoolLayout:
    """The boards of one pool, and where each published device belongs."""

    pool: Pool
    boards: tuple[Board, ...]
    places: Mapping[str, tuple[Board, Part]]

    @staticmethod
    def of(pool: Pool) -> "PoolLayout":
        boards = tuple(_boards(pool))
        places = {part.name: (board, part) for board in boards for part in board.parts}
        return PoolLayout(pool, boards, places)


@dataclass(frozen=True, slots=True)
class Layout:
    """All boards, sorted by node, driver, pool and name."""

    boards: tuple[Board, ...]
    pools: Mapping[PoolKey, PoolLayout]

    @staticmethod
    def of(fleet: Fleet, previous: "Layout | None" = None) -> "Layout":
        """The layout of a fleet; that of an unchanged pool is taken over from a previous one."""
        known = previous.pools if previous is not None else {}
        pools: dict[PoolKey, PoolLayout] = {}
        for key, pool in fleet.pools.items():
            found = known.get(key)
            pools[key] = found if found is not None and found.pool is pool else PoolLayout.of(pool)
        if (
            previous is not None
            and len(pools) == len(known)
            and all(pools[key] is known.get(key) for key in pools)
        ):
            return previous
        boards = [board for found in pools.values() for board in found.boards]
        boards.sort(key=place)
        return Layout(tuple(boards), pools)

    def find(self, driver: str, pool: str, device: str) -> tuple[Board, Part] | None:
        """The board and the part of it that a device is; None for a device that is not published."""
        found = self.pools.get((driver, pool))
        return found.places.get(device) if found is not None else None


def place(board: Board) -> tuple[object, ...]:
    """Sort key of a board: by node, driver, pool and name."""
    return (natural(board.node), board.driver, board.pool, natural(board.name))


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key by which gpu-2 comes before gpu-10."""
    return tuple((int(piece), "") if piece.isdigit() else (-1, piece) for piece in _DIGITS.split(text))


def _boards(pool: Pool) -> Iterable[Board]:
    groups: dict[str, list[int]] = {}
    for number, device in enumerate(pool.devices):
        groups.setdefault(_group(device), []).append(number)
    for key, numbers in groups.items():
        parts = tuple(
            sorted((_part(pool, number) for number in numbers), key=lambda part: natural(part.name))
        )
        largest = max(parts, key=lambda part: part.share)
        device = pool.devices[largest.number]
        yield Board(
            driver=pool.driver,
            pool=pool.name,
            node=pool.home(largest.number) or "",
            name=_board_name(key, parts, largest),
            product=_first_text(device, _PRODUCT),
            memory=_board_memory(pool, device, largest),
            accelerator=largest.kind not in _CHANNELS and not _text(device, "ifName"),
            parts=parts,
        )


def _group(device: Device) -> str:
    for consumption in device.consumes_counters:
        return f"counters {consumption.counter_set}"
    address = _text(device, PCI_ADDRESS)
    if address:
        return f"address {address}"
    parent = _text(device, "parentUUID") or _text(device, "uuid")
    return f"uuid {parent}" if parent else f"device {device.name}"


def _board_name(key: str, parts: tuple[Part, ...], largest: Part) -> str:
    if largest.whole and len([part for part in parts if part.whole]) == 1:
        return largest.name
    word, _, name = key.partition(" ")
    if word == "counters":
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        return name
    shortest = min((part.name for part in parts), key=len)
    return shortest.partition("-mig-")[0]


def _part(pool: Pool, number: int) -> Part:
    device = pool.devices[number]
    return Part(
        name=device.name,
        number=number,
        kind=_text(device, "type") or "device",
        profile=_first_text(device, _PROFILE),
        memory=_memory(device),
        share=min(share_of_device(pool, number), Fraction(1)),
        shareable=bool(device.allow_multiple_allocations),
        capacities={name: capacity.value.nano for name, capacity in device.capacity.items()}
        if device.allow_multiple_allocations
        else {},
        start=_start(pool, number),
    )


def _start(pool: Pool, number: int) -> Fraction | None:
    """Where on its board a device lies: its first numbered memory slice."""
    taken, board = slots_of_device(pool, number)
    return Fraction(taken[0], board) if taken else None


def _memory(device: Device) -> Quantity | None:
    for wanted in _MEMORY:
        for name, capacity in device.capacity.items():
            if name.rpartition("/")[2] == wanted:
                return capacity.value
    return None


def _board_memory(pool: Pool, device: Device, largest: Part) -> Quantity | None:
    memory = _memory(device)
    if largest.whole or memory is None:
        return memory
    return None


def _value(attribute: DeviceAttribute) -> str:
    if attribute.string is not None:
        return attribute.string
    return attribute.version or ""


def _text(device: Device, name: str) -> str:
    """A text attribute by its qualified name, or by its plain name in whatever domain."""
    found = device.attributes.get(name)
    if found is not None:
        return _value(found)
    for key, attribute in device.attributes.items():
        if key.rpartition("/")[2] == name and "/" not in name:
            return _value(attribute)
    return ""


def _first_text(device: Device, names: Iterable[str]) -> str:
    for name in names:
        found = _text(device, name)
        if found:
            return found
    return ""
