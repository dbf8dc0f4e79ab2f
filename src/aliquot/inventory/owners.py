"""Which workload and which queue every pod belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass

from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import ObjectRef
from aliquot.queues.tree import QueueTree
from aliquot.workloads.gang import Gang
from aliquot.workloads.gangs import gangs, group_key
from aliquot.workloads.sources.source import GroupKey


@dataclass(frozen=True, slots=True)
class Group:
    """A workload with all its pods, those that ended included."""

    gang: Gang
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Owners:
    """All workloads, and the workload of each pod by (namespace, name)."""

    groups: tuple[Group, ...]
    of_pod: dict[tuple[str, str], Gang]

    @staticmethod
    def of(index: SnapshotIndex, tree: QueueTree, default_queue: str) -> "Owners":
        members: dict[GroupKey, list[Pod]] = {}
        for pod in index.snapshot.pods:
            members.setdefault(group_key(pod, index), []).append(pod)
        found = gangs(index, tree, members, default_queue)
        groups = tuple(Group(gang, tuple(pods)) for gang, pods in zip(found, members.values(), strict=True))
        of_pod = {pod.key: group.gang for group in groups for pod in group.pods}
        return Owners(groups, of_pod)


def lowest_common(names: Iterable[str]) -> str:
    """The one name, or "" when there are none or several."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


def workload_name(ref: ObjectRef) -> str:
    """`kind/name`, as it is given to `aliquot explain`."""
    return f"{ref.kind.lower()}/{ref.name}"
