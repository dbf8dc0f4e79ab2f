"""What the AMD DRA driver (gpu.amd.com) publishes: full GPUs, partitions made beforehand, and AutoPartition.

Source: ROCm/k8s-gpu-dra-driver docs/driver-attributes.md and cmd/gpu-kubeletplugin/deviceinfo.go; valid
combinations of compute and memory partitions from data/sharing_modes.yaml (amd-compute-partition).
"""

from collections.abc import Iterable, Sequence

from aliquot.catalog.accelerators import Accelerator
from aliquot.catalog.drivers.publication import (
    MAX_DEVICES_WITH_COUNTERS,
    PCI_BUS_ID,
    PCIE_ROOT,
    Json,
    Slice,
    Version,
    binary_quantity,
    capacities,
    chunks,
    decimal_quantity,
    device_class,
    integer,
    mebibytes,
    resource_slices,
    string,
    version,
)
from aliquot.catalog.node_groups import NodeGroup
from aliquot.catalog.node_types import DeviceSlot

DRIVER = "gpu.amd.com"

DRIVER_VERSION = "6.16.6"
"""Version of the amdgpu kernel module; no source names one, any semantic version serves."""

SIMDS_PER_CU = 4

FIRST_RENDER_NODE = 128
"""DRM render nodes start at /dev/dri/renderD128."""

WHOLE = "spx_nps1"
DYNAMIC = "dynamic"

AUTO_PARTITION_SINCE = (1, 36)
"""AutoPartition needs beta features of this Kubernetes version; before it the GPUs are published whole."""

PARTITION_PROFILES = {
    WHOLE: 1,
    "dpx_nps1": 2,
    "dpx_nps2": 2,
    "qpx_nps1": 4,
    "cpx_nps1": 8,
    "cpx_nps4": 8,
}
"""Combinations that can be set up beforehand, with the number of partitions of an eight-XCD GPU."""

AUTO_PARTITION_PROFILES = (WHOLE, "dpx_nps2", "cpx_nps1", "cpx_nps4")
"""Combinations that AutoPartition offers."""


def partition_profiles(
    accelerator: Accelerator, among: Iterable[str] = tuple(PARTITION_PROFILES)
) -> list[str]:
    """Those of the combinations that a model has; empty for one that cannot be partitioned."""
    modes = accelerator.partition_modes
    if modes is None:
        return []
    return [
        profile
        for profile in among
        if profile[:3].upper() in modes.compute and profile[4:].upper() in modes.memory
    ]


def device_classes(groups: Sequence[NodeGroup]) -> list[Json]:
    """gpu.amd.com; with AutoPartition the extended resource moves to a class of unpartitioned GPUs."""
    driver = f"device.driver == '{DRIVER}'"
    if not any(group.partitions == DYNAMIC for group in groups):
        return [device_class(DRIVER, [driver], "amd.com/gpu")]
    attributes = f"device.attributes['{DRIVER}']"
    whole = f"!('computePartition' in {attributes}) || {attributes}.computePartition == 'spx'"
    return [
        device_class(DRIVER, [driver]),
        device_class(f"{DRIVER}-spx", [driver, whole], "amd.com/gpu"),
    ]


def slices(group: NodeGroup, node: str, kubernetes: Version) -> list[Json]:
    """The ResourceSlices of one machine. Devices are sorted by name, which is then the order of choice."""
    gpus = sorted(group.node_type.gpus, key=lambda slot: slot.pci_bus)
    if group.partitions == DYNAMIC and kubernetes >= AUTO_PARTITION_SINCE:
        return resource_slices(DRIVER, node, _auto_partition(group, gpus))
    devices: list[Json] = []
    for slot in gpus:
        devices += _fixed(group, slot, len(devices))
    return resource_slices(DRIVER, node, chunks(sorted(devices, key=_name)))


def _name(device: Json) -> str:
    return str(device["name"])


def _common(accelerator: Accelerator, slot: DeviceSlot, kind: str) -> Json:
    return {
        "type": string(kind),
        "deviceID": string(accelerator.pci_device_id),
        "productName": string(accelerator.product_name),
        "driverVersion": version(DRIVER_VERSION),
        "driverVersionFull": string(DRIVER_VERSION),
        "numaNode": integer(slot.numa),
        PCI_BUS_ID: string(slot.pci_bus),
        PCIE_ROOT: string(slot.pcie_root),
    }


def _amounts(accelerator: Accelerator, partitions: int) -> tuple[int, int]:
    """Memory in MiB and compute units of one partition; a GCD of a dual-die board has half of the board's."""
    return (
        accelerator.memory_mib // partitions,
        (accelerator.cus or 0) // accelerator.gcds // partitions,
    )


