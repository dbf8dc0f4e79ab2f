"""Snapshots to measure on: fleets of equal nodes, and claims with the pods that wait for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.model.kinds import KINDS, decode
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import Snapshot

ONE_GPU: Mapping[str, Any] = {
    "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 1}}]
}
FOUR_GPUS_ON_ONE_SOCKET: Mapping[str, Any] = {
    "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 4}}],
    "constraints": [{"matchAttribute": "resource.kubernetes.io/numaNode"}],
}


def nodes(count: int) -> list[KubernetesObject]:
    """`count` DGX H100 nodes of eight GPUs each, with their slices and device classes."""
    text = (
        "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nmetadata: {name: bench}\n"
        f"nodes: [{{count: {count}, type: dgx-h100}}]\n"
    )
    return [decode(item) for item in expand(parse_fleet(text, "bench")) if item["kind"] in KINDS]


def waiting(count: int, devices: Mapping[str, Any]) -> Iterator[KubernetesObject]:
    """`count` gated pods, each with a claim of its own."""
    for number in range(count):
        name = f"pod-{number:06}"
        meta = {"name": name, "namespace": "bench", "uid": name}
        yield decode(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": meta,
                "spec": {"devices": devices},
            }
        )
        yield decode(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": meta,
                "spec": {
                    "schedulingGates": [{"name": "aliquot.dev/placement"}],
                    "containers": [
                        {
                            "name": "main",
                            "resources": {
                                "requests": {"cpu": "1", "memory": "1Gi"},
                                "claims": [{"name": "gpu"}],
                            },
                        }
                    ],
                    "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
                },
            }
        )


def snapshot(*parts: list[KubernetesObject]) -> Snapshot:
    return Snapshot.of(item for part in parts for item in part)
