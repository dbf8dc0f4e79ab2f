"""A cluster as an API server has it, put into one that only answers: nodes with GPUs, pods and their claims,
queues. Objects have the size that they have in clusters, managedFields and all.
"""

from collections.abc import Iterator

from benchmarks.answering import Answering, Json

DEVICES = 8
CLAIMED = 0.8
"""The part of the pods that have a device through a claim."""

QUEUES = 20
DRIVER = "gpu.nvidia.com"
PODS_PATH = "/api/v1/pods"
CLAIMS_PATH = "/apis/resource.k8s.io/v1/resourceclaims"
STAMP = "2026-01-01T00:00:00Z"


def _managed(*fields: str) -> Json:
    """managedFields as a server keeps them: they are a third of what it sends."""
    tree: Json = {f"f:{name}": {".": {}, "f:value": {}, "f:status": {}, "f:reason": {}} for name in fields}
    return {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": STAMP,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": tree, "f:spec": tree},
    }


_FIELDS = ("labels", "annotations", "ownerReferences", "containers", "volumes", "tolerations", "resources")


def node(number: int) -> Json:
    name = f"node-{number:05}"
    amounts = {
        "cpu": "128",
        "memory": "2113548472Ki",
        "pods": "110",
        "ephemeral-storage": "3750Gi",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }
    conditions = [
        {
            "type": kind,
            "status": "True" if kind == "Ready" else "False",
            "lastHeartbeatTime": STAMP,
            "lastTransitionTime": STAMP,
            "reason": f"Kubelet{kind}",
            "message": "kubelet is posting its status",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    images = [
        {"names": [f"registry.example/images/{item}@sha256:{item:064}"], "sizeBytes": 12345678 * (item + 1)}
        for item in range(40)
    ]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": f"node-{number}",
            "creationTimestamp": STAMP,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                "nvidia.com/gpu.count": str(DEVICES),
                **{f"feature.node.kubernetes.io/cpu-feature-{item}": "true" for item in range(30)},
            },
            "annotations": {f"node.example/{item}": "x" * 60 for item in range(5)},
            "managedFields": [_managed(*_FIELDS), _managed(*_FIELDS)],
        },
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": f"example:///{name}"},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "images": images,
            "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Linux", "architecture": "amd64"},
        },
    }


def resource_slice(number: int) -> Json:
    name = f"node-{number:05}"
    attributes = {
        "productName": {"string": "NVIDIA H100 80GB HBM3"},
        "architecture": {"string": "Hopper"},
        "brand": {"string": "Nvidia"},
        "driverVersion": {"version": "580.65.6"},
        "cudaComputeCapability": {"version": "9.0.0"},
        "type": {"string": "gpu"},
        "resource.kubernetes.io/numaNode": {"int": 0},
    }
    devices = [
        {
            "name": f"gpu-{index}",
            "attributes": {
                **attributes,
                "uuid": {"string": f"GPU-{number:08}-{index:04}-4000-8000-000000000000"},
                "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{index:02x}"},
            },
            "capacity": {"memory": {"value": "81559Mi"}},
        }
        for index in range(DEVICES)
    ]
    return {
        "kind": "ResourceSlice",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": {
            "name": f"{name}-{DRIVER}",
            "uid": f"slice-{number}",
            "creationTimestamp": STAMP,
            "managedFields": [_managed(*_FIELDS)],
        },
        "spec": {
            "driver": DRIVER,
            "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


def pod(number: int, claimed: bool, on: str = "") -> Json:
    """A pod of a Job's size and shape; with a claim of its own, or without."""
    name = f"work-{number:07}"
    spec: Json = {
        "schedulerName": "default-scheduler",
        "restartPolicy": "Never",
        "serviceAccountName": "default",
        "priority": 0,
        "preemptionPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": "registry.example/training:1.2.3",
                "command": ["python", "-m", "train"],
                "env": [{"name": f"SETTING_{item}", "value": "x" * 40} for item in range(20)],
                "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "claims": [{"name": "gpu"}]},
                "volumeMounts": [{"name": f"v{item}", "mountPath": f"/v/{item}"} for item in range(4)],
            }
        ],
        "volumes": [{"name": f"v{item}", "emptyDir": {}} for item in range(4)],
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for key in ("not-ready", "unreachable")
        ],
    }
    status: Json = {"phase": "Running" if on else "Pending", "qosClass": "Burstable"}
    if claimed:
        spec["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
        status["resourceClaimStatuses"] = [{"name": "gpu", "resourceClaimName": f"{name}-gpu"}]
    if on:
        spec["nodeName"] = on
        status["startTime"] = STAMP
        status["conditions"] = [
            {"type": kind, "status": "True", "lastTransitionTime": STAMP}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
    else:
        spec["schedulingGates"] = [{"name": "aliquot.dev/placement"}]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"pod-{number}",
            "creationTimestamp": STAMP,
            "labels": {"app": "training", "aliquot.dev/queue": f"team-{number % QUEUES}"},
            "ownerReferences": [
                {
                    "apiVersion": "example.dev/v1",
                    "kind": "Run",
                    "name": name,
                    "uid": f"run-{number}",
                    "controller": True,
                }
            ],
            "managedFields": [_managed(*_FIELDS), _managed(*_FIELDS)],
        },
        "spec": spec,
        "status": status,
    }


