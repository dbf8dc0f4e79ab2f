"""Pods of Deployments, ReplicaSets, StatefulSets and model servers (KServe, Seldon): each on its own.

They are a gang where they or an object that owns them say how many belong together
(`aliquot.dev/gang-size`), and where a server of KServe spans nodes: its head and its workers.
"""

from collections.abc import Sequence

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import Deployment, InferenceService, ReplicaSet, StatefulSet
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import Group, Membership, Shape, Source, number, owned_by
from aliquot.workloads.subgroups import SubGroup, together, without

HEAD = "head"
WORKERS = "workers"


def in_annotated_owner(pod: Pod, owners: Sequence[KubernetesObject]) -> Membership | None:
    """The nearest controller, if the pod or one of its owners says how many belong together."""
    if not owners or not isinstance(owners[0], (ReplicaSet, StatefulSet)):
        return None
    places = [pod.metadata.annotations, *(owner.metadata.annotations for owner in owners)]
    if not any(labels.GANG_SIZE in place or labels.GANG_MIN in place for place in places):
        return None
    index = number(pod.metadata.labels.get(labels.STATEFUL_SET_INDEX)) or 0
    nearest = owners[0]
    return Membership((type(nearest).__name__, pod.metadata.namespace, nearest.metadata.name), index=index)


def in_inference_service(pod: Pod, lookup: Lookup) -> Membership | None:
    """A KServe predictor with a workerSpec: one Deployment for the head, one for the workers."""
    meta = pod.metadata
    name = meta.labels[labels.KSERVE]
    found = lookup.find("InferenceService", meta.namespace, name)
    if not isinstance(found, InferenceService) or found.spec.predictor.worker_spec is None:
        return None
    if meta.labels.get("component", "predictor") != "predictor":
        return None
    worker = meta.labels.get("app", "").endswith("-worker")
    return Membership(("InferenceService", meta.namespace, name), WORKERS if worker else HEAD, not worker)


def _plain_shape(group: Group) -> Shape:
    """The setting that made these pods a gang says how many start together."""
    return Shape(SubGroup("", 1))


def _inference_shape(group: Group) -> Shape:
    """One head, and as many workers as their Deployment has."""
    workers = 0
    for member in group.members:
        if member.membership.leaf == WORKERS:
            for owner in group.lookup.chain(member.pod).objects:
                if isinstance(owner, (Deployment, ReplicaSet)) and owner.spec.replicas is not None:
                    workers = max(workers, owner.spec.replicas)
    workers = workers or group.live_by_leaf().get(WORKERS, 0)
    root = together([SubGroup(HEAD, 1), SubGroup(WORKERS, workers)])
    return Shape(without(root, group.succeeded()))


SOURCES = (
    Source("ReplicaSet", owned_by("ReplicaSet"), _plain_shape),
    Source("StatefulSet", owned_by("StatefulSet"), _plain_shape),
    Source("InferenceService", owned_by("InferenceService"), _inference_shape),
)
