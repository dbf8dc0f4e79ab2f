"""Jobs (batch/v1), JobSets (jobset.x-k8s.io) and what makes them: CronJobs, TrainJobs.

A Job's pods that may run at a time start together. A JobSet is one gang with a subgroup per replicated job,
or, where replicated jobs are created one after the other (startupPolicy InOrder, dependsOn), one gang each:
members that do not exist yet cannot be waited for.
"""

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import JobSet, ReplicatedJob
from aliquot.model.verdicts import Fact
from aliquot.model.workloads import Job, JobSpec
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import (
    LARGEST,
    Group,
    GroupKey,
    Membership,
    Shape,
    Source,
    number,
    owned_by,
    size_setting,
    unknown_owner,
)
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint, together


def completion_index(pod: Pod) -> int:
    meta = pod.metadata
    name = labels.JOB_COMPLETION_INDEX
    return number(meta.labels.get(name) or meta.annotations.get(name)) or 0


def in_job(pod: Pod, job: Job) -> Membership:
    return Membership(("Job", pod.metadata.namespace, job.metadata.name), index=completion_index(pod))


def in_unknown_job(pod: Pod) -> Membership:
    """Of a Job that is not in the snapshot, or only in another life; apart from the pods of one that is."""
    controller = pod.metadata.controller
    name, uid = (controller.name, controller.uid) if controller is not None else ("", "")
    return Membership(("Job", pod.metadata.namespace, name, uid), index=completion_index(pod))


def pods_at_a_time(spec: JobSpec, succeeded: int, jobs: int = 1) -> int:
    """How many pods of `jobs` equal Jobs run at a time when so many succeeded.

    Without completions, a pod that succeeded is not replaced: nobody has to start any more in its place.
    """
    size = jobs * spec.parallelism
    left = size if spec.completions is None else jobs * spec.completions
    return max(0, min(size, left - succeeded))


def _job_of(key: GroupKey, lookup: Lookup) -> KubernetesObject | None:
    return lookup.find("Job", key[1], key[2]) if len(key) == 3 else None


def _job_shape(group: Group) -> Shape:
    if len(group.key) > 3:
        return Shape(SubGroup("", 1), problem=unknown_owner(group.key[:3]))
    job = group.owners[0] if group.owners else None
    if not isinstance(job, Job):
        return Shape(SubGroup("", 1))
    succeeded = sum(group.succeeded().values())
    size = pods_at_a_time(job.spec, max(succeeded, job.status.succeeded))
    least = size_setting(group.settings, labels.KAI_BATCH_MIN_MEMBER)
    if isinstance(least, Fact):
        return Shape(SubGroup("", 1), problem=least)
    return Shape(SubGroup("", max(1, size if least is None else min(size, least))))


def in_job_set(pod: Pod, lookup: Lookup) -> Membership | None:
    """The labels that the JobSet controller puts on the pods of its Jobs."""
    meta = pod.metadata
    name, role = meta.labels[labels.JOB_SET], meta.labels.get(labels.JOB_SET_ROLE, "")
    found = lookup.find("JobSet", meta.namespace, name)
    stage = role if isinstance(found, JobSet) and _staged(found) else ""
    number_of_job = number(meta.labels.get(labels.JOB_SET_JOB_INDEX)) or 0
    leaf = role
    if _exclusive(pod, found):
        leaf = f"{role}-{number_of_job}"
    index = completion_index(pod)
    leads = index == 0 and leaf != role
    key = ("JobSet", meta.namespace, name, stage)
    return Membership(key, leaf, leads, number_of_job * LARGEST + index)


def _staged(job_set: JobSet) -> bool:
    policy = job_set.spec.startup_policy
    if policy is not None and policy.startup_policy_order == "InOrder":
        return True
    return any(job.depends_on for job in job_set.spec.replicated_jobs)


def _exclusive(pod: Pod, job_set: KubernetesObject | None) -> str:
    """The node label of the level of which every Job has a domain for itself, "" if there is none."""
    own = pod.metadata.annotations.get(labels.JOB_SET_EXCLUSIVE)
    if own or job_set is None:
        return own or ""
    found: str = job_set.metadata.annotations.get(labels.JOB_SET_EXCLUSIVE, "")
    return found


def _job_set_shape(group: Group) -> Shape:
    found = next((owner for owner in group.owners if isinstance(owner, JobSet)), None)
    stage = group.key[3]
    roles = (
        {job.name: job for job in found.spec.replicated_jobs if stage in ("", job.name)}
        if found is not None
        else _roles_by_labels(group)
    )
    succeeded = group.succeeded()
    held_back = labels.JOB_SET_NODE_SELECTORS not in group.settings
    domain: dict[str, str] = {}
    led: set[str] = set()
    for member in group.members:
        leaf = member.membership.leaf
        domain.setdefault(leaf, _exclusive(member.pod, found))
        if member.membership.leader and member.pod.spec.node_name:
            led.add(leaf)
    parts: list[SubGroup] = []
    for name, job in roles.items():
        single = [leaf for leaf in domain if domain[leaf] and leaf.rpartition("-")[0] == name]
        if not single:
            size = pods_at_a_time(job.template.spec, succeeded.get(name, 0), job.replicas)
            parts.append(SubGroup(name, size))
            continue
        for number_of_job in range(job.replicas):
            leaf = f"{name}-{number_of_job}"
            size = pods_at_a_time(job.template.spec, succeeded.get(leaf, 0))
            # JobSet lets followers be created once their leader has a node, which tells them their domain.
            if held_back and leaf not in led:
                size = min(1, size)
            parts.append(SubGroup(leaf, size, TopologyConstraint(required=domain[single[0]])))
    if not parts:
        return Shape(SubGroup("", 1))
    return Shape(together(parts))


def _roles_by_labels(group: Group) -> dict[str, ReplicatedJob]:
    """What labels and Jobs tell of a JobSet that is not in the snapshot."""
    found: dict[str, ReplicatedJob] = {}
    for member in group.members:
        meta = member.pod.metadata
        role = meta.labels.get(labels.JOB_SET_ROLE, "")
        if role in found:
            continue
        replicas = number(meta.labels.get(labels.JOB_SET_REPLICAS)) or 1
        job = next(
            (owner for owner in group.lookup.chain(member.pod).objects if isinstance(owner, Job)), None
        )
        template = ReplicatedJob().template
        if job is not None:
            template = type(template)(spec=job.spec)
        found[role] = ReplicatedJob(name=role, replicas=replicas, template=template)
    return found


def _job_set_name(key: GroupKey) -> str:
    return "/".join(part for part in key[2:] if part)


SOURCES = (
    Source("Job", _job_of, _job_shape),
    Source("JobSet", owned_by("JobSet"), _job_set_shape, _job_set_name),
)
