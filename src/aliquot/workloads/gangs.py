"""Gangs: the pods that must be placed together or not at all. A pod on its own is a gang of one.

Sources of a gang, the first that applies: the PodGroup that spec.schedulingGroup names (scheduling.k8s.io
v1alpha2 and later); the pod group of the Workload that spec.workloadRef names (v1alpha1); the annotations
`aliquot.dev/gang` and `aliquot.dev/gang-size`; the Job that controls the pod. A Job's pods that may run at a
time start together; `aliquot.dev/gang-size` on its pods sets another number (1: each on its own).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aliquot.model.core import QUEUE_LABELS, Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.verdicts import Fact
from aliquot.model.workloads import Job, SchedulingPolicy
from aliquot.queues.tree import QueueTree

GANG_ANNOTATION = "aliquot.dev/gang"
GANG_SIZE_ANNOTATION = "aliquot.dev/gang-size"

GroupKey = tuple[str, ...]
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods that are decided together.

    ref: the object that stands for them. members: its live pods, by name. minimum: how many of them must be
    placed at once; those beyond are placed one by one. created: when the workload came (its owner's time, so
    that a replaced pod keeps its place). queue: the name of its queue, that of its first pod by name,
    ended ones included; "" outside queues (namespace not managed).
    problem: why its size cannot be known, as a fact, or None.
    """

    ref: ObjectRef
    members: tuple[Pod, ...]
    minimum: int
    created: datetime
    priority: int
    queue: str
    problem: Fact | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.ref.namespace, self.ref.name, self.ref.kind)


def group_key(pod: Pod, index: SnapshotIndex) -> GroupKey:
    """What the pod is grouped by; pods with equal keys form one gang."""
    meta, spec = pod.metadata, pod.spec
    if spec.scheduling_group is not None and spec.scheduling_group.pod_group_name:
        name = spec.scheduling_group.pod_group_name
        found = index.pod_groups.get((meta.namespace, name))
        if found is None or _is_gang(found.spec.scheduling_policy):
            return ("PodGroup", meta.namespace, name)
        return ("Pod", meta.namespace, meta.name)
    if spec.workload_ref is not None and spec.workload_ref.name:
        reference = spec.workload_ref
        policy = _workload_policy(index, meta.namespace, reference.name, reference.pod_group)
        if policy is None or _is_gang(policy):
            replica = reference.pod_group_replica_key
            return ("Workload", meta.namespace, reference.name, reference.pod_group, replica)
        return ("Pod", meta.namespace, meta.name)
    annotated = meta.annotations.get(GANG_ANNOTATION)
    if annotated:
        return ("Gang", meta.namespace, annotated)
    owner = meta.controller
    if owner is not None and owner.kind == "Job" and (meta.namespace, owner.name) in index.jobs:
        return ("Job", meta.namespace, owner.name)
    return ("Pod", meta.namespace, meta.name)


def _is_gang(policy: SchedulingPolicy | None) -> bool:
    return policy is not None and policy.gang is not None


def _workload_policy(index: SnapshotIndex, namespace: str, name: str, group: str) -> SchedulingPolicy | None:
    found = index.workloads.get((namespace, name))
    if found is None:
        return None
    for template in (*found.spec.pod_groups, *found.spec.pod_group_templates):
        if template.name == group:
            return template.effective_policy or SchedulingPolicy()
    return None


def gangs(
    index: SnapshotIndex, tree: QueueTree, keys: Mapping[GroupKey, Iterable[Pod]], default_queue: str
) -> list[Gang]:
    """The gangs of pods grouped by `group_key`. Pods that ended or are being deleted are not members."""
    return [_gang(index, tree, key, tuple(pods), default_queue) for key, pods in keys.items()]


def _gang(
    index: SnapshotIndex, tree: QueueTree, key: GroupKey, pods: tuple[Pod, ...], default_queue: str
) -> Gang:
    named = sorted(pods, key=lambda pod: pod.metadata.name)
    members = tuple(pod for pod in named if live(pod))
    owner, ref = _owner(index, key, pods)
    minimum, problem = _minimum(index, key, pods, owner)
    return Gang(
        ref=ref,
        members=members,
        minimum=minimum,
        created=_created(owner, pods),
        priority=_priority(index, key, pods),
        queue=queue_of(index, tree, named[0], owner, default_queue),
        problem=problem,
    )


def _owner(
    index: SnapshotIndex, key: GroupKey, pods: tuple[Pod, ...]
) -> tuple[KubernetesObject | None, ObjectRef]:
    kind, namespace, name = key[0], key[1], key[2]
    owner: KubernetesObject | None
    match kind:
        case "PodGroup":
            owner = index.pod_groups.get((namespace, name))
        case "Workload":
            owner = index.workloads.get((namespace, name))
            shown = "/".join(part for part in key[2:] if part)
            uid = owner.metadata.uid if owner is not None else ""
            return owner, ObjectRef(kind=kind, namespace=namespace, name=shown, uid=uid)
        case "Job":
            owner = index.jobs.get((namespace, name))
        case "Pod":
            return None, pods[0].ref
        case _:
            owner = None
    if owner is not None:
        return owner, owner.ref
    return None, ObjectRef(kind=kind, namespace=namespace, name=name)


