"""Nodes without a DRA driver: the resources that device plugins add to a node's capacity.

Source: NVIDIA/k8s-device-plugin README (shared access, migStrategy) and GPU Feature Discovery;
ROCm/k8s-device-plugin; Google Kubernetes Engine for google.com/tpu.
"""

from collections import Counter

from aliquot.catalog.drivers.amd import PARTITION_PROFILES
from aliquot.catalog.node_groups import NodeGroup

RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "google": "google.com/tpu"}
"""The resource that each vendor's device plugin advertises."""


def mig_resource(profile: str) -> str:
    """The resource of a MIG profile with strategy `mixed`: 1g.10gb+me is nvidia.com/mig-1g.10gb.me."""
    return f"nvidia.com/mig-{profile.replace('+', '.')}"


def mig_counts(group: NodeGroup) -> Counter[str]:
    """Static MIG instances of one node by profile name."""
    if group.mig is None:
        return Counter()
    return Counter(profile.name for layout in group.mig.layouts.values() for profile, _ in layout)


def whole_gpus(group: NodeGroup) -> int:
    """GPUs of one node that are not in MIG mode."""
    if group.vgpu is not None:
        return group.guest_devices
    return len(group.node_type.gpus) - (len(group.mig.layouts) if group.mig else 0)


def resources(group: NodeGroup) -> dict[str, str]:
    """Extended resources of one node by name; empty for nodes with a DRA driver.

    Strategy `single` shows MIG instances as nvidia.com/gpu, `mixed` by profile, `none` not at all.
    """
    legacy = group.legacy
    if legacy is None:
        return {}
    if group.accelerator.vendor != "nvidia":
        parts = PARTITION_PROFILES.get(group.partitions, 1)
        return {RESOURCES[group.accelerator.vendor]: str(len(group.node_type.gpus) * parts)}
    whole = whole_gpus(group)
    counts = mig_counts(group)
    if legacy.strategy == "single" and counts:
        return {"nvidia.com/gpu": str(counts.total())}
    name = "nvidia.com/gpu.shared" if legacy.rename and legacy.replicas > 1 else "nvidia.com/gpu"
    found = {name: str(whole * legacy.replicas)}
    if legacy.strategy == "mixed":
        found |= {mig_resource(profile): str(count) for profile, count in sorted(counts.items())}
    return found
