"""What Google's DRA driver (tpu.google.com) publishes: the TPU chips of a host.

All chips of a host go to one claim; the driver publishes neither counters nor parts of a chip, and supports
up to v6e. Source: kubernetes-sigs/dra-driver-google-tpu cmd/tpu-dra-kubeletplugin/{manager,util}.go.
"""

import math
from collections.abc import Sequence

from aliquot.catalog.drivers.publication import (
    Json,
    Version,
    chunks,
    device_class,
    integer,
    resource_slices,
    stable_uuid,
    string,
)
from aliquot.catalog.node_groups import NodeGroup

DRIVER = "tpu.google.com"
UNSUPPORTED = frozenset({"TPU7x"})


def chips(topology: str) -> int:
    """Chips of a slice: 4x4 has 16."""
    return math.prod(int(side) for side in topology.split("x"))


def hosts_per_slice(group: NodeGroup) -> int:
    """How many nodes one slice of the group's topology takes."""
    return max(1, chips(group.topology) // len(group.node_type.gpus))


def device_classes(_groups: Sequence[NodeGroup]) -> list[Json]:
    """The one class of the driver's chart."""
    return [device_class(DRIVER, [f'device.driver == "{DRIVER}"'])]


def slices(group: NodeGroup, node: str, _kubernetes: Version) -> list[Json]:
    """The ResourceSlice of one host. Chips bound to vfio (v5e and later) have a group number as name."""
    accelerator = group.accelerator
    count = len(group.node_type.gpus)
    devices = [
        {
            "name": str(slot.index),
            "attributes": {
                "index": integer(slot.index),
                "uuid": string(f"tpu-{stable_uuid(node, 'tpu', slot.index)}"),
                "tpuGen": string(accelerator.product_name),
                "brand": string("Google"),
                "accelerator": string(accelerator.tpu_accelerator),
                "chipCount": integer(count),
                "topology": string(group.topology),
            },
        }
        for slot in group.node_type.gpus
    ]
    return resource_slices(DRIVER, node, chunks(devices))


def labels(group: NodeGroup, number: int) -> dict[str, str]:
    """The labels that the driver reads, GKE's forms of them, and the node pool, which is one slice."""
    accelerator = group.accelerator.tpu_accelerator
    count = str(len(group.node_type.gpus))
    pool = f"{group.prefix}-slice-{(group.first + number) // hosts_per_slice(group)}"
    return {
        f"{DRIVER}/accelerator": accelerator,
        f"{DRIVER}/chip-count": count,
        f"{DRIVER}/topology": group.topology,
        "cloud.google.com/gke-accelerator-count": count,
        "cloud.google.com/gke-nodepool": pool,
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": group.topology,
    }
