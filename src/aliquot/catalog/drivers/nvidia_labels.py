"""Labels of NVIDIA nodes, as GPU Feature Discovery and the GPU Operator set them.

Source: NVIDIA/k8s-device-plugin docs/gpu-feature-discovery/README.md; NVIDIA/gpu-operator.
"""

import re

from aliquot.catalog.drivers.device_plugin import mig_counts, whole_gpus
from aliquot.catalog.drivers.nvidia import CUDA_VERSION, DRIVER_VERSION
from aliquot.catalog.drivers.publication import stable_uuid
from aliquot.catalog.node_groups import NodeGroup

_FAMILIES = (
    ((7, 0), "volta"),
    ((7, 5), "turing"),
    ((8, 9), "ampere"),
    ((9, 0), "ada-lovelace"),
    ((10, 0), "hopper"),
    ((13, 0), "blackwell"),
    ((14, 0), "rubin"),
)
"""Family by compute capability: the first row whose bound is above it, except that 7.0 and 7.5 are exact."""


def family(compute_capability: str) -> str:
    """The value of nvidia.com/gpu.family: 8.0 to 8.8 is `ampere`, 8.9 `ada-lovelace`, 9 `hopper`."""
    major, minor = (int(part) for part in compute_capability.split("."))
    for bound, name in _FAMILIES[:2]:
        if (major, minor) == bound:
            return name
    if major < 8:
        return "undefined"
    return next((name for bound, name in _FAMILIES[2:] if (major, minor) < bound), "undefined")


def label_value(text: str) -> str:
    """A product name as a label value: NVIDIA-H100-80GB-HBM3."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def clique(group: NodeGroup, number: int) -> str:
    """The NVLink domain and clique of a node: nodes of one rack-scale domain share it; "" without one."""
    fabric = group.node_type.fabric
    if fabric is None or not fabric.imex:
        return ""
    domain = number // (group.nodes_per_rack or fabric.vms_per_domain or 18)
    return f"{stable_uuid(group.prefix, group.first, 'nvlink-domain', domain)}.0"


def labels(group: NodeGroup, number: int) -> dict[str, str]:
    """The labels of one node; number: within the group."""
    accelerator = group.accelerator
    product = f"NVIDIA {group.vgpu.name}" if group.vgpu else accelerator.product_name
    memory = group.vgpu.framebuffer_gb * 1024 if group.vgpu else accelerator.memory_mib
    major, minor = accelerator.compute_capability.split(".")
    driver = DRIVER_VERSION.split(".")
    cuda = CUDA_VERSION.split(".")
    legacy = group.legacy
    counts = mig_counts(group)
    count = whole_gpus(group) + (len(group.mig.layouts) if group.mig else 0)
    replicas = legacy.replicas if legacy else 1
    product_label = label_value(product)
    strategy = legacy.strategy if legacy else "none"
    if strategy == "single" and counts:
        profile = next(iter(counts))
        product_label = f"{product_label}-MIG-{profile.replace('+', '.')}"
        count = counts.total()
        memory = next(
            placed.memory_mib or 0
            for layout in (group.mig.layouts.values() if group.mig else ())
            for placed, _ in layout
        )
    if replicas > 1 and legacy and not legacy.rename:
        product_label += "-SHARED"
    found = {
        "feature.node.kubernetes.io/pci-10de.present": "true",
        "nvidia.com/cuda.driver-version.full": DRIVER_VERSION,
        "nvidia.com/cuda.driver-version.major": driver[0],
        "nvidia.com/cuda.driver-version.minor": driver[1],
        "nvidia.com/cuda.driver-version.revision": driver[2],
        "nvidia.com/cuda.runtime-version.full": CUDA_VERSION,
        "nvidia.com/cuda.runtime-version.major": cuda[0],
        "nvidia.com/cuda.runtime-version.minor": cuda[1],
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.family": family(accelerator.compute_capability),
        "nvidia.com/gpu.machine": label_value(group.node_type.machine or "unknown"),
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.mode": "compute",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product_label,
        "nvidia.com/gpu.replicas": str(replicas),
        "nvidia.com/gpu.sharing-strategy": "time-slicing" if replicas > 1 else "none",
        "nvidia.com/mig.capable": "true" if accelerator.mig and not group.vgpu else "false",
        "nvidia.com/mig.strategy": strategy,
        "nvidia.com/mps.capable": "false",
    }
    domain = clique(group, number)
    if domain:
        found["nvidia.com/gpu.clique"] = domain
    if group.vgpu:
        found["nvidia.com/vgpu.present"] = "true"
    if strategy == "mixed":
        found |= _mixed_labels(group, product)
    return found


def _mixed_labels(group: NodeGroup, product: str) -> dict[str, str]:
    counts = mig_counts(group)
    profiles = {
        profile.name: profile
        for layout in (group.mig.layouts.values() if group.mig else ())
        for profile, _ in layout
    }
    found: dict[str, str] = {}
    for name, profile in sorted(profiles.items()):
        prefix = f"nvidia.com/mig-{name.replace('+', '.')}"
        found[f"{prefix}.count"] = str(counts[name])
        found[f"{prefix}.memory"] = str(profile.memory_mib)
        found[f"{prefix}.multiprocessors"] = str(profile.multiprocessors)
        found[f"{prefix}.product"] = f"{label_value(product)}-MIG-{name.replace('+', '.')}"
        found[f"{prefix}.replicas"] = "1"
        found[f"{prefix}.sharing-strategy"] = "none"
        found[f"{prefix}.slices.gi"] = str(profile.compute_slices)
        found[f"{prefix}.slices.ci"] = str(profile.compute_slices)
        if profile.engines:
            for engine in ("copy", "decoder", "encoder", "jpeg", "ofa"):
                found[f"{prefix}.engines.{engine}"] = str(getattr(profile.engines, engine))
    return found
