"""What Intel's DRA drivers publish: GPUs (gpu.intel.com) and Gaudi accelerators (gaudi.intel.com).

Source: intel/intel-resource-drivers-for-kubernetes, deployments/{gpu,gaudi}/base/device-class.yaml and
pkg/{gpu,gaudi}/device; the attributes are listed in data/dra_drivers.yaml.
"""

from collections.abc import Sequence

from aliquot.catalog.drivers.publication import (
    PCI_BUS_ID,
    PCIE_ROOT,
    Json,
    Version,
    boolean,
    capacities,
    chunks,
    device_class,
    mebibytes,
    resource_slices,
    stable_uuid,
    string,
)
from aliquot.catalog.node_groups import NodeGroup
from aliquot.catalog.node_types import DeviceSlot

GPU_DRIVER = "gpu.intel.com"
GAUDI_DRIVER = "gaudi.intel.com"


def is_gaudi(group: NodeGroup) -> bool:
    """Whether a group's machines have Gaudi accelerators."""
    return group.accelerator.architecture.startswith("Gaudi")


def gpu_classes(_groups: Sequence[NodeGroup]) -> list[Json]:
    """The classes of GPUs; the extended resource is commented out in the driver's manifests."""
    selector = f'device.driver == "{GPU_DRIVER}"'
    return [device_class(GPU_DRIVER, [selector]), device_class("gpu-vfio.intel.com", [selector])]


def gaudi_classes(_groups: Sequence[NodeGroup]) -> list[Json]:
    """The class of Gaudi accelerators."""
    return [device_class(GAUDI_DRIVER, [f'device.driver == "{GAUDI_DRIVER}"'])]


def gpu_slices(group: NodeGroup, node: str, _kubernetes: Version) -> list[Json]:
    """The ResourceSlices of one machine with GPUs."""
    return resource_slices(GPU_DRIVER, node, chunks([_gpu(group, slot) for slot in group.node_type.gpus]))


def gaudi_slices(group: NodeGroup, node: str, _kubernetes: Version) -> list[Json]:
    """The ResourceSlices of one machine with Gaudi accelerators."""
    devices = [_gaudi(group, slot, node) for slot in group.node_type.gpus]
    return resource_slices(GAUDI_DRIVER, node, chunks(devices))


def device_name(group: NodeGroup, slot: DeviceSlot) -> str:
    """The PCI address with dashes, then the PCI device id: 0000-04-00-0-0xe211."""
    address = slot.pci_bus.replace(":", "-").replace(".", "-")
    return f"{address}-{group.accelerator.pci_device_id}"


def _gpu(group: NodeGroup, slot: DeviceSlot) -> Json:
    accelerator = group.accelerator
    return {
        "name": device_name(group, slot),
        "attributes": {
            "model": string(accelerator.product_name),
            "family": string(accelerator.family),
            "driver": string(accelerator.kernel_driver),
            "sriov": boolean(True),
            "type": string("gpu"),
            "pciId": string(accelerator.pci_device_id),
            "health": string("Healthy"),
            "pciAddress": string(slot.pci_bus),
            "pciRoot": string(slot.pcie_root),
            PCI_BUS_ID: string(slot.pci_bus),
            PCIE_ROOT: string(slot.pcie_root),
        },
        "capacity": capacities({"memory": mebibytes(accelerator.memory_mib), "millicores": "1k"}),
    }


def _gaudi(group: NodeGroup, slot: DeviceSlot, node: str) -> Json:
    return {
        "name": device_name(group, slot),
        "attributes": {
            "model": string(group.accelerator.product_name),
            "serial": string(stable_uuid(node, "gaudi", slot.index)[:13].upper()),
            "healthy": boolean(True),
            "pciRoot": string(slot.pcie_root),
            PCIE_ROOT: string(slot.pcie_root),
        },
    }


def labels(group: NodeGroup) -> dict[str, str]:
    """The labels of Node Feature Discovery with Intel's rules."""
    if is_gaudi(group):
        return {
            "feature.node.kubernetes.io/pci-1da3.present": "true",
            "intel.feature.node.kubernetes.io/gaudi": "true",
        }
    return {
        "feature.node.kubernetes.io/pci-8086.present": "true",
        "intel.feature.node.kubernetes.io/gpu": "true",
    }
