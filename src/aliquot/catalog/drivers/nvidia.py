"""What the NVIDIA DRA driver (gpu.nvidia.com) publishes: full GPUs, MIG instances, consumable shares.

Source: kubernetes-sigs/dra-driver-nvidia-gpu v0.5 development (2026-08), cmd/gpu-kubelet-plugin; the
attributes are listed in data/dra_drivers.yaml. The versions of the NVIDIA driver and of CUDA are those of
its documented example.
"""

from collections.abc import Sequence

from aliquot.catalog.accelerators import Accelerator
from aliquot.catalog.drivers.nvidia_mig import combined_slices, split_slices, static_instances
from aliquot.catalog.drivers.nvidia_shares import make_shareable
from aliquot.catalog.drivers.publication import (
    NUMA_NODE,
    PCI_BUS_ID,
    PCIE_ROOT,
    Json,
    Slice,
    Version,
    capacities,
    chunks,
    device_class,
    integer,
    mebibytes,
    resource_slices,
    stable_uuid,
    string,
    version,
)
from aliquot.catalog.node_groups import NodeGroup
from aliquot.catalog.node_types import DeviceSlot

DRIVER = "gpu.nvidia.com"
COMPUTE_DOMAIN_DRIVER = "compute-domain.nvidia.com"

DRIVER_VERSION = "580.126.20"
CUDA_VERSION = "13.0"

GUEST_BUS = 2
"""First PCI bus of a vGPU in its guest (KVM puts the first extra device behind one root port)."""


def _selector(driver: str, kind: str) -> str:
    return f"device.driver == '{driver}' && device.attributes['{driver}'].type == '{kind}'"


def device_classes(groups: Sequence[NodeGroup]) -> list[Json]:
    """The classes that the driver's chart installs: full GPU, MIG, VFIO, and the two of compute domains."""
    classes = [
        device_class(DRIVER, [_selector(DRIVER, "gpu")], "nvidia.com/gpu"),
        device_class("mig.nvidia.com", [_selector(DRIVER, "mig")]),
        device_class(f"vfio.{DRIVER}", [_selector(DRIVER, "vfio")]),
    ]
    if any(group.compute_domains for group in groups):
        channel = _selector(COMPUTE_DOMAIN_DRIVER, "channel")
        first = f"{channel} && device.attributes['{COMPUTE_DOMAIN_DRIVER}'].id == 0"
        daemon = _selector(COMPUTE_DOMAIN_DRIVER, "daemon")
        classes.append(device_class("compute-domain-default-channel.nvidia.com", [first]))
        classes.append(device_class("compute-domain-daemon.nvidia.com", [daemon]))
    return classes


def slices(group: NodeGroup, node: str, kubernetes: Version) -> list[Json]:
    """The ResourceSlices of one machine.

    Without dynamic MIG everything is in one slice. With it, from Kubernetes 1.35 on: one slice with the
    counter sets and one with the devices of each GPU; in 1.34: one slice per GPU with both.
    """
    made = resource_slices(DRIVER, node, _contents(group, node, kubernetes))
    if group.compute_domains:
        made += resource_slices(COMPUTE_DOMAIN_DRIVER, node, [Slice(compute_domain_devices())])
    return made


def _contents(group: NodeGroup, node: str, kubernetes: Version) -> list[Slice]:
    if group.vgpu is not None:
        return chunks([_shared(device, group) for device in guest_devices(group, node)])
    devices = [full_gpu(group.accelerator, slot, node, group.node_type.arch) for slot in group.node_type.gpus]
    if group.mig is None:
        return chunks([_shared(device, group) for device in devices])
    if group.mig.dynamic:
        by_bus = [
            (slot, device)
            for slot, device in sorted(
                zip(group.node_type.gpus, devices, strict=True), key=lambda pair: pair[0].pci_bus
            )
        ]
        form = split_slices if kubernetes >= (1, 35) else combined_slices
        return form(group.mig.board, by_bus, lambda device: _shared(device, group))
    published = []
    for slot, device in zip(group.node_type.gpus, devices, strict=True):
        layout = group.mig.layouts.get(slot.index)
        if layout is None:
            published.append(_shared(device, group))
        else:
            instances = static_instances(slot.index, device, layout, node)
            published += [_shared(instance, group) for instance in instances]
    return chunks(published)


def _shared(device: Json, group: NodeGroup) -> Json:
    if group.shares:
        make_shareable(device, group.shares)
    return device


def architecture(accelerator: Accelerator) -> str:
    """The architecture as the driver names it."""
    return accelerator.architecture


def brand(accelerator: Accelerator) -> str:
    """NVML's brand: V100 and T4 are still `Tesla`."""
    return "Tesla" if accelerator.product_name.startswith("Tesla") else "Nvidia"


def full_gpu(accelerator: Accelerator, slot: DeviceSlot, node: str, arch: str) -> Json:
    """One full GPU, `gpu-<minor>`."""
    return {
        "name": f"gpu-{slot.index}",
        "attributes": {
            "type": string("gpu"),
            "uuid": string(f"GPU-{stable_uuid(node, 'gpu', slot.index)}"),
            "productName": string(accelerator.product_name),
            "brand": string(brand(accelerator)),
            "architecture": string(architecture(accelerator)),
            "cudaComputeCapability": version(accelerator.compute_capability),
            "driverVersion": version(DRIVER_VERSION),
            "cudaDriverVersion": version(CUDA_VERSION),
            "addressingMode": string("ATS" if arch == "arm64" else "HMM"),
            PCI_BUS_ID: string(slot.pci_bus),
            PCIE_ROOT: string(slot.pcie_root),
            NUMA_NODE: integer(slot.numa),
        },
        "capacity": capacities({"memory": mebibytes(accelerator.memory_mib)}),
    }


def guest_devices(group: NodeGroup, node: str) -> list[Json]:
    """The devices of a vGPU guest: the driver in the guest sees a vGPU as a full GPU named after its type.

    Memory is the type's frame buffer; PCI addresses are those of the virtual machine, with one root; MIG is
    not offered in a guest (isDynamicMIGCapable is false for vGPUs).
    """
    kind = group.vgpu
    if kind is None:
        return []
    devices = []
    for index in range(group.guest_devices):
        slot = DeviceSlot(index, 0, f"0000:{GUEST_BUS + index:02x}:00.0", "pci0000:00")
        device = full_gpu(group.accelerator, slot, node, group.node_type.arch)
        device["attributes"]["productName"] = string(f"NVIDIA {kind.name}")
        del device["attributes"]["addressingMode"]
        device["capacity"] = capacities({"memory": mebibytes(kind.framebuffer_gb * 1024)})
        devices.append(device)
    return devices


def compute_domain_devices() -> list[Json]:
    """The devices of the compute-domain plugin: IMEX channel 0 (of up to 2048) and the IMEX daemon."""
    return [
        {"name": f"{kind}-0", "attributes": {"type": string(kind), "id": integer(0)}}
        for kind in ("channel", "daemon")
    ]
