"""NVIDIA Multi-Instance GPU geometry: profiles, where their instances may sit, and what each one holds.

Source: NVIDIA MIG User Guide (supported MIG profiles) and `nvidia-smi mig -lgip/-lgipp` listings, per board
in data/mig.yaml.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from aliquot.catalog.data_files import Sourced, index_by_id, load_document

FILE = "mig.yaml"


class Engines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fixed-function engines of one GPU instance."""

    copy: int
    decoder: int
    encoder: int
    jpeg: int
    ofa: int


class MigProfile(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One GPU instance profile of a board.

    starts: the memory slices an instance may begin at; it holds memory_slices from there on. None: not known.
    memory_mib: usable memory. multiprocessors: streaming multiprocessors.
    """

    name: str
    compute_slices: int
    max_instances: int
    profile_id: int | None = None
    memory_slices: int | None = None
    starts: tuple[int, ...] = ()
    multiprocessors: int | None = None
    memory_mib: int | None = None
    engines: Engines | None = None

    def unknown_fields(self) -> tuple[str, ...]:
        """The figures that a ResourceSlice needs and the catalogue does not have."""
        needed = ("profile_id", "memory_slices", "multiprocessors", "memory_mib", "engines")
        missing = [name for name in needed if getattr(self, name) is None]
        if not self.starts:
            missing.append("starts")
        return tuple(missing)


class MigBoard(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MIG geometry that some boards share. memory_slices: as NVML counts them for placements."""

    id: str
    boards: str
    architecture: str
    compute_slices: int
    max_instances: int
    profiles: tuple[MigProfile, ...]
    sms: int | None = None
    memory_gib: int | None = None
    memory_slices: int | None = None
    device_ids: tuple[str, ...] = ()
    placement_source: str = ""

    def profile(self, name: str) -> MigProfile | None:
        """The profile of that name, such as `3g.40gb` or `1g.10gb+me`."""
        return next((profile for profile in self.profiles if profile.name == name), None)

    def toggles_without_reset(self) -> bool:
        """Whether MIG mode can be switched without a GPU reset: Hopper and later can, Ampere cannot."""
        return self.architecture != "Ampere"


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["aliquot.dev/mig/v1"]
    sources: dict[str, str]
    notes: dict[str, str]
    unsupported: tuple[str, ...]
    notes_unverified: tuple[str, ...]
    boards: tuple[MigBoard, ...]


@cache
def _document() -> _Document:
    return load_document(FILE, _Document)


@cache
def mig_boards() -> Mapping[str, MigBoard]:
    """All MIG geometries by id. Raises CatalogError."""
    return MappingProxyType(index_by_id(FILE, "boards", _document().boards))


def mig_sources() -> Mapping[str, str]:
    """What each source key of mig.yaml stands for."""
    return MappingProxyType(_document().sources)


class NoRoom(msgspec.Struct, frozen=True):
    """A layout that does not fit: the profile that found no place, after the ones before it were placed."""

    profile: str
    position: int
    reason: str


def place_layout(board: MigBoard, names: tuple[str, ...]) -> tuple[tuple[MigProfile, int], ...] | NoRoom:
    """Starts for the instances of a static layout, or which one has no room.

    Larger instances go first, each at its lowest free start, as nvidia-smi does for a list of profiles.
    When that fails every other combination of starts is tried, so NoRoom means that no placement exists.
    Compute slices count too: 3g.20gb + 3g.20gb + 1g.5gb would hold nine memory slices of eight.
    """
    profiles: list[MigProfile] = []
    for position, name in enumerate(names):
        profile = board.profile(name)
        if profile is None:
            return NoRoom(name, position, "no such profile")
        if profile.unknown_fields():
            missing = ", ".join(profile.unknown_fields())
            return NoRoom(name, position, f"the catalogue does not know its {missing}")
        if sum(other == name for other in names) > profile.max_instances:
            return NoRoom(name, position, f"at most {profile.max_instances} of it fit on one GPU")
        profiles.append(profile)
    if sum(profile.compute_slices for profile in profiles) > board.compute_slices:
        return NoRoom(names[-1], len(names) - 1, f"the GPU has {board.compute_slices} compute slices")
    media = [profile.name for profile in profiles if "+me" in profile.name]
    if len(media) > 1:
        return NoRoom(media[-1], names.index(media[-1]), "one instance with media extensions (+me) per GPU")
    order = sorted(range(len(profiles)), key=lambda i: (-(profiles[i].memory_slices or 0), i))
    starts = _assign([profiles[i] for i in order], 0)
    if starts is None:
        last = order[-1]
        return NoRoom(names[last], last, f"the GPU has {board.memory_slices} memory slices")
    placed = [(profiles[i], start) for i, start in zip(order, starts)]
    return tuple(sorted(placed, key=lambda item: item[1]))


def _assign(profiles: list[MigProfile], taken: int) -> list[int] | None:
    """Starts for the profiles in order, given the bit set of memory slices already taken."""
    if not profiles:
        return []
    head, *rest = profiles
    width = (1 << (head.memory_slices or 0)) - 1
    for start in head.starts:
        if not taken & (width << start):
            found = _assign(rest, taken | (width << start))
            if found is not None:
                return [start, *found]
    return None
