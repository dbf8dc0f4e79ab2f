"""Accelerator models: memory, peak rates, power, links, and how each can be divided."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from aliquot.catalog.data_files import Sourced, index_by_id, load_document

FILE = "accelerators.yaml"

Vendor = Literal["nvidia", "amd", "intel", "google", "none"]


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scale-up link of one device. gbs_bidir: GB/s, both directions; domain: devices in one domain."""

    type: str
    domain: int
    gbs_bidir: float | None = None
    switched: bool = False
    links: int | None = None
    mesh: str = ""
    topology: str = ""
    max_slice: int | None = None
    scale_out_gbs_bidir: float | None = None
    note: str = ""


class PartitionModes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AMD partition modes by name (SPX ... CPX; NPS1 ... NPS4)."""

    compute: tuple[str, ...]
    memory: tuple[str, ...]


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures read on real devices; a pair is the lowest and the highest reading."""

    memory_mib: int | None = None
    bf16_matmul_tflops: tuple[float, float] | None = None
    copy_gbs: float | None = None
    idle_w: tuple[float, float] | None = None


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The host that a vendor documents for the device (TPU)."""

    vcpus: int
    ram_gb: int
    chips: int | None = None
    numa_nodes: int | None = None
    nics: int | None = None


class Accelerator(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One accelerator model.

    product_name: what the vendor's driver reports; memory_gb: as the vendor names it; memory_mib: what the
    driver reports. *_tflops: dense vendor peaks; None is not supported or not known. tdp_w, idle_w: watts.
    mig: id of its geometry in mig.yaml, or ""; vgpu: prefix of its types in vgpu.yaml, or "".
    """

    id: str
    vendor: Vendor
    product_name: str
    architecture: str
    memory_gb: int
    memory_mib: int
    memory_type: str
    compute_capability: str = ""
    mem_bw_gbs: float | None = None
    bf16_tflops: float | None = None
    fp16_tflops: float | None = None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    int8_tops: float | None = None
    tdp_w: float | None = None
    board_tdp_w: float | None = None
    tbp_typical_w: float | None = None
    idle_w: float | None = None
    gpus_per_board: int = 1
    sms: int | None = None
    cus: int | None = None
    gcds: int = 1
    xcds: int | None = None
    tensorcores: int | None = None
    pcie: str = ""
    link: Link | None = None
    mig: str = ""
    vgpu: str = ""
    mps: bool = False
    partition_modes: PartitionModes | None = None
    pci_device_id: str = ""
    family: str = ""
    kernel_driver: str = ""
    tpu_accelerator: str = ""
    chips_per_host: tuple[int, ...] = ()
    host: Host | None = None
    measured: Measured | None = None


NO_ACCELERATOR = Accelerator(
    id="none",
    vendor="none",
    product_name="",
    architecture="",
    memory_gb=0,
    memory_mib=0,
    memory_type="",
)
"""What a machine without accelerators has."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["aliquot.dev/accelerators/v1"]
    units: dict[str, str]
    sources: dict[str, str]
    accelerators: tuple[Accelerator, ...]


@cache
def _document() -> _Document:
    return load_document(FILE, _Document)


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """All accelerator models by id. Raises CatalogError."""
    return MappingProxyType(index_by_id(FILE, "accelerators", _document().accelerators))


def accelerator_sources() -> Mapping[str, str]:
    """What each source key of accelerators.yaml stands for."""
    return MappingProxyType(_document().sources)
