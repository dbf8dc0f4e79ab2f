"""What DRANET (dra.net) publishes: compute NICs, to be taken with the GPU on the same PCIe root.

Source: kubernetes-sigs/dranet; the attributes are listed in data/dra_drivers.yaml.
"""

from collections.abc import Sequence

from aliquot.catalog.drivers.publication import (
    NUMA_NODE,
    PCIE_ROOT,
    Json,
    Version,
    boolean,
    chunks,
    device_class,
    integer,
    resource_slices,
    stable_uuid,
    string,
)
from aliquot.catalog.node_groups import NodeGroup
from aliquot.catalog.node_types import NicSlot

DRIVER = "dra.net"


def device_classes(_groups: Sequence[NodeGroup]) -> list[Json]:
    """The class that selects every device of the driver."""
    return [device_class(DRIVER, [f'device.driver == "{DRIVER}"'])]


def slices(group: NodeGroup, node: str, _kubernetes: Version) -> list[Json]:
    """The ResourceSlices of one machine's compute NICs."""
    nics = group.node_type.nics
    if nics is None:
        return []
    return resource_slices(
        DRIVER, node, chunks([_device(nic, nics.pci_vendor, node) for nic in nics.devices])
    )


def _device(nic: NicSlot, vendor: str, node: str) -> Json:
    """One NIC, named after its PCI address; the interface name is the kernel's predictable one."""
    _, bus, place = nic.pci_bus.split(":")
    slot = place.partition(".")[0]
    digits = stable_uuid(node, "nic", nic.pci_bus).replace("-", "")
    mac = ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])
    return {
        "name": "pci-" + nic.pci_bus.replace(":", "-").replace(".", "-"),
        "attributes": {
            "dra.net/ifName": string(f"enp{int(bus, 16)}s{int(slot, 16)}np0"),
            "dra.net/type": string("device"),
            "dra.net/mac": string(mac),
            "dra.net/mtu": integer(9000),
            "dra.net/encapsulation": string("ether"),
            "dra.net/state": string("up"),
            "dra.net/ebpf": boolean(False),
            "dra.net/sriov": boolean(False),
            "dra.net/virtual": boolean(False),
            "dra.net/rdma": boolean(True),
            "dra.net/rdmaDevice": string(nic.rdma),
            "dra.net/pciAddress": string(nic.pci_bus),
            "dra.net/pciVendor": string(vendor),
            "dra.net/numaNode": integer(nic.numa),
            PCIE_ROOT: string(nic.pcie_root),
            NUMA_NODE: integer(nic.numa),
        },
    }
