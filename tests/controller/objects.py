"""Objects as a cluster has them when the controller meets them, and plans about them."""

import asyncio
from collections.abc import Callable
from typing import Any

from aliquot.cel.quantity import Quantity
from aliquot.kube.client import Client
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import PODS, RESOURCE_CLAIMS, Resource
from aliquot.model.core import PLACEMENT_GATE, Pod
from aliquot.model.kinds import decoder
from aliquot.model.resource import (
    AllocationResult,
    ConsumerReference,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)
from aliquot.scheduling.plan import Admit, Allocate, Decision, Placement

DRIVER = "gpu.example.com"

SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", False)
CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", False)
NODES = Resource("", "v1", "nodes", "Node", False)

decode_pod: Callable[[bytes], Pod] = decoder(Pod).decode
decode_claim: Callable[[bytes], ResourceClaim] = decoder(ResourceClaim).decode


async def add_node(client: Client, name: str, devices: int) -> None:
    """A node with GPUs."""
    await client.create(
        NODES,
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"{name}.example.com"}},
        },
    )
    await client.create(
        SLICES,
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": f"{name}-gpus"},
            "spec": {
                "driver": DRIVER,
                "nodeName": name,
                "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": f"gpu-{number}"} for number in range(devices)],
            },
        },
    )


async def add_claim(client: Client, name: str) -> ResourceClaim:
    """A claim for one GPU."""
    body = await client.create(
        RESOURCE_CLAIMS,
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name},
            "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}},
        },
        "default",
    )
    return decode_claim(body)


async def add_pod(client: Client, name: str, *claims: str, gated: bool = True) -> Pod:
    """A pod that uses these claims."""
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": "none"}],
        "resourceClaims": [
            {"name": f"claim-{number}", "resourceClaimName": claim} for number, claim in enumerate(claims)
        ],
    }
    if gated:
        spec["schedulingGates"] = [{"name": PLACEMENT_GATE}]
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    return decode_pod(await client.create(PODS, document, "default"))


def consumer(pod: Pod) -> ConsumerReference:
    return ConsumerReference(resource="pods", name=pod.name, uid=pod.metadata.uid)


def allocation(node: str, device: str, *, share: str | None = None) -> AllocationResult:
    return AllocationResult(
        devices=DeviceAllocationResult(
            results=(
                DeviceRequestAllocationResult(
                    request="gpu",
                    driver=DRIVER,
                    pool=node,
                    device=device,
                    share_id=share,
                    consumed_capacity={"memory": Quantity.parse("1Gi")} if share else {},
                ),
            )
        )
    )


def allocate(claim: ResourceClaim, node: str, device: str, *pods: Pod, decision: str = "d") -> Allocate:
    return Allocate(
        decision=decision,
        claim=claim.ref,
        resource_version=claim.metadata.resource_version,
        allocation=allocation(node, device),
        consumers=tuple(consumer(pod) for pod in pods),
    )


def admit(node: str, *pods: Pod, pin: bool = False, decision: str = "d") -> Admit:
    return Admit(
        decision=decision,
        placements=tuple(Placement(pod=pod.ref, node=node, pin=pin) for pod in pods),
    )


def decide(pod: Pod, *actions: Any, decision: str = "d") -> Decision:
    placements = tuple(
        placement for action in actions if isinstance(action, Admit) for placement in action.placements
    )
    return Decision(
        id=decision,
        workload=pod.ref,
        queue="default",
        pods=(pod.ref,),
        actions=actions,
        placements=placements,
    )


async def read_claim(client: Client, name: str) -> ResourceClaim:
    return decode_claim(await client.get(RESOURCE_CLAIMS, name, "default"))


async def read_pod(client: Client, name: str) -> Pod:
    return decode_pod(await client.get(PODS, name, "default"))


async def seen(mirror: Mirror, *items: Pod | ResourceClaim) -> None:
    """Wait until the mirror has these versions."""
    async with asyncio.timeout(10):
        for item in items:
            while (known := mirror.get(type(item), item.namespace, item.name)) is None or int(
                known.metadata.resource_version
            ) < int(item.metadata.resource_version):
                await mirror.wait_for_change(mirror.version)
