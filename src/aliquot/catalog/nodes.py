"""Node objects: capacity, conditions and labels as the kubelet, cloud controllers and operators set them.

Source of the labels: NVIDIA/k8s-device-plugin docs/gpu-feature-discovery, NVIDIA/gpu-operator,
ROCm/k8s-device-plugin, intel/intel-resource-drivers-for-kubernetes, kubernetes-sigs/dra-driver-google-tpu,
and the well-known labels of Kubernetes.
"""

from aliquot.catalog.drivers import device_plugin
from aliquot.catalog.drivers.publication import Json, Version, binary_quantity
from aliquot.catalog.node_groups import NodeGroup

PODS = 110
"""Kubelet default of maxPods."""

EVICTION_MIB = 100
"""Kubelet default of evictionHard memory.available; allocatable memory is capacity less this."""

DISK_GIB = 1024
"""Ephemeral storage of every node; the kubelet keeps 10 % of it (evictionHard nodefs.available)."""

SINCE = "2026-01-01T00:00:00Z"

RACK_LABEL = "aliquot.dev/rack"
BLOCK_LABEL = "aliquot.dev/block"

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def host_resources(group: NodeGroup) -> tuple[int, int]:
    """CPUs and MiB of memory of one node.

    A vGPU guest gets the part of its host that its vGPUs are of all that fit there: two A10-12Q fit on each
    of two GPUs, so a guest with one has a quarter of the host.
    """
    cpus, memory = group.node_type.vcpus, group.node_type.ram_gib * 1024
    if group.vgpu is not None:
        guests = group.vgpu.max_per_gpu * len(group.node_type.gpus)
        cpus = max(1, cpus * group.guest_devices // guests)
        memory = max(1024, memory * group.guest_devices // guests)
    return cpus, memory


def node_object(
    group: NodeGroup, number: int, position: int, labels: dict[str, str], version: Version
) -> Json:
    """One Node. number: within the group; position: within the fleet (its address depends on it)."""
    name = f"{group.prefix}-{group.first + number}"
    cpus, memory = host_resources(group)
    capacity = {
        "cpu": str(cpus),
        "ephemeral-storage": binary_quantity(DISK_GIB << 30),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": binary_quantity(memory << 20),
        "pods": str(PODS),
    }
    allocatable = capacity | {
        "memory": binary_quantity((memory - EVICTION_MIB) << 20),
        "ephemeral-storage": str((DISK_GIB << 30) * 9 // 10),
    }
    extended = device_plugin.resources(group)
    metadata: Json = {"name": name, "labels": _labels(group, name, number, labels)}
    if group.annotations:
        metadata["annotations"] = dict(group.annotations)
    spec: Json = {}
    if group.taints:
        spec["taints"] = [
            {"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in group.taints
        ]
    address = f"10.{64 + (position >> 16)}.{position >> 8 & 255}.{position & 255}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "capacity": capacity | extended,
            "allocatable": allocatable | extended,
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": SINCE,
                    "lastTransitionTime": SINCE,
                }
                for kind, status, reason, message in _CONDITIONS
            ],
            "nodeInfo": {
                "architecture": group.node_type.arch,
                "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04 LTS",
                "kernelVersion": "6.8.0",
                "containerRuntimeVersion": "containerd://2.1.0",
                "kubeletVersion": f"v{version[0]}.{version[1]}.0",
                "kubeProxyVersion": "",
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        },
    }


def _labels(group: NodeGroup, name: str, number: int, of_drivers: dict[str, str]) -> dict[str, str]:
    labels = {
        "kubernetes.io/arch": group.node_type.arch,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    labels["node.kubernetes.io/instance-type"] = group.node_type.instance_type or group.node_type.id
    if group.zone:
        labels["topology.kubernetes.io/zone"] = group.zone
    if group.region:
        labels["topology.kubernetes.io/region"] = group.region
    block = block_name(group, number)
    if block:
        labels[BLOCK_LABEL] = block
    rack = rack_name(group, number)
    if rack:
        labels[RACK_LABEL] = rack
    return labels | of_drivers | group.labels


def rack_name(group: NodeGroup, number: int) -> str:
    """The rack of a group's node: `rack`, numbered from 0 every nodes_per_rack nodes where that is set."""
    if not group.rack or not group.nodes_per_rack:
        return group.rack
    return f"{group.rack}-{number // group.nodes_per_rack}"


def block_name(group: NodeGroup, number: int) -> str:
    """The block of a group's node: `block`, numbered from 0 every racks_per_block racks where that is set."""
    if not group.block or not group.racks_per_block:
        return group.block
    return f"{group.block}-{number // (group.nodes_per_rack * group.racks_per_block)}"
