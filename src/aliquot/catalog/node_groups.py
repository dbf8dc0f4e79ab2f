"""What a fleet file asks for: groups of equal machines, and how their devices are set up."""

from typing import Literal

import msgspec

from aliquot.catalog.accelerators import Accelerator
from aliquot.catalog.mig import MigBoard, MigProfile
from aliquot.catalog.node_types import NodeType
from aliquot.catalog.vgpu import VgpuType

PlacedProfiles = tuple[tuple[MigProfile, int], ...]


class Taint(msgspec.Struct, frozen=True):
    """A taint of the nodes. effect: NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    effect: str
    value: str = ""


class Mig(msgspec.Struct, frozen=True):
    """How the GPUs of a machine are partitioned.

    dynamic: the driver makes and removes instances on demand (its DynamicMIG gate). layouts: static
    instances by GPU index, each a profile with its start; a GPU without an entry is not in MIG mode.
    """

    board: MigBoard
    dynamic: bool = False
    layouts: dict[int, PlacedProfiles] = {}


class Legacy(msgspec.Struct, frozen=True):
    """A node with the device plugin instead of a DRA driver.

    replicas: time-sliced copies of each GPU (1: not shared); rename: as nvidia.com/gpu.shared.
    strategy: how MIG instances show (`single`: as nvidia.com/gpu; `mixed`: by profile).
    """

    replicas: int = 1
    rename: bool = False
    strategy: Literal["none", "single", "mixed"] = "none"


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`count` machines of one type, named prefix-<first> onwards.

    shares: consumable shares of the NVIDIA driver (`memory`, `unlimited` or a number); vgpu: the nodes are
    guests with guest_devices vGPUs of this type on a host of node_type; partitions: AMD, `spx_nps1` ... or
    `dynamic`.
    """

    count: int
    first: int
    prefix: str
    node_type: NodeType
    accelerator: Accelerator
    zone: str = ""
    region: str = ""
    rack: str = ""
    block: str = ""
    nodes_per_rack: int = 0
    racks_per_block: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    mig: Mig | None = None
    shares: str = ""
    vgpu: VgpuType | None = None
    guest_devices: int = 0
    partitions: str = ""
    topology: str = ""
    nics: bool = False
    compute_domains: bool = False
    legacy: Legacy | None = None

    def names(self) -> list[str]:
        """The names of its machines."""
        return [f"{self.prefix}-{number}" for number in range(self.first, self.first + self.count)]


class Fleet(msgspec.Struct, frozen=True):
    """A fleet file, checked. source: the file's name as given by the caller."""

    name: str
    groups: tuple[NodeGroup, ...]
    source: str = ""

    def node_count(self) -> int:
        """How many nodes it expands to."""
        return sum(group.count for group in self.groups)
