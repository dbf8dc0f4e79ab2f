"""A snapshot's objects by name, and what is remembered of them from one decision to the next."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from aliquot.model.core import Namespace, Node, Pod, PriorityClass
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import OWNERS
from aliquot.model.podgroups import POD_GROUPS
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.model.topology import Topology
from aliquot.model.workloads import Job, PodGroup, Workload

Key = tuple[str, str]
"""(namespace, name)."""

T = TypeVar("T", bound=KubernetesObject)

OwnerIndex = dict[str, dict[Key, KubernetesObject]]
"""Objects that say how pods belong together: by the name of their type, then by key."""

_OWNER_KINDS: tuple[type[KubernetesObject], ...] = (Job, PodGroup, Workload, *OWNERS, *POD_GROUPS)

OWNER_FIELDS: dict[str, str] = {kind.__name__: FIELDS[kind] for kind in _OWNER_KINDS}
"""The fields of a Snapshot that hold such objects, by the name of the type."""


def by_key(items: Iterable[T]) -> dict[Key, T]:
    return {item.key: item for item in items}


def by_name(items: Iterable[T]) -> dict[str, T]:
    return {item.metadata.name: item for item in items}


@dataclass(frozen=True, slots=True)
class SnapshotIndex:
    """The kinds that deciding looks up, by key (namespaced ones) or by name (cluster-scoped ones)."""

    snapshot: Snapshot
    namespaces: dict[str, Namespace]
    nodes: dict[str, Node]
    claims: dict[Key, ResourceClaim]
    jobs: dict[Key, Job]
    pod_groups: dict[Key, PodGroup]
    workloads: dict[Key, Workload]
    priority_classes: dict[str, PriorityClass]
    topologies: dict[str, Topology]
    owners: OwnerIndex

    @staticmethod
    def of(snapshot: Snapshot, previous: "SnapshotIndex | None" = None) -> "SnapshotIndex":
        """Index a snapshot; the part of a kind whose tuple is the same object as before is taken over."""
        old = previous.snapshot if previous is not None else None
        before = previous
        return SnapshotIndex(
            snapshot,
            before.namespaces
            if before and old and old.namespaces is snapshot.namespaces
            else by_name(snapshot.namespaces),
            before.nodes if before and old and old.nodes is snapshot.nodes else by_name(snapshot.nodes),
            before.claims
            if before and old and old.resource_claims is snapshot.resource_claims
            else by_key(snapshot.resource_claims),
            before.jobs if before and old and old.jobs is snapshot.jobs else by_key(snapshot.jobs),
            before.pod_groups
            if before and old and old.pod_groups is snapshot.pod_groups
            else by_key(snapshot.pod_groups),
            before.workloads
            if before and old and old.workloads is snapshot.workloads
            else by_key(snapshot.workloads),
            before.priority_classes
            if before and old and old.priority_classes is snapshot.priority_classes
            else by_name(snapshot.priority_classes),
            before.topologies
            if before and old and _topologies_of(old) == _topologies_of(snapshot)
            else by_name(item for kept in reversed(_topologies_of(snapshot)) for item in kept),
            _owners_of(snapshot, previous),
        )

    def managed(self, namespace: str) -> bool:
        """Whether the namespace takes part in queues and gates."""
        found = self.namespaces.get(namespace)
        return found is not None and found.managed

    def priority(self, pod: Pod) -> int:
        """The pod's priority; from its class where admission has not written the number yet."""
        spec = pod.spec
        if spec.priority or not spec.priority_class_name:
            return spec.priority
        found = self.priority_classes.get(spec.priority_class_name)
        return found.value if found is not None else 0


def _owners_of(snapshot: Snapshot, previous: "SnapshotIndex | None") -> OwnerIndex:
    found: OwnerIndex = {}
    for kind, field_name in OWNER_FIELDS.items():
        items: tuple[KubernetesObject, ...] = getattr(snapshot, field_name)
        if previous is not None and getattr(previous.snapshot, field_name) is items:
            found[kind] = previous.owners[kind]
        else:
            found[kind] = by_key(items)
    return found


def _topologies_of(snapshot: Snapshot) -> tuple[tuple[Topology, ...], ...]:
    """By source; of several topologies with one name Aliquot's own counts, then Kueue's, then KAI's."""
    return (snapshot.topologies, snapshot.kueue_topologies, snapshot.kai_topologies)


def live(pod: Pod) -> bool:
    """Neither ended nor being deleted: the pod counts as a member of its gang."""
    return pod.metadata.deletion_timestamp is None and not pod.finished


def waiting(pod: Pod) -> bool:
    """Live and not bound to a node."""
    return not pod.spec.node_name and live(pod)


@dataclass(slots=True)
class Remembered:
    """Values derived from immutable objects, kept as long as the very same object is asked about again.

    `id` alone would be wrong once an object is freed and its address is used again, so the object is held.
    """

    _found: dict[int, tuple[object, object]] = field(default_factory=dict)

    def get(self, item: object) -> object | None:
        entry = self._found.get(id(item))
        return entry[1] if entry is not None and entry[0] is item else None

    def put(self, item: object, value: object) -> None:
        self._found[id(item)] = (item, value)

    def forget_others(self, items: Collection[object]) -> None:
        """Forget what is derived from other objects than these, once that is the larger part."""
        if len(self._found) <= 2 * len(items) + 1000:
            return
        wanted = {id(item) for item in items}
        self._found = {key: entry for key, entry in self._found.items() if key in wanted}
