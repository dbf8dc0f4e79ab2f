"""NVIDIA vGPU types, and cloud instance types that hold a part of a GPU."""

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from aliquot.catalog.data_files import CatalogError, Sourced, load_document

FILE = "vgpu.yaml"


class VgpuType(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One vGPU type. framebuffer_gb: memory of the guest's device; max_per_gpu: in a homogeneous layout.

    mig_slices: compute slices of the MIG instance behind it (MIG-backed types only).
    """

    name: str
    series: Literal["A", "B", "C", "Q"]
    framebuffer_gb: int
    max_per_gpu: int
    mode: Literal["time-sliced", "mig-backed"]
    mig_slices: int | None = None
    media_extensions: bool = False
    graphics: bool = False


class VgpuFamily(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The vGPU types of one physical GPU."""

    prefix: str
    gpu: str
    memory_gb: int
    types: tuple[VgpuType, ...]


class FractionalInstance(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cloud instance type with a part of a GPU. gpus: as written by the source, such as `1/6` or `2`."""

    cloud: str
    type: str
    gpu: str
    gpus: str
    source: str  # type: ignore[assignment]
    memory_mib: int | None = None
    vcpus: int | None = None
    ram_gib: int | None = None
    vgpu_type: str = ""

    def share(self) -> Fraction | None:
        """The part of a GPU (or number of GPUs) it holds; None where the source does not confirm one."""
        try:
            return Fraction(self.gpus)
        except ValueError:
            return None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["aliquot.dev/vgpu/v1"]
    sources: dict[str, str]
    series: dict[str, str]
    series_unverified: tuple[str, ...]
    rules: dict[str, str]
    families: tuple[VgpuFamily, ...]
    instances: tuple[FractionalInstance, ...]


@cache
def _document() -> _Document:
    return load_document(FILE, _Document)


@cache
def vgpu_families() -> tuple[VgpuFamily, ...]:
    """All physical GPUs that have vGPU types. Raises CatalogError."""
    return _document().families


@cache
def vgpu_types(prefix: str = "") -> Mapping[str, VgpuType]:
    """vGPU types by name: all, or those of one family. Raises CatalogError when a name is there twice."""
    found: dict[str, VgpuType] = {}
    for position, family in enumerate(vgpu_families()):
        if prefix not in ("", family.prefix):
            continue
        for number, kind in enumerate(family.types):
            if kind.name in found:
                field = f"families[{position}].types[{number}].name"
                raise CatalogError(FILE, field, f"{kind.name!r} is there twice")
            found[kind.name] = kind
    return MappingProxyType(found)


def fractional_instances() -> tuple[FractionalInstance, ...]:
    """Cloud instance types with a part of a GPU."""
    return _document().instances
