"""A scenario's tasks as pods, in whatever state a run has brought them to."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from tests.kai import wire
from tests.kai.objects import NOW, duration, quantity
from tests.kai.scenario import Closeness, GroupSpec, JobSpec, Number, PodAffinitySpec, TaskSpec

from aliquot.model.core import PLACEMENT_GATE, Pod
from aliquot.model.kinds import convert

BOUND = frozenset({"Running", "Bound", "Allocated", "Binding"})
"""States in which a pod has its node and stays there."""

LEAVING = frozenset({"Releasing", "StuckInReleasing"})
"""States in which a pod is being deleted and still holds what it has."""

HOLDING = BOUND | LEAVING
WAITING = frozenset({"Pending", "Gated", "Pipelined"})
ENDED: Mapping[str, str] = {"Succeeded": "Succeeded", "Failed": "Failed", "Unknown": "Failed"}
"""States of pods that hold nothing any more, and the phase that says so."""

_STUCK_FOR = timedelta(minutes=10)


class Standing(msgspec.Struct, frozen=True):
    """Where a task stands: its state, its node, and the shared devices that it holds there."""

    status: str
    node: str = ""
    groups: tuple[str, ...] = ()


def pods(job: JobSpec, standings: Mapping[str, Standing]) -> Iterator[Pod]:
    """The job's pods; a deleted one is not there any more."""
    started = None
    if any(standings[task.name].status in BOUND for task in job.tasks):
        started = NOW - timedelta(seconds=job.last_start_age_seconds or 60)
    shared = _gang_annotations(job)
    for task in job.tasks:
        standing = standings[task.name]
        if standing.status != "Deleted":
            yield _pod(job, task, standing, shared, started)


def _pod(
    job: JobSpec, task: TaskSpec, standing: Standing, shared: Mapping[str, str], started: datetime | None
) -> Pod:
    status, held = standing.status, standing.status in HOLDING
    meta: dict[str, Any] = {
        "name": task.name,
        "namespace": job.namespace or wire.NAMESPACE,
        "uid": task.name,
        "creationTimestamp": _created(job),
        "labels": _labels(job, task, standing),
        "annotations": {**shared, **_annotations(job, task)},
        "ownerReferences": [
            {
                "apiVersion": "example.com/v1",
                "kind": "Training",
                "name": job.name,
                "uid": job.name,
                "controller": True,
            }
        ],
    }
    if status in LEAVING:
        meta["deletionTimestamp"] = NOW - _STUCK_FOR if status == "StuckInReleasing" else NOW
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "resources": _resources(task)}],
        "priority": job.priority,
        "affinity": _affinity(task),
        "resourceClaims": [
            *({"name": name, "resourceClaimName": name} for name in task.resource_claims),
            *({"name": name, "resourceClaimTemplateName": name} for name in task.resource_claim_templates),
        ],
    }
    shown: dict[str, Any] = {
        "phase": "Running" if status in ("Running", *LEAVING) else ENDED.get(status, "Pending"),
        "resourceClaimStatuses": [
            {"name": name, "resourceClaimName": claim}
            for name, claim in task.resource_claim_templates.items()
        ],
    }
    if held or status in ENDED:
        spec["nodeName"] = standing.node
        shown["startTime"] = started
    else:
        gates = [PLACEMENT_GATE, wire.OTHER_GATE] if status == "Gated" else [PLACEMENT_GATE]
        spec["schedulingGates"] = [{"name": gate} for gate in gates]
        if status == "Pipelined":
            shown["nominatedNodeName"] = standing.node
    found: Pod = convert({"kind": "Pod", "metadata": meta, "spec": spec, "status": shown}, Pod)
    return found


def _created(job: JobSpec) -> datetime:
    """When the job came; of two that came at once the one of lower rank is the older."""
    return NOW - timedelta(seconds=job.age_seconds) + timedelta(microseconds=job.creation_rank)


def _labels(job: JobSpec, task: TaskSpec, standing: Standing) -> dict[str, str]:
    labels = {
        **(task.pod_affinity.labels if task.pod_affinity is not None else {}),
        wire.QUEUE: job.queue,
        wire.PREEMPTIBILITY: "preemptible" if job.preemptible else "non-preemptible",
    }
    if task.task_priority is not None:
        labels[wire.TASK_PRIORITY] = str(task.task_priority)
    if job.preemption_delay_seconds is not None:
        labels[wire.PREEMPTION_DELAY] = duration(job.preemption_delay_seconds)
    if standing.status in HOLDING or standing.status == "Pipelined":
        labels |= wire.gpu_group_labels(standing.groups)
    return labels


