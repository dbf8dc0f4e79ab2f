"""Machines: their devices, NUMA nodes, PCIe roots and NICs, and rack-scale domains."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from aliquot.catalog.accelerators import NO_ACCELERATOR, Accelerator, accelerators
from aliquot.catalog.data_files import CatalogError, Sourced, index_by_id, load_document

FILE = "node_types.yaml"


class DeviceSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one accelerator sits. pci_bus: domain:bus:device.function; pcie_root: as in the DRA attribute."""

    index: int
    numa: int
    pci_bus: str
    pcie_root: str


class NicSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one compute NIC sits. rdma: name of its RDMA device."""

    rdma: str
    numa: int
    pci_bus: str
    pcie_root: str


class Nics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The compute NICs of a machine. gbps: Gbit/s of each."""

    gbps: int
    pci_vendor: str
    devices: tuple[NicSlot, ...]


class Fabric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scale-up fabric between the devices. domain: rack or pod it spans; imex: NVLink across nodes."""

    type: str
    all_to_all: bool = False
    label: str = ""
    domain: str = ""
    imex: bool = False
    switches: int | None = None
    vms_per_domain: int | None = None
    gbs_bidir_per_gpu: float | None = None
    gbs_bidir_per_link: float | None = None
    gbps_per_link: float | None = None
    aggregate_tbs: float | None = None
    tbs_total: float | None = None
    links_per_gpu: int | None = None
    links_per_pair: int | None = None
    mesh: str = ""
    edges: tuple[tuple[int, int], ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    note: str = ""


class NodeType(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of machine. vcpus: logical CPUs; ram_gib: GiB.

    accelerator: id in accelerators.yaml, or "". gpus: one slot per device that the operating system sees (an
    MI250X has two). instance_type: value of node.kubernetes.io/instance-type; machine: DMI product name.
    """

    id: str
    accelerator: str
    vcpus: int
    ram_gib: int
    gpus: tuple[DeviceSlot, ...]
    arch: Literal["amd64", "arm64"] = "amd64"
    cloud: str = ""
    instance_type: str = ""
    machine: str = ""
    models: str = ""
    cpu: str = ""
    fabric: Fabric | None = None
    devices_are: str = ""
    nics: Nics | None = None
    nics_note: str = ""
    rails: int | None = None
    links: tuple[dict[str, Any], ...] = ()
    cpus_per_numa: tuple[str, ...] = ()
    host_topology: str = ""

    def model(self) -> Accelerator:
        """The accelerator in it; NO_ACCELERATOR for a machine without any."""
        return accelerators()[self.accelerator] if self.accelerator else NO_ACCELERATOR


class Rack(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rack-scale NVLink domain: nodes of node_type that form one clique."""

    id: str
    accelerator: str
    node_type: str
    nodes: int
    gpus: int
    compute_trays: int
    gpus_per_tray: int
    grace_per_tray: int
    nvlink_switch_trays: int
    fabric: Fabric
    imex: dict[str, Any] = msgspec.field(default_factory=dict)
    other_config: str = ""
    rack_kw: int | None = None
    node_nics: dict[str, Any] = msgspec.field(default_factory=dict)


class TpuPod(Sourced, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TPU pod: its chips, and the shapes that slices of it may have."""

    id: str
    accelerator: str
    chips: int
    chips_per_host: tuple[int, ...]
    topology: str = ""
    cube: str = ""
    slice_shapes: tuple[str, ...] = ()


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["aliquot.dev/node-types/v1"]
    terms: dict[str, str]
    sources: dict[str, str]
    node_types: tuple[NodeType, ...]
    racks: tuple[Rack, ...]
    tpu_pods: tuple[TpuPod, ...]


@cache
def _document() -> _Document:
    return load_document(FILE, _Document)


@cache
def node_types() -> Mapping[str, NodeType]:
    """All node types by id. Raises CatalogError, also for an accelerator that the catalogue does not have."""
    found = index_by_id(FILE, "node_types", _document().node_types)
    for position, node_type in enumerate(found.values()):
        if node_type.accelerator not in accelerators():
            field = f"node_types[{position}].accelerator"
            raise CatalogError(FILE, field, f"no accelerator {node_type.accelerator!r} in accelerators.yaml")
    return MappingProxyType(found)


@cache
def racks() -> Mapping[str, Rack]:
    """Rack-scale NVLink domains by id."""
    return MappingProxyType(index_by_id(FILE, "racks", _document().racks))


@cache
def tpu_pods() -> Mapping[str, TpuPod]:
    """TPU pods by id."""
    return MappingProxyType(index_by_id(FILE, "tpu_pods", _document().tpu_pods))


def node_type_sources() -> Mapping[str, str]:
    """What each source key of node_types.yaml stands for."""
    return MappingProxyType(_document().sources)
