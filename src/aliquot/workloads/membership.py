"""Which workload a pod belongs to.

The first that applies: the PodGroup that spec.schedulingGroup names; the pod group of the Workload that
spec.workloadRef names; the annotation `aliquot.dev/gang`; another scheduler's pod group (KAI-Scheduler,
Volcano, the scheduler plugins, Kueue); the labels of a JobSet, LeaderWorkerSet, RayCluster, training job,
Spark application or KServe server; an owner that says how many of its pods belong together; the Job that
controls the pod. Any other pod is on its own. A pod of a Job that is not known (yet) waits: how many belong
together is not known either. Where that Job is no more, Kubernetes' garbage collector deletes the pod.
"""

from collections.abc import Callable

from aliquot.model.core import Pod
from aliquot.model.verdicts import Fact
from aliquot.model.workloads import Job
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources import (
    jobs,
    leader_worker,
    podgroups,
    ray,
    replicas,
    spark,
    training,
)
from aliquot.workloads.sources.source import (
    Group,
    Membership,
    Shape,
    Source,
    nobody,
    size_setting,
)
from aliquot.workloads.subgroups import ALONE, SubGroup, without

Rule = Callable[[Pod, Lookup], Membership | None]

_BY_ANNOTATION: dict[str, Rule] = {
    labels.KAI_POD_GROUP: podgroups.in_kai_pod_group,
    labels.VOLCANO_POD_GROUP: podgroups.in_volcano_pod_group,
}

_BY_LABEL: dict[str, Rule] = {
    labels.COSCHEDULING_POD_GROUP: podgroups.in_coscheduling_pod_group,
    labels.KUEUE_POD_GROUP: podgroups.in_kueue_pod_group,
    labels.JOB_SET: jobs.in_job_set,
    labels.LWS: leader_worker.in_leader_worker_set,
    labels.RAY_CLUSTER: ray.in_ray_cluster,
    labels.TRAINING_JOB: training.in_training_job,
    labels.SPARK_APPLICATION: spark.in_spark_application,
    labels.KSERVE: replicas.in_inference_service,
}

_ANNOTATIONS = frozenset(_BY_ANNOTATION)
_LABELS = frozenset(_BY_LABEL)
_SIZES = frozenset({labels.GANG_SIZE, labels.GANG_MIN})


def membership(pod: Pod, lookup: Lookup) -> Membership:
    """What the pod is in its workload; alone, it is the only member of its own."""
    meta, spec = pod.metadata, pod.spec
    found: Membership | None
    group = spec.scheduling_group
    if group is not None and group.pod_group_name:
        return podgroups.in_pod_group(pod, lookup) or _alone(pod)
    reference = spec.workload_ref
    if reference is not None and reference.name:
        return podgroups.in_workload(pod, lookup) or _alone(pod)
    annotations = meta.annotations
    if annotations:
        gang = annotations.get(labels.GANG)
        if gang:
            return Membership(
                ("Gang", meta.namespace, gang),
                annotations.get(labels.SUBGROUP, ""),
                index=jobs.completion_index(pod),
            )
        if not _ANNOTATIONS.isdisjoint(annotations):
            for name, rule in _BY_ANNOTATION.items():
                if annotations.get(name):
                    found = rule(pod, lookup)
                    if found is not None:
                        return found
    if not _LABELS.isdisjoint(meta.labels):
        for name, rule in _BY_LABEL.items():
            if meta.labels.get(name):
                found = rule(pod, lookup)
                if found is not None:
                    return found
    chain = lookup.chain(pod)
    if chain.objects:
        nearest = chain.objects[0]
        if type(nearest) is Job:
            return jobs.in_job(pod, nearest)
        if chain.said or not _SIZES.isdisjoint(annotations):
            return replicas.in_annotated_owner(pod, chain.objects) or _alone(pod)
    elif chain.wanted and chain.wanted[0][0] == Job.__name__:
        return jobs.in_unknown_job(pod)
    return _alone(pod)


def _alone(pod: Pod) -> Membership:
    meta = pod.metadata
    return Membership(("Pod", meta.namespace, meta.name))


def _gang_shape(group: Group) -> Shape:
    size = size_setting(group.settings, labels.GANG_SIZE)
    if isinstance(size, Fact):
        return Shape(ALONE, problem=size)
    least = size_setting(group.settings, labels.GANG_MIN)
    if isinstance(least, Fact):
        return Shape(ALONE, problem=least)
    if size is None and least is None:
        wanted = "a whole number from 1"
        return Shape(ALONE, problem=Fact(test="gangSize", subject=labels.GANG_SIZE, wanted=wanted))
    wanted_size = least if least is not None else size
    assert wanted_size is not None
    root = SubGroup("", wanted_size)
    done = sum(group.succeeded().values())
    return Shape(without(root, {"": done}) if done else root)


def _alone_shape(group: Group) -> Shape:
    return Shape(ALONE)


GANG = Source("Gang", nobody, _gang_shape)
POD = Source("Pod", nobody, _alone_shape)

SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        GANG,
        POD,
        *podgroups.SOURCES,
        *jobs.SOURCES,
        *leader_worker.SOURCES,
        *ray.SOURCES,
        *training.SOURCES,
        *spark.SOURCES,
        *replicas.SOURCES,
    )
}
"""Every kind of workload by the first part of its group keys."""