def claim(number: int, on: str = "", device: str = "") -> Json:
    name = f"work-{number:07}"
    found: Json = {
        "kind": "ResourceClaim",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": {
            "name": f"{name}-gpu",
            "namespace": "team",
            "uid": f"claim-{number}",
            "creationTimestamp": STAMP,
            "annotations": {"resource.kubernetes.io/pod-claim-name": "gpu"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": name,
                    "uid": f"pod-{number}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_managed(*_FIELDS)],
        },
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": "gpu.nvidia.com",
                            "allocationMode": "ExactCount",
                            "count": 1,
                        },
                    }
                ]
            }
        },
        "status": {},
    }
    if on:
        found["metadata"]["finalizers"] = ["resource.kubernetes.io/delete-protection"]
        found["status"] = {
            "allocation": {
                "devices": {"results": [{"request": "gpu", "driver": DRIVER, "pool": on, "device": device}]},
                "nodeSelector": {
                    "nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [on]}]}
                    ]
                },
                "allocationTimestamp": STAMP,
            },
            "reservedFor": [{"resource": "pods", "name": name, "uid": f"pod-{number}"}],
        }
    return found


def _fixed() -> Iterator[tuple[str, Json]]:
    yield (
        "/api/v1/namespaces",
        {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": "team", "uid": "ns-team", "labels": {"aliquot.dev/managed": "true"}},
        },
    )
    yield (
        "/apis/resource.k8s.io/v1/deviceclasses",
        {
            "kind": "DeviceClass",
            "apiVersion": "resource.k8s.io/v1",
            "metadata": {"name": "gpu.nvidia.com", "uid": "class"},
            "spec": {
                "selectors": [
                    {
                        "cel": {
                            "expression": (
                                f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
                            )
                        }
                    }
                ]
            },
        },
    )


def _queues() -> Iterator[Json]:
    """One above, and teams with equal quotas below it."""
    for name in ("all", *(f"team-{number}" for number in range(QUEUES))):
        spec: Json = {"resources": [{"name": "gpu", "quota": 1000 if name != "all" else 1000 * QUEUES}]}
        if name != "all":
            spec["parent"] = "all"
        yield {
            "kind": "Queue",
            "apiVersion": "aliquot.dev/v1alpha1",
            "metadata": {"name": name, "uid": f"queue-{name}", "creationTimestamp": STAMP},
            "spec": spec,
        }


def fill(server: Answering, nodes: int, pods: int) -> list[int]:
    """Put a cluster into the server. Gives the numbers of the pods with claims, the oldest first."""
    for path, obj in _fixed():
        server.put(path, obj)
    for queue in _queues():
        server.put("/apis/aliquot.dev/v1alpha1/queues", queue)
    for number in range(nodes):
        server.put("/api/v1/nodes", node(number))
        server.put("/apis/resource.k8s.io/v1/resourceslices", resource_slice(number))
    claimed: list[int] = []
    for number in range(pods):
        if number < pods * CLAIMED and number < nodes * DEVICES:
            # Nodes fill up one after the other, as they do where work is packed.
            on = f"node-{number // DEVICES:05}"
            server.put(PODS_PATH, pod(number, True, on))
            server.put(CLAIMS_PATH, claim(number, on, f"gpu-{number % DEVICES}"))
            claimed.append(number)
        else:
            server.put(PODS_PATH, pod(number, False, f"node-{number % nodes:05}"))
    return claimed
