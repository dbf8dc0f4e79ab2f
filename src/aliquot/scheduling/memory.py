"""What one decision leaves behind for the next: values derived from snapshot objects alone.

Objects that did not change are the same Python objects in the next snapshot; whatever is derived from one is
found again by its identity. Nothing decided is remembered, so a decision with memory equals one without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from aliquot.dra.fleet import Fleet
from aliquot.model.core import Node, Pod
from aliquot.model.index import Remembered, SnapshotIndex
from aliquot.model.meta import KubernetesObject
from aliquot.model.ownership import Ownership
from aliquot.model.queue import Queue, QueueStatus
from aliquot.model.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.allocating import manager
from aliquot.scheduling.facts import PodTraits, alike
from aliquot.scheduling.policy import Policy, ownership
from aliquot.scheduling.static_fit import StaticFit
from aliquot.topology.tree import TopologyTree
from aliquot.workloads.gang import GangRules
from aliquot.workloads.grouping import Changed, Grouping

if TYPE_CHECKING:
    from aliquot.scheduling.cluster import Cluster

T = TypeVar("T", bound=KubernetesObject)

EMPTY_FLEET = Fleet.of((), ())

MOST_TEMPLATES = 10_000
"""The traits of so many different pods are shared by those that are alike."""


def gang_rules(policy: Policy) -> GangRules:
    """The rules by which pods are grouped."""
    return GangRules(
        default_queue=policy.default_queue,
        preemptible_below=policy.preemptible_below,
        by_member_priority=policy.by_member_priority,
        leaders_first=policy.leaders_first,
    )


@dataclass(slots=True)
class Memory:
    """Pass the same one to successive calls of `decide` about one cluster."""

    cluster: "Cluster | None" = None
    shares: FairShares | None = None
    """Of the decision before: what is divided as it was then is taken over."""
    _index: SnapshotIndex | None = None
    _fleet: Fleet | None = None
    _others: Fleet | None = None
    _owned: Ownership | None = None
    _slices: tuple[ResourceSlice, ...] = ()
    _managed_slices: tuple[ResourceSlice, ...] = ()
    _queues: tuple[Queue, ...] | None = None
    _bare_queues: tuple[Queue, ...] = ()
    _tree: QueueTree | None = None
    _traits: Remembered = field(default_factory=Remembered)
    _alike: dict[bytes, PodTraits] = field(default_factory=dict)
    claim_shapes: Remembered = field(default_factory=Remembered)
    _nodes: tuple[Node, ...] | None = None
    _static: dict[bytes, StaticFit] = field(default_factory=dict)
    _topologies: dict[str, TopologyTree] = field(default_factory=dict)
    _grouping: Grouping = field(default_factory=Grouping)

    def steady(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the nodes, slices and such of the one before, where they differ in nothing but
        their version: kubelets and drivers write often and mean nothing by it."""
        if self._index is None:
            return snapshot
        before = self._index.snapshot
        kept = {
            field: getattr(before, field)
            for field in ("namespaces", "nodes", "device_classes", "resource_slices")
            if getattr(before, field) is not getattr(snapshot, field)
            and _unchanged(getattr(before, field), getattr(snapshot, field))
        }
        return replace(snapshot, **kept) if kept else snapshot

    def index(self, snapshot: Snapshot) -> SnapshotIndex:
        """The snapshot indexed; what belongs to objects that are gone is forgotten."""
        previous = self._index
        self._index = found = SnapshotIndex.of(snapshot, previous)
        if previous is not None and previous.snapshot.pods is not snapshot.pods:
            self._traits.forget_others(snapshot.pods)
        if previous is not None and previous.snapshot.resource_claims is not snapshot.resource_claims:
            self.claim_shapes.forget_others(snapshot.resource_claims)
        return found

    def tree(self, queues: tuple[Queue, ...]) -> QueueTree:
        """The tree of the queues; the same as long as nothing but their status changes."""
        if self._tree is None or self._queues is not queues:
            bare = tuple(_without_status(queue) for queue in queues)
            if self._tree is None or self._bare_queues != bare:
                self._tree, self._bare_queues = QueueTree.of(queues), bare
            self._queues = queues
        return self._tree

    def gangs(self, index: SnapshotIndex, tree: QueueTree, policy: Policy) -> tuple[Grouping, Changed]:
        """The pods of a snapshot by gang, and what is not as it was in the snapshot before."""
        changed = self._grouping.update(index, tree, gang_rules(policy))
        return self._grouping, changed

    def fleet(self, snapshot: Snapshot, policy: Policy) -> Fleet:
        """The devices that are Aliquot's to allocate."""
        slices = self._managed(snapshot.resource_slices, ownership(snapshot, policy))
        classes: tuple[DeviceClass, ...] = snapshot.device_classes
        rules: tuple[DeviceTaintRule, ...] = snapshot.device_taint_rules
        self._fleet = Fleet.of(slices, classes, rules, kubernetes=policy.kubernetes, previous=self._fleet)
        return self._fleet

    def manager(self, snapshot: Snapshot, policy: Policy) -> Callable[[ResourceClaim], bool]:
        """Which claims are Aliquot's to allocate."""
        owned = ownership(snapshot, policy)
        if owned is None:
            return manager(EMPTY_FLEET, EMPTY_FLEET, None)
        others = tuple(item for item in snapshot.resource_slices if not _is_of(owned, item))
        self._others = Fleet.of(
            others, snapshot.device_classes, kubernetes=policy.kubernetes, previous=self._others
        )
        return manager(self.fleet(snapshot, policy), self._others, owned)

    def traits(self, pod: Pod) -> PodTraits:
        """What follows from a pod: the same object for pods that are alike."""
        known = self._traits.get(pod)
        if isinstance(known, PodTraits):
            return known
        template = alike(pod)
        found = self._alike.get(template)
        if found is None:
            if len(self._alike) >= MOST_TEMPLATES:
                self._alike.clear()
            found = self._alike[template] = PodTraits.of(pod)
        self._traits.put(pod, found)
        return found

    def topologies(self, snapshot: Snapshot, fleet: Fleet, strict: bool) -> dict[str, TopologyTree]:
        """The domains of every topology, by name; kept as long as nothing that they depend on changes."""
        assert self._index is not None
        self._topologies = {
            name: TopologyTree.of(
                item, snapshot.nodes, fleet, strict=strict, previous=self._topologies.get(name)
            )
            for name, item in self._index.topologies.items()
        }
        return self._topologies

    def static_fits(self, nodes: tuple[Node, ...]) -> dict[bytes, StaticFit]:
        """Fits by constraints, for exactly these nodes."""
        if self._nodes is not nodes:
            self._nodes, self._static = nodes, {}
        return self._static

    def _managed(
        self, slices: tuple[ResourceSlice, ...], owned: Ownership | None
    ) -> tuple[ResourceSlice, ...]:
        if owned is None:
            return slices
        if self._slices is not slices or self._owned != owned:
            self._slices, self._owned = slices, owned
            self._managed_slices = tuple(item for item in slices if _is_of(owned, item))
        return self._managed_slices


def _unchanged(before: Sequence[T], after: Sequence[T]) -> bool:
    """Whether objects differ in nothing but their versions."""
    return len(before) == len(after) and all(
        old is new or _without_version(old) == _without_version(new)
        for old, new in zip(before, after, strict=True)
    )


def _without_version(item: T) -> T:
    return replace(item, metadata=replace(item.metadata, resource_version="", generation=0))


def _is_of(owned: Ownership, item: ResourceSlice) -> bool:
    return owned.owns(item.spec.driver, item.spec.pool.name)


def _without_status(queue: Queue) -> Queue:
    return replace(_without_version(queue), status=QueueStatus())
