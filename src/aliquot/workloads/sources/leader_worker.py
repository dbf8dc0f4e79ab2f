"""LeaderWorkerSets (leaderworkerset.x-k8s.io): every group of a leader and its workers is a gang.

Pod labels and annotations suffice; the object says besides when workers are created.
"""

from aliquot.model.core import Pod
from aliquot.model.owners import LeaderWorkerSet
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import (
    Group,
    GroupKey,
    Membership,
    Shape,
    Source,
    number,
    owned_by,
)
from aliquot.workloads.subgroups import SubGroup, constrained, together, without


def in_leader_worker_set(pod: Pod, lookup: Lookup) -> Membership | None:
    """Worker 0 leads. A group cut into parts has a subgroup for each, and one for a leader left out."""
    meta = pod.metadata
    group, index = meta.labels.get(labels.LWS_GROUP, ""), number(meta.labels.get(labels.LWS_WORKER)) or 0
    leader = index == 0
    part = meta.labels.get(labels.LWS_SUBGROUP)
    if part is not None:
        leaf = f"part-{part}"
    elif leader and labels.LWS_SUBGROUP_SIZE in meta.annotations:
        leaf = "leader"
    else:
        leaf = ""
    key = ("LeaderWorkerSet", meta.namespace, meta.labels[labels.LWS], group)
    return Membership(key, leaf, leader, index)


def _shape(group: Group) -> Shape:
    owner = next((found for found in group.owners if isinstance(found, LeaderWorkerSet)), None)
    settings = group.settings
    size = number(settings.get(labels.LWS_SIZE))
    if size is None:
        size = owner.spec.leader_worker_template.size if owner is not None else 1
    size = max(1, size)
    domain = constrained(required=settings.get(labels.LWS_EXCLUSIVE, ""))
    leader = next((member.pod for member in group.members if member.membership.leader), None)
    if _workers_wait(owner, leader, domain is not None):
        # Workers do not exist before their leader runs, so it has to start without them.
        leaf = next((item.membership.leaf for item in group.members if item.membership.leader), "")
        root = SubGroup("", 1, domain) if not leaf else together([SubGroup(leaf, 1)], domain)
        return Shape(without(root, group.succeeded()))
    parts = _parts(group, size)
    root = together(parts, domain) if parts else SubGroup("", size, domain)
    return Shape(without(root, group.succeeded()))


def _workers_wait(owner: LeaderWorkerSet | None, leader: Pod | None, exclusive: bool) -> bool:
    """The controller creates workers once their leader is ready (LeaderReady), or, for an exclusive domain,
    once the leader has a node."""
    if exclusive and (leader is None or not leader.spec.node_name):
        return True
    if owner is None or owner.spec.startup_policy != "LeaderReady":
        return False
    return leader is None or not _ready(leader)


def _ready(pod: Pod) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in pod.status.conditions)


def _parts(group: Group, size: int) -> list[SubGroup]:
    """Runs of `subgroup-size` pods. With (size - 1) a multiple of it the leader is one more in the first."""
    length = number(group.settings.get(labels.LWS_SUBGROUP_SIZE)) or 0
    if not length or length > size:
        return []
    domain = constrained(required=group.settings.get(labels.LWS_SUBGROUP_EXCLUSIVE, ""))
    apart = group.settings.get(labels.LWS_SUBGROUP_POLICY) == "LeaderExcluded"
    workers = size - 1
    if apart:
        counts = [length] * (workers // length)
        return [SubGroup("leader", 1), *_runs(counts, domain)]
    if workers % length == 0:
        counts = [length] * (workers // length)
        counts[0] += 1
    else:
        counts = [length] * (size // length)
    return _runs(counts, domain)


def _runs(counts: list[int], domain: object) -> list[SubGroup]:
    return [SubGroup(f"part-{index}", count, domain) for index, count in enumerate(counts)]  # type: ignore[arg-type]


def _name(key: GroupKey) -> str:
    return f"{key[2]}/{key[3]}" if key[3] else key[2]


SOURCES = (Source("LeaderWorkerSet", owned_by("LeaderWorkerSet"), _shape, _name),)