def queues_of_gangs(index: SnapshotIndex, tree: QueueTree, default_queue: str) -> Callable[[Pod], str]:
    """A function from any pod of the snapshot to the queue of its gang."""
    first: dict[GroupKey, Pod] = {}
    keys: dict[Key, GroupKey] = {}
    for pod in index.snapshot.pods:
        key = group_key(pod, index)
        if key[0] != "Pod":
            keys[pod.key] = key
            known = first.get(key)
            if known is None or pod.metadata.name < known.metadata.name:
                first[key] = pod
    found: dict[GroupKey, str] = {}

    def queue(pod: Pod) -> str:
        key = keys.get(pod.key)
        if key is None:
            return queue_of(index, tree, pod, None, default_queue)
        known = found.get(key)
        if known is None:
            owner = _owner(index, key, (pod,))[0]
            known = found[key] = queue_of(index, tree, first[key], owner, default_queue)
        return known

    return queue


def _minimum(
    index: SnapshotIndex, key: GroupKey, pods: tuple[Pod, ...], owner: KubernetesObject | None
) -> tuple[int, Fact | None]:
    """How many live members must be placed together. Members that succeeded have played their part."""
    kind = key[0]
    succeeded = sum(1 for pod in pods if pod.status.phase == "Succeeded")
    if kind == "Pod":
        return 1, None
    if kind == "Job":
        size = _annotated_size(pods)
        if isinstance(size, Fact):
            return 1, size
        assert isinstance(owner, Job)
        return _job_size(owner, succeeded) if size is None else size, None
    if kind == "Gang":
        size = _annotated_size(pods)
        if isinstance(size, Fact):
            return 1, size
        if size is None:
            return 1, Fact(test="gangSize", subject=GANG_SIZE_ANNOTATION, wanted="a whole number from 1")
        return max(1, size - succeeded), None
    namespace, name = key[1], key[2]
    policy = None
    if kind == "PodGroup":
        group = index.pod_groups.get((namespace, name))
        policy = group.spec.scheduling_policy if group is not None else None
    else:
        policy = _workload_policy(index, namespace, name, key[3])
    if policy is None or policy.gang is None:
        return 1, Fact(test="owner", subject=f"{kind.lower()}/{namespace}/{'/'.join(key[2:4])}")
    return max(1, policy.gang.min_count - succeeded), None


def _annotated_size(pods: tuple[Pod, ...]) -> int | Fact | None:
    for pod in pods:
        text = pod.metadata.annotations.get(GANG_SIZE_ANNOTATION)
        if text is None:
            continue
        if text.isascii() and text.isdigit() and 0 < int(text) <= 100_000:
            return int(text)
        return Fact(
            test="gangSize",
            subject=GANG_SIZE_ANNOTATION,
            wanted="a whole number from 1 to 100000",
            available=text[:64],
        )
    return None


def _job_size(job: Job, succeeded: int) -> int:
    size = job.spec.parallelism
    if job.spec.completions is not None:
        size = min(size, job.spec.completions - max(succeeded, job.status.succeeded))
    return max(1, size)


def _created(owner: KubernetesObject | None, pods: tuple[Pod, ...]) -> datetime:
    if owner is not None and owner.metadata.creation_timestamp is not None:
        return owner.metadata.creation_timestamp
    return min((pod.metadata.creation_timestamp or _LONG_AGO for pod in pods), default=_LONG_AGO)


def _priority(index: SnapshotIndex, key: GroupKey, pods: tuple[Pod, ...]) -> int:
    if key[0] == "PodGroup":
        group = index.pod_groups.get((key[1], key[2]))
        if group is not None and group.spec.priority is not None:
            return group.spec.priority
        if group is not None and group.spec.priority_class_name in index.priority_classes:
            return index.priority_classes[group.spec.priority_class_name].value
    return max(index.priority(pod) for pod in pods)


def queue_of(
    index: SnapshotIndex, tree: QueueTree, pod: Pod, owner: KubernetesObject | None, default_queue: str
) -> str:
    """The queue of a pod: by label on itself, its owner, its namespace, else the default; "" outside queues.

    A default queue that does not exist stands for no queue at all.
    """
    meta = pod.metadata
    namespace = index.namespaces.get(meta.namespace)
    if namespace is None or not namespace.managed:
        return ""
    places = [meta.labels]
    if owner is not None:
        places.append(owner.metadata.labels)
    elif meta.controller is not None and meta.controller.kind == "Job":
        job = index.jobs.get((meta.namespace, meta.controller.name))
        if job is not None:
            places.append(job.metadata.labels)
    places.append(namespace.metadata.labels)
    for labels in places:
        for label in QUEUE_LABELS:
            named = labels.get(label)
            if named:
                return named
    return default_queue if default_queue in tree.queues else ""
