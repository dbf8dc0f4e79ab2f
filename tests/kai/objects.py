"""What a scenario's cluster has besides pods: namespaces, nodes, queues, topologies, devices and claims."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import lcm
from typing import Any

from tests.kai import wire
from tests.kai.scenario import (
    ClaimSpec,
    NodeSpec,
    Number,
    QueueSpec,
    Scenario,
    SliceSpec,
    Terms,
    TopologySpec,
)

from aliquot.cel.quantity import Quantity
from aliquot.dra.nodeselection import names_node
from aliquot.model.core import MANAGED_LABEL, Namespace, Node
from aliquot.model.kinds import convert
from aliquot.model.meta import KubernetesObject
from aliquot.model.queue import Queue
from aliquot.model.resource import DeviceClass, ResourceClaim, ResourceSlice
from aliquot.model.topology import Topology

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When every scenario is decided."""

UNLIMITED = -1
_QUEUES_BEGAN = NOW - timedelta(days=365)


def quantity(amount: Number, unit: Fraction | int = 1) -> Quantity:
    """An amount of a resource as an exact quantity; the unit converts it (1/1000 for thousandths)."""
    nano = Fraction(str(amount)) * unit * 10**9
    return Quantity(round(nano))


def namespaces(scenario: Scenario) -> list[KubernetesObject]:
    names = {job.namespace or wire.NAMESPACE for job in scenario.jobs}
    names |= {claim.namespace or wire.NAMESPACE for claim in scenario.dra.resource_claims}
    return [_object(Namespace, {"name": name, "labels": {MANAGED_LABEL: "true"}}) for name in sorted(names)]


def node(spec: NodeSpec) -> Node:
    """A ready node. GPUs that ResourceSlices publish are not among its extended resources."""
    labels = {
        wire.NODE_NAME: spec.name,
        "kubernetes.io/hostname": spec.name,
        **spec.labels,
        wire.GPU_MEMORY_LABEL: str(spec.gpu_memory_mib),
        wire.MIG_STRATEGY_LABEL: spec.mig_strategy or "",
    }
    amounts = {
        "cpu": quantity(spec.cpu_millis, Fraction(1, 1000)),
        "memory": quantity(spec.memory_bytes),
        "pods": quantity(spec.max_pods),
        **{profile: quantity(count) for profile, count in spec.mig_instances.items()},
    }
    if spec.physical_gpus:
        amounts[wire.GPU] = quantity(spec.physical_gpus)
    allocatable = {name: str(amount) for name, amount in amounts.items()}
    status = {
        "capacity": allocatable,
        "allocatable": allocatable,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return _object(Node, {"name": spec.name, "uid": spec.name, "labels": labels}, status=status)


def queues(scenario: Scenario) -> list[Queue]:
    scales = {
        resource: lcm(
            *(Fraction(str(terms.over_quota_weight)).denominator for terms in _terms(scenario, resource))
        )
        for resource in ("gpu", "cpu_millis", "memory_mb")
    }
    return [_queue(spec, scales) for spec in scenario.queues]


def _terms(scenario: Scenario, resource: str) -> Iterator[Terms]:
    for spec in scenario.queues:
        yield getattr(spec, resource)


def _queue(spec: QueueSpec, scales: dict[str, int]) -> Queue:
    """Weights are whole numbers: only their ratios count, so all of a resource are scaled alike."""
    resources = [
        _resource("gpu", spec.gpu, Fraction(1), scales["gpu"]),
        _resource("cpu", spec.cpu_millis, Fraction(1, 1000), scales["cpu_millis"]),
        _resource("memory", spec.memory_mb, Fraction(10**6), scales["memory_mb"]),
    ]
    document: dict[str, Any] = {
        "parent": spec.parent or "",
        "priority": spec.priority,
        "resources": resources,
    }
    for field, seconds in (
        ("preemptMinRuntime", spec.preempt_min_runtime_seconds),
        ("reclaimMinRuntime", spec.reclaim_min_runtime_seconds),
    ):
        if seconds is not None:
            document[field] = duration(seconds)
    created = _QUEUES_BEGAN + timedelta(minutes=spec.creation_rank)
    return _object(Queue, {"name": spec.name, "uid": spec.name, "creationTimestamp": created}, spec=document)


def _resource(name: str, terms: Terms, unit: Fraction, scale: int) -> dict[str, Any]:
    """No limit is written as no limit; an unlimited quota as -1, for no quota would mean none."""
    document: dict[str, Any] = {
        "name": name,
        "quota": "-1" if terms.quota == UNLIMITED else str(quantity(terms.quota, unit)),
        "overQuotaWeight": int(Fraction(str(terms.over_quota_weight)) * scale),
    }
    if terms.limit != UNLIMITED:
        document["limit"] = str(quantity(terms.limit, unit))
    return document


def duration(seconds: Number) -> str:
    """A duration as Go writes and reads it: `30s`, `1.5s`."""
    return f"{int(seconds) if seconds == int(seconds) else seconds}s"


def topology(spec: TopologySpec) -> Topology:
    levels = [{"nodeLabel": level} for level in spec.levels]
    return _object(Topology, {"name": spec.name, "uid": spec.name}, spec={"levels": levels})


def device_class(name: str) -> DeviceClass:
    """Without selectors it takes any device."""
    return _object(DeviceClass, {"name": name})


def resource_slice(spec: SliceSpec) -> ResourceSlice:
    document = {
        "driver": spec.driver,
        "nodeName": spec.node,
        "pool": {"name": spec.node, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": str(number)} for number in range(spec.count)],
    }
    return _object(ResourceSlice, {"name": spec.name}, spec=document)


def claim(spec: ClaimSpec, owner: str = "") -> ResourceClaim:
    """A claim for `count` devices of a class. What is allocated can be used on its pool's node only. owner:
    the task that it was made for, if it was made from a template."""
    request = {
        "name": spec.name,
        "exactly": {
            "deviceClassName": spec.device_class,
            "allocationMode": "ExactCount",
            "count": spec.count,
        },
    }
    status = dict(spec.status)
    if allocation := status.get("allocation"):
        results = allocation.get("devices", {}).get("results", [])
        if results and not allocation.get("nodeSelector"):
            status["allocation"] = {**allocation, "nodeSelector": names_node(results[0]["pool"])}
    meta = {
        "name": spec.name,
        "namespace": spec.namespace or wire.NAMESPACE,
        "uid": spec.name,
        "labels": spec.labels,
        "creationTimestamp": NOW - timedelta(hours=1),
    }
    if owner:
        made_for = {"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner, "controller": True}
        meta["ownerReferences"] = [made_for]
    return _object(ResourceClaim, meta, spec={"devices": {"requests": [request]}}, status=status)


def _object(kind: type[Any], metadata: dict[str, Any], **parts: Any) -> Any:
    return convert({"kind": kind.__struct_config__.tag, "metadata": metadata, **parts}, kind)
