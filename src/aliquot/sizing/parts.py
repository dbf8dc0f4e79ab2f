"""Parts of devices that can be given to a workload: whole ones, partitions and shares, by mode.

Facts are from `aliquot.catalog`; the names of the modes are those of `catalog.sharing_modes`.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from aliquot.catalog.accelerators import Accelerator, accelerators
from aliquot.catalog.drivers.amd import partition_profiles
from aliquot.catalog.mig import MigBoard, MigProfile, mig_boards
from aliquot.catalog.vgpu import vgpu_families

MIB = 1 << 20
WHOLE = Fraction(1)


class Mode(enum.StrEnum):
    """A way of giving out a device, by its name in the catalogue of sharing modes."""

    EXCLUSIVE = "exclusive"
    MIG = "mig"
    MPS = "mps"
    TIME_SLICING = "time-slicing"
    CONSUMABLE = "consumable-shares"
    VGPU = "vgpu-time-sliced"
    AMD_PARTITION = "amd-compute-partition"


class Isolation(enum.IntEnum):
    """What a neighbour on the same device cannot do to a workload; each includes those before it.

    NONE: nothing is kept apart. MEMORY: it cannot take memory beyond its own part. FAULT: its faults do not
    end others' work, and compute and memory bandwidth are apart in hardware. DEVICE: there is no neighbour.
    """

    NONE = 0
    MEMORY = 1
    FAULT = 2
    DEVICE = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a device of one model that one workload could have.

    name: `whole`, a MIG profile, `1/4`, a vGPU type, `cpx_nps4`, `20480Mi`. memory: bytes that it holds.
    compute, bandwidth: the part of the device's that it has for itself when all neighbours are busy. elastic:
    it may take more of them while neighbours are idle. share: the part of the device that it holds, as
    queues, tables and the ledger count it, and which is what it costs: of a MIG instance its memory slices
    (`dra.shares`). scarce: the larger of that and its part of the compute slices; of two parts with equal
    shares more of the one with less of this fit on a device. A 1g.10gb of an H100 holds 1/8, of it 1/7 is
    scarce; a 4g.40gb holds 1/2, of it 4/7. isolation: what neighbours cannot do. peers: whether devices can
    reach each other's memory (NVLink, NCCL over peer-to-peer). change: what setting it up takes. unverified:
    a figure behind it has no public source. slices: of a MIG instance its part of the compute slices.
    """

    accelerator: Accelerator
    mode: Mode
    name: str
    memory: int
    compute: Fraction
    bandwidth: Fraction
    share: Fraction
    isolation: Isolation
    elastic: bool = False
    peers: bool = False
    change: str = ""
    unverified: bool = False
    slices: Fraction = Fraction(0)

    @property
    def scarce(self) -> Fraction:
        """The larger of its share and of its part of the compute slices."""
        return max(self.share, self.slices)

    @property
    def label(self) -> str:
        """As people write it: `H100-SXM5-80GB mig 3g.40gb`."""
        return f"{self.accelerator.id} {self.mode} {self.name}"

    @property
    def exclusive(self) -> bool:
        return self.mode is Mode.EXCLUSIVE


def whole_memory(accelerator: Accelerator) -> int:
    """Bytes of memory of one device."""
    return accelerator.memory_mib * MIB


def exclusive(accelerator: Accelerator) -> Part:
    """A whole device."""
    return Part(
        accelerator,
        Mode.EXCLUSIVE,
        "whole",
        whole_memory(accelerator),
        WHOLE,
        WHOLE,
        WHOLE,
        Isolation.DEVICE,
        elastic=True,
        peers=True,
        unverified="memory_mib" in accelerator.unverified_fields,
    )


SHARE_COUNTS = (2, 3, 4, 6, 8, 12, 16)
"""Into how many equal shares a device is thought divided; MPS takes 48 to 60 clients, time-slicing any."""


def part_named(label: str) -> Part | None:
    """The part with this label, such as `A100-SXM4-80GB mig 3g.40gb`; None where the catalogue has none."""
    model, _, rest = label.partition(" ")
    mode, _, name = rest.partition(" ")
    accelerator = accelerators().get(model)
    if accelerator is None or mode not in tuple(Mode):
        return None
    if mode == Mode.CONSUMABLE:
        text = name.removesuffix("Mi")
        exact = text.isascii() and text.isdigit() and len(text) < 12
        found = consumable(accelerator, int(text) * MIB) if exact and int(text) else None
        return found if found is not None and found.label == label else None
    return next((part for part in parts_of(accelerator, [Mode(mode)]) if part.label == label), None)


CONSUMABLE_STEP_MIB = 1024
"""Consumable shares are given in steps of 1 MiB; recommendations are rounded up to whole GiB."""


def parts_of(accelerator: Accelerator, modes: Iterable[Mode]) -> tuple[Part, ...]:
    """All parts of one model in these modes, smaller ones first; consumable shares only through
    `consumable`, which makes one of the size that is needed."""
    return (
        _parts_of(accelerator.id, tuple(modes))
        if accelerator is accelerators().get(accelerator.id)
        else (_made(accelerator, tuple(modes)))
    )


@cache
def _parts_of(model: str, modes: tuple[Mode, ...]) -> tuple[Part, ...]:
    return _made(accelerators()[model], modes)


def _made(accelerator: Accelerator, modes: tuple[Mode, ...]) -> tuple[Part, ...]:
    found: list[Part] = []
    for mode in dict.fromkeys(modes):
        match mode:
            case Mode.EXCLUSIVE:
                found.append(exclusive(accelerator))
            case Mode.MIG:
                found += _mig(accelerator)
            case Mode.MPS:
                found += [_mps(accelerator, count) for count in SHARE_COUNTS] if accelerator.mps else []
            case Mode.TIME_SLICING:
                nvidia = accelerator.vendor == "nvidia"
                found += [_time_sliced(accelerator, count) for count in SHARE_COUNTS] if nvidia else []
            case Mode.VGPU:
                found += _vgpu(accelerator)
            case Mode.AMD_PARTITION:
                found += _amd(accelerator)
            case Mode.CONSUMABLE:
                continue
    return tuple(sorted(found, key=lambda part: (part.scarce, part.memory, -part.isolation, part.name)))


