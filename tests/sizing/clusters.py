"""Small clusters with pods on their devices, and histories of these pods."""

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace
from tests.sizing.histories import GIB, MINUTE, START

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.model.kinds import decode
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Owner, Series, Subject

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

FLEET = """\
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: small}
nodes:
  - {count: 1, type: dgx-h100, mig: {dynamic: true}}
"""


def pod_objects(name: str, device_class: str = "gpu.nvidia.com") -> list[dict[str, Any]]:
    """A pod of a managed namespace, with a claim made for it."""
    created = "2026-03-01T00:00:00Z"
    exactly = {"deviceClassName": device_class}
    return [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "name": f"{name}-gpu",
                "namespace": "team",
                "uid": f"c-{name}",
                "creationTimestamp": created,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": f"p-{name}", "controller": True}
                ],
            },
            "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"p-{name}",
                "creationTimestamp": created,
            },
            "spec": {
                "schedulingGates": [{"name": "aliquot.dev/placement"}],
                "resourceClaims": [{"name": "gpu", "resourceClaimName": f"{name}-gpu"}],
                "containers": [{"name": "main", "image": "x", "resources": {"claims": [{"name": "gpu"}]}}],
            },
        },
    ]


NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "team", "labels": {"aliquot.dev/managed": "true"}},
}
QUEUE = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "default"}, "spec": {}}


def cluster(pods: int, fleet: str = FLEET, *objects: dict[str, Any]) -> Snapshot:
    """A node of eight H100 that can be divided, with so many pods that have one each and run."""
    made = [item for number in range(pods) for item in pod_objects(f"chat-{number}")]
    documents = [*expand(parse_fleet(fleet, "fleet")), NAMESPACE, QUEUE, *made, *objects]
    snapshot = Snapshot.of(decode(item) for item in documents)
    placed = apply(snapshot, decide(snapshot, Policy(), NOW), NOW)
    running = tuple(
        replace(pod, status=replace(pod.status, phase="Running")) if pod.spec.node_name else pod
        for pod in placed.pods
    )
    return replace(placed, pods=running)


def used(snapshot: Snapshot, gib: float, percent: float, hours: int = 48) -> tuple[Series, ...]:
    """Even use of every pod's device."""
    found = []
    for pod in snapshot.pods:
        owner = Owner(pod=ObjectRef(kind="Pod", namespace=pod.namespace, name=pod.name))
        for metric, value in (
            (Metric.MEMORY_USED, round(gib * GIB)),
            (Metric.ENGINE_BUSY, round(percent * 10_000)),
        ):
            rows = [(START + at * MINUTE, MINUTE, value) for at in range(1, hours * 60 + 1)]
            found.append(Series.of(metric, Subject(device=pod.name), rows, owner))
    return tuple(found)