def _annotations(job: JobSpec, task: TaskSpec) -> dict[str, str]:
    request = task.request
    found = dict(task.annotations)
    if request.type == "fraction":
        found[wire.GPU_FRACTION] = _number(request.gpu_fraction)
    if request.type == "gpu_memory":
        found[wire.GPU_MEMORY] = str(request.gpu_memory_mib)
    if request.type in ("fraction", "gpu_memory") and request.gpu_devices > 1:
        found[wire.GPU_DEVICES] = str(request.gpu_devices)
    if task.legacy_mig:
        found[wire.LEGACY_MIG] = "1"
    if wire.SUBGROUPS in _gang_annotations(job):
        found[wire.SUBGROUP] = task.sub_group
    return found


def _number(value: Number) -> str:
    return f"{value:g}"


def _gang_annotations(job: JobSpec) -> dict[str, str]:
    """What all pods of the job carry. A tree is written only where a number does not say it all."""
    root = _with_ended(job.sub_groups, Counter(t.sub_group for t in job.tasks if t.status == "Succeeded"))
    plain = len(root.children) == 1 and not root.children[0].children
    minimum = root.children[0].min_available if plain else None
    found = {wire.GANG: job.name, wire.GANG_SIZE: str(max(1, _minimum(root)))}
    constrained = any(_constraint(group.topology_constraint) for group in (root, *root.children))
    if not plain or constrained or minimum == 0:
        found[wire.SUBGROUPS] = msgspec.json.encode(_tree(root), order="deterministic").decode()
    if job.stale_for_seconds is not None:
        stale = NOW - timedelta(seconds=job.stale_for_seconds)
        found[wire.STALE_SINCE] = stale.isoformat().replace("+00:00", "Z")
    if job.staleness_grace_seconds is not None:
        found[wire.STALENESS_GRACE] = duration(job.staleness_grace_seconds)
    return found


def _with_ended(group: GroupSpec, ended: Mapping[str, int]) -> GroupSpec:
    """The tree for those who count members that ended well: here they are among the minimum, there not."""
    if not ended:
        return group
    if not group.children:
        least = (group.min_available or 0) + ended.get(group.name, 0)
        return msgspec.structs.replace(group, min_available=least)
    children = tuple(_with_ended(child, ended) for child in group.children)
    return msgspec.structs.replace(group, children=children)


def _minimum(group: GroupSpec) -> int:
    if not group.children:
        return group.min_available or 0
    return sum(_minimum(child) for child in group.children)


def _tree(group: GroupSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"name": group.name}
    if constraint := _constraint(group.topology_constraint):
        found["topology"] = constraint
    if not group.children:
        found["minimum"] = group.min_available or 0
        return found
    if group.min_sub_groups is not None:
        found["minimum"] = group.min_sub_groups
    # What goes first among equals is the first by name there, and the first in the tree here.
    found["children"] = [_tree(child) for child in sorted(group.children, key=lambda item: item.name)]
    return found


def _constraint(spec: Closeness | None) -> dict[str, str]:
    if spec is None or not spec.topology:
        return {}
    found = {
        "topology": spec.topology,
        "required": spec.required_level,
        "preferred": spec.preferred_level,
    }
    return {name: value for name, value in found.items() if value}


def _resources(task: TaskSpec) -> dict[str, Any]:
    request = task.request
    devices: dict[str, int] = dict(request.mig)
    if request.type == "whole" and request.gpus:
        devices[wire.GPU] = int(request.gpus)
    limits = {name: str(count) for name, count in devices.items()}
    requests = dict(limits)
    if request.cpu_millis:
        requests["cpu"] = f"{request.cpu_millis:.0f}m"
    if request.memory_bytes:
        requests["memory"] = str(quantity(request.memory_bytes))
    return {"requests": requests, "limits": limits}


def _affinity(task: TaskSpec) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    if task.required_node_names:
        names = {"key": wire.NODE_NAME, "operator": "In", "values": task.required_node_names}
        term = {"matchExpressions": [names]}
        found["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
        }
    social = task.pod_affinity or PodAffinitySpec()
    for name, key in (
        ("podAffinity", social.affinity_topology_key),
        ("podAntiAffinity", social.anti_affinity_topology_key),
    ):
        if key and social.labels:
            near = {"topologyKey": key, "labelSelector": {"matchLabels": social.labels}}
            found[name] = {"requiredDuringSchedulingIgnoredDuringExecution": [near]}
    return found or None