def _fixed(group: NodeGroup, slot: DeviceSlot, before: int) -> list[Json]:
    """A GPU, or its partitions: each with a card and a render node, numbered through the machine."""
    profile = group.partitions if group.partitions != DYNAMIC else ""
    if not profile and group.accelerator.partition_modes:
        profile = WHOLE
    count = PARTITION_PROFILES.get(profile, 1)
    memory, units = _amounts(group.accelerator, count)
    made = []
    for number in range(before, before + count):
        attributes = _common(group.accelerator, slot, "amdgpu" if count == 1 else "amdgpu-partition")
        if profile:
            attributes["partitionProfile"] = string(profile)
        held = {
            "memory": mebibytes(memory),
            "computeUnits": binary_quantity(units),
            "simdUnits": binary_quantity(units * SIMDS_PER_CU),
        }
        made.append(
            {
                "name": f"gpu-{number}-{FIRST_RENDER_NODE + number}",
                "attributes": attributes,
                "capacity": capacities(held),
            }
        )
    return made


def _auto_partition(group: NodeGroup, gpus: Sequence[DeviceSlot]) -> list[Slice]:
    """One device per GPU and combination, kept apart by a counter of one per GPU."""
    sets = []
    devices: list[Json] = []
    for index, slot in enumerate(gpus):
        mutex = f"gpu-{index}-mutex"
        sets.append({"name": mutex, "counters": {"partition-mode": {"value": "1"}}})
        for profile in partition_profiles(group.accelerator, AUTO_PARTITION_PROFILES):
            devices.append(_combination(group.accelerator, slot, index, profile, mutex))
    return [Slice(shared_counters=sets), *chunks(sorted(devices, key=_name), MAX_DEVICES_WITH_COUNTERS)]


def _combination(accelerator: Accelerator, slot: DeviceSlot, index: int, profile: str, mutex: str) -> Json:
    """One way to cut one GPU. Its capacities are those of the whole GPU; a claim takes one partition of them.

    With eight partitions of 24574Mi, memory is 196592Mi and every request takes 24574Mi: valid values hold
    that one amount, so that no request takes two partitions for one.
    """
    compute, memory_mode = profile.split("_")
    count = PARTITION_PROFILES[profile]
    attributes = _common(accelerator, slot, "amdgpu" if count == 1 else "amdgpu-partition") | {
        "computePartition": string(compute),
        "memoryPartition": string(memory_mode),
        "gpuIndex": integer(index),
        "pciAddr": string(slot.pci_bus),
    }
    memory, units = _amounts(accelerator, count)
    one = {
        "partitions": (1, decimal_quantity),
        "memory": (memory << 20, binary_quantity),
        "computeUnits": (units, decimal_quantity),
        "simdUnits": (units * SIMDS_PER_CU, decimal_quantity),
    }
    held: Json = {}
    for name, (amount, written) in one.items():
        held[name] = {"value": written(amount * count)}
        if count > 1:
            text = written(amount)
            held[name]["requestPolicy"] = {"default": text, "validValues": [text]}
    device: Json = {
        "name": f"gpu-{index}-{compute}-{memory_mode}",
        "attributes": attributes,
        "capacity": held,
        "consumesCounters": [{"counterSet": mutex, "counters": {"partition-mode": {"value": "1"}}}],
    }
    if count > 1:
        device["allowMultipleAllocations"] = True
    return device


def labels(group: NodeGroup) -> dict[str, str]:
    """The labels of ROCm's node labeller."""
    accelerator = group.accelerator
    found = {
        "feature.node.kubernetes.io/pci-1002.present": "true",
        "amd.com/gpu.cu-count": str((accelerator.cus or 0) // accelerator.gcds),
        "amd.com/gpu.device-id": accelerator.pci_device_id.removeprefix("0x"),
        "amd.com/gpu.driver-version": DRIVER_VERSION,
        "amd.com/gpu.family": "AI",
        "amd.com/gpu.product-name": accelerator.product_name,
        "amd.com/gpu.simd-count": str((accelerator.cus or 0) // accelerator.gcds * SIMDS_PER_CU),
        "amd.com/gpu.vram": f"{accelerator.memory_mib // 1024}G",
    }
    if accelerator.partition_modes:
        found["amd.com/gpu.compute-partitioning-supported"] = "true"
        found["amd.com/gpu.memory-partitioning-supported"] = "true"
        if group.partitions != DYNAMIC:
            found["amd.com/gpu.compute-memory-partition"] = group.partitions or WHOLE
    return found