def consumable(accelerator: Accelerator, memory: int) -> Part | None:
    """A consumable share with at least so many bytes, in whole GiB; None where the device has less.

    NVIDIA DRA driver, gate ConsumableShares: the scheduler counts the memory, nothing enforces it, and
    compute is time-sliced.
    """
    step = CONSUMABLE_STEP_MIB * MIB
    wanted = -(-memory // step) * step
    whole = whole_memory(accelerator)
    if wanted > whole or accelerator.vendor != "nvidia":
        return None
    share = Fraction(wanted, whole)
    return Part(
        accelerator,
        Mode.CONSUMABLE,
        f"{wanted // MIB}Mi",
        wanted,
        share,
        share,
        share,
        Isolation.NONE,
        elastic=True,
        change="a driver with the gate ConsumableShares; the claim alone changes",
        unverified="memory_mib" in accelerator.unverified_fields,
    )


def mig_share(board: MigBoard, profile: MigProfile) -> Fraction:
    """The part of its GPU that an instance holds: its memory slices."""
    return Fraction(profile.memory_slices or 0, board.memory_slices or 1)


def mig_board(accelerator: Accelerator) -> MigBoard | None:
    """The MIG geometry of a model; None for one that has none."""
    return mig_boards().get(accelerator.mig) if accelerator.mig else None


def _mig(accelerator: Accelerator) -> list[Part]:
    board = mig_board(accelerator)
    if board is None:
        return []
    found = []
    for profile in board.profiles:
        whole = profile.compute_slices == board.compute_slices
        if profile.unknown_fields() or "+" in profile.name or whole:
            continue
        assert profile.memory_mib is not None
        sms = accelerator.sms or board.sms
        compute = Fraction(profile.compute_slices, board.compute_slices)
        if profile.multiprocessors and sms:
            compute = min(Fraction(profile.multiprocessors, sms), WHOLE)
        toggle = "instances can be made and removed while the GPU's other instances work"
        if not board.toggles_without_reset():
            toggle += "; switching MIG mode on resets the GPU, so everything on it has to leave first"
        else:
            toggle += "; the GPU has to be idle to switch MIG mode on"
        found.append(
            Part(
                accelerator,
                Mode.MIG,
                profile.name,
                profile.memory_mib * MIB,
                compute,
                mig_share(board, profile),
                mig_share(board, profile),
                Isolation.FAULT,
                change=toggle,
                unverified=bool(profile.unverified),
                slices=Fraction(profile.compute_slices, board.compute_slices),
            )
        )
    return found


def _mps(accelerator: Accelerator, count: int) -> Part:
    """One of N equal shares under MPS: 1/N of the memory as a limit, 1/N of the threads as a cap
    (NVIDIA device plugin, sharing.mps)."""
    share = Fraction(1, count)
    return Part(
        accelerator,
        Mode.MPS,
        f"1/{count}",
        whole_memory(accelerator) // count,
        share,
        share,
        share,
        Isolation.MEMORY,
        change="the MPS daemon on the node; processes start again",
    )


def _time_sliced(accelerator: Accelerator, count: int) -> Part:
    """One of N turns: nothing keeps memory apart, so 1/N of it is what fits if all take as much."""
    share = Fraction(1, count)
    return Part(
        accelerator,
        Mode.TIME_SLICING,
        f"1/{count}",
        whole_memory(accelerator) // count,
        share,
        share,
        share,
        Isolation.NONE,
        elastic=True,
        change="the device plugin's or the claim's configuration; nothing is drained",
    )


def _vgpu(accelerator: Accelerator) -> list[Part]:
    found: dict[int, Part] = {}
    for family in vgpu_families():
        if family.prefix != accelerator.vgpu:
            continue
        for kind in family.types:
            if kind.mode != "time-sliced" or kind.max_per_gpu < 2 or kind.series not in ("C", "Q"):
                continue
            share = Fraction(1, kind.max_per_gpu)
            memory = min(kind.framebuffer_gb << 30, whole_memory(accelerator) // kind.max_per_gpu)
            if kind.framebuffer_gb in found and kind.series != "C":
                continue
            found[kind.framebuffer_gb] = Part(
                accelerator,
                Mode.VGPU,
                kind.name,
                memory,
                share,
                share,
                share,
                Isolation.MEMORY,
                elastic=True,
                change="a virtual machine and a licence; no vGPU may run on the GPU while its layout changes",
            )
    return list(found.values())


def _amd(accelerator: Accelerator) -> list[Part]:
    """Partitions of an AMD GPU. Under NPS1 they share the memory, so a neighbour can take all of it."""
    counts = {"dpx": 2, "qpx": 4, "cpx": accelerator.xcds or 8}
    found = []
    for profile in partition_profiles(accelerator):
        compute, _, memory = profile.partition("_")
        count = counts.get(compute)
        if count is None:
            continue
        share = Fraction(1, count)
        apart = memory != "nps1"
        found.append(
            Part(
                accelerator,
                Mode.AMD_PARTITION,
                profile,
                whole_memory(accelerator) // count,
                share,
                share,
                share,
                Isolation.MEMORY if apart else Isolation.NONE,
                change="everything on the node's GPUs has to leave while partitions are changed",
                unverified="memory_mib" in accelerator.unverified_fields,
            )
        )
    return found
