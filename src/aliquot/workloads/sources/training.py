"""Jobs of the Kubeflow training operator (PyTorchJob, TFJob, XGBoostJob, JAXJob, PaddleJob) and MPIJobs.

All replicas of all roles start together, or `runPolicy.schedulingPolicy.minAvailable` of them; of an elastic
PyTorchJob the workers' `elasticPolicy.minReplicas`.
"""

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import MPIJob, TrainingJob
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import Group, GroupKey, Membership, Shape, Source, number
from aliquot.workloads.subgroups import SubGroup, together, without

KINDS = ("PyTorchJob", "TFJob", "XGBoostJob", "JAXJob", "PaddleJob", "MPIJob")
LEADERS = frozenset({"master", "chief", "launcher"})
_OPERATORS = {f"{kind.lower()}-controller": kind for kind in KINDS} | {"mpi-operator": "MPIJob"}


def in_training_job(pod: Pod, lookup: Lookup) -> Membership | None:
    """Labels that the operators put on the pods: the job, the role (Master, Worker, PS ...), the index."""
    meta = pod.metadata
    name = meta.labels[labels.TRAINING_JOB]
    role = meta.labels.get(labels.TRAINING_ROLE) or meta.labels.get(labels.TRAINING_JOB_ROLE) or ""
    role = role.lower()
    leads = role in LEADERS or meta.labels.get(labels.TRAINING_JOB_ROLE) == "master"
    index = number(meta.labels.get(labels.TRAINING_INDEX)) or 0
    return Membership((_kind(pod, lookup), meta.namespace, name), role, leads, index)


def _kind(pod: Pod, lookup: Lookup) -> str:
    operator = _OPERATORS.get(pod.metadata.labels.get(labels.TRAINING_OPERATOR, ""))
    if operator is not None:
        return operator
    for owner in lookup.chain(pod).objects:
        if isinstance(owner, TrainingJob):
            return type(owner).__name__
    controller = pod.metadata.controller
    return controller.kind if controller is not None and controller.kind in KINDS else "MPIJob"


def _owner(key: GroupKey, lookup: Lookup) -> KubernetesObject | None:
    return lookup.find(key[0], key[1], key[2])


def _shape(group: Group) -> Shape:
    job = next((owner for owner in group.owners if isinstance(owner, TrainingJob)), None)
    if job is None:
        return Shape(SubGroup("", 1))
    sizes = {
        role.lower(): 1 if spec.replicas is None else max(0, spec.replicas)
        for role, spec in job.spec.roles.items()
    }
    there = {member.membership.leaf for member in group.members}
    if (
        isinstance(job, MPIJob)
        and job.spec.launcher_creation_policy == "WaitForWorkersReady"
        and "launcher" not in there
    ):
        # The launcher is created once the workers are ready.
        sizes.pop("launcher", None)
    maximum = sum(sizes.values())
    elastic = job.spec.elastic_policy
    if elastic is not None:
        workers = sizes.get("worker", 0)
        if elastic.max_replicas is not None:
            maximum += max(0, elastic.max_replicas - workers)
        if elastic.min_replicas is not None:
            sizes["worker"] = min(workers, max(0, elastic.min_replicas))
    policy = job.spec.run_policy.scheduling_policy
    least = policy.min_available if policy is not None else None
    if least is not None and 0 < least != sum(sizes.values()):
        sizes = _scaled(sizes, least)
    order = sorted(sizes, key=lambda role: (role not in LEADERS, role))
    root = together(SubGroup(role, sizes[role]) for role in order)
    return Shape(without(root, group.succeeded()), maximum or None)


def _scaled(sizes: dict[str, int], least: int) -> dict[str, int]:
    """The roles' sizes cut so that they add up to `least`: leaders keep theirs, the largest role yields.

    Master 1, Worker 7 with minAvailable 4 needs Master 1, Worker 3.
    """
    found = dict(sizes)
    over = sum(found.values()) - least
    for role in sorted(found, key=lambda role: (role in LEADERS, -found[role], role)):
        cut = min(max(0, over), found[role])
        found[role] -= cut
        over -= cut
    return found


SOURCES = tuple(Source(kind, _owner, _shape) for kind in KINDS)
