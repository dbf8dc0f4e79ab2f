"""Ray clusters (ray.io), on their own or made by a RayJob or a RayService: a head and groups of workers.

With the autoscaler a cluster needs its head and the least number of workers; without it, all that are wanted
(as KubeRay tells other gang schedulers). The Job that submits a RayJob's work is a workload of its own: it
starts once the cluster runs.
"""

from aliquot.model.core import Pod
from aliquot.model.owners import RayCluster, WorkerGroup
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import Group, Membership, Shape, Source, owned_by
from aliquot.workloads.subgroups import SubGroup, together, without

HEAD = "head"


def in_ray_cluster(pod: Pod, lookup: Lookup) -> Membership | None:
    """Labels that KubeRay puts on the pods of a cluster: head, or the name of the worker group."""
    meta = pod.metadata
    role = meta.labels.get(labels.RAY_NODE_TYPE)
    key = ("RayCluster", meta.namespace, meta.labels[labels.RAY_CLUSTER])
    if role == "head":
        return Membership(key, HEAD, leader=True)
    if role == "worker":
        return Membership(key, meta.labels.get(labels.RAY_GROUP, "workers"))
    return None


def _shape(group: Group) -> Shape:
    cluster = next((owner for owner in group.owners if isinstance(owner, RayCluster)), None)
    head = SubGroup(HEAD, 1)
    if cluster is None:
        return Shape(without(together([head]), group.succeeded()))
    spec = cluster.spec
    parts = [head]
    maximum: int | None = 1
    for workers in spec.worker_group_specs:
        hosts = max(1, workers.num_of_hosts)
        replicas = _needed(workers, spec.enable_in_tree_autoscaling)
        parts.append(SubGroup(workers.group_name, replicas * hosts))
        most = workers.max_replicas
        maximum = None if maximum is None or most is None else maximum + most * hosts
    return Shape(without(together(parts), group.succeeded()), maximum)


def _needed(workers: WorkerGroup, autoscaling: bool) -> int:
    if workers.suspend:
        return 0
    least = max(0, workers.min_replicas or 0)
    if autoscaling:
        return least
    wanted = workers.replicas if workers.replicas is not None else least
    most = workers.max_replicas
    return max(least, wanted if most is None else min(wanted, most))


SOURCES = (Source("RayCluster", owned_by("RayCluster"), _shape),)
