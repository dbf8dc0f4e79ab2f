"""What-if: a cluster with its workloads, changes to it, and what comes of it.

    base = Scenario(snapshot=snapshot)
    result = simulated(changed(base, (Drain(frozenset({"gpu-7"})),)))

A change is data, made from files and flags at the edge. Changing a scenario gives another one; the
first stays as it is, and both are simulated by the same code.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from aliquot.cel.quantity import Quantity
from aliquot.model.core import Node
from aliquot.model.index import Key, live
from aliquot.model.meta import KubernetesObject
from aliquot.model.queue import Queue, QueueResource
from aliquot.model.resource import ResourceSlice
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.policy import NO_ACCELERATORS, Policy
from aliquot.scheduling.requests import pod_requests
from aliquot.simulation.adoption import RunTime, adopt, said
from aliquot.simulation.results import Cause, Result
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Observe, Simulation
from aliquot.simulation.workload import Workload

UNBOUNDED = -1


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated. snapshot: the cluster, whose own pods are adopted as workloads; workloads: those
    that come besides. leaving: pods that are made to leave at the start, because of a change."""

    snapshot: Snapshot
    workloads: tuple[Workload, ...] = ()
    policy: Policy = Policy()
    settings: Settings = Settings()
    leaving: frozenset[Key] = frozenset()


class AddObjects(msgspec.Struct, frozen=True, tag=True):
    """Objects that come to the cluster, or take the place of those with their names: nodes with their
    ResourceSlices, queues, jobs with their pods and claims."""

    objects: tuple[KubernetesObject, ...]
    label: str = ""


class AddWorkloads(msgspec.Struct, frozen=True, tag=True):
    """Workloads of a trace that come besides."""

    workloads: tuple[Workload, ...]
    label: str = ""


class SetQueue(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Other terms of a queue for one resource. None: as before; quota, limit -1: no bound."""

    queue: str
    resource: str = "gpu"
    quota: Quantity | None = None
    limit: Quantity | None = None
    weight: int | None = None
    priority: int | None = None


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Nodes take no more pods, and those that they have must leave."""

    nodes: frozenset[str]


class Remove(msgspec.Struct, frozen=True, tag=True):
    """Nodes are gone with all that they have; their pods must find another place."""

    nodes: frozenset[str]


class Share(msgspec.Struct, frozen=True, tag=True):
    """Nodes hand out their devices in another way.

    nodes: by name the Node and the ResourceSlices as its driver would publish them then. classes: the
    DeviceClasses that go with them. Pods whose devices are not offered any more must leave.
    """

    nodes: Mapping[str, tuple[KubernetesObject, ...]]
    classes: tuple[KubernetesObject, ...] = ()


class SetPolicy(msgspec.Struct, frozen=True, tag=True):
    """Decisions are made by another policy. label: what it is called."""

    policy: Policy
    label: str


Change: TypeAlias = AddObjects | AddWorkloads | SetQueue | Drain | Remove | Share | SetPolicy


class ChangeError(Exception):
    """A change that cannot be made to this cluster. subject: what it speaks of; problem, fix: text."""

    def __init__(self, subject: str, problem: str, fix: str) -> None:
        super().__init__(subject, problem, fix)
        self.subject = subject
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}; {self.fix}"


def changed(base: Scenario, changes: Iterable[Change]) -> Scenario:
    """The scenario after these changes, in their order. Raises ChangeError."""
    found = base
    for change in changes:
        match change:
            case AddObjects():
                found = replace(found, snapshot=_with(found.snapshot, change.objects))
            case AddWorkloads():
                known = {item.key for item in found.workloads}
                for workload in change.workloads:
                    if workload.key in known:
                        name = "/".join(workload.key)
                        raise ChangeError(name, "there is a workload of that name already", "rename it")
                found = replace(found, workloads=(*found.workloads, *change.workloads))
            case SetQueue():
                found = _requeued(found, change)
            case Drain():
                found = _drained(found, change.nodes)
            case Remove():
                found = _removed(found, change.nodes)
            case Share():
                found = _shared(found, change)
            case SetPolicy():
                settings = replace(found.settings, label=change.label)
                found = replace(found, policy=change.policy, settings=settings)
    return found


def _with(snapshot: Snapshot, objects: Iterable[KubernetesObject]) -> Snapshot:
    """The snapshot with these objects, of which each takes the place of one with its kind and name."""
    by_field: dict[str, dict[Key, KubernetesObject]] = {}
    for item in objects:
        by_field.setdefault(FIELDS[type(item)], {})[item.key] = item
    fields = {}
    for field, new in by_field.items():
        held = {item.key: item for item in getattr(snapshot, field)} | new
        fields[field] = tuple(held[key] for key in sorted(held))
    return replace(snapshot, **fields)


def _requeued(base: Scenario, change: SetQueue) -> Scenario:
    queues = {queue.name: queue for queue in base.snapshot.queues}
    queue = queues.get(change.queue)
    if queue is None:
        known = ", ".join(sorted(queues)[:20])
        fix = f"name one of: {known}" if known else "the cluster has no queues; add one"
        raise ChangeError(f"queue {change.queue}", "there is no such queue", fix)
    if change.weight is not None and change.weight < 0:
        raise ChangeError(f"queue {change.queue}", "a weight is 0 or more", "write a whole number")
    terms = {item.name: item for item in queue.spec.resources}
    before = terms.get(change.resource, QueueResource(name=change.resource))
    after = replace(
        before,
        quota=before.quota if change.quota is None else change.quota,
        limit=before.limit if change.limit is None else change.limit,
        over_quota_weight=before.over_quota_weight if change.weight is None else change.weight,
    )
    if after != before or change.resource in terms:
        terms[change.resource] = after
    priority = queue.spec.priority if change.priority is None else change.priority
    spec = replace(queue.spec, resources=tuple(terms.values()), priority=priority)
    made: Queue = replace(queue, spec=spec)
    return replace(base, snapshot=_with(base.snapshot, (made,)))


def _known(snapshot: Snapshot, names: frozenset[str]) -> None:
    missing = sorted(names - {node.name for node in snapshot.nodes})
    if missing:
        raise ChangeError(f"node {missing[0]}", "there is no such node", "name nodes of the cluster")


def _pods_on(snapshot: Snapshot, names: frozenset[str]) -> frozenset[Key]:
    return frozenset(pod.key for pod in snapshot.pods if pod.spec.node_name in names and live(pod))


def _drained(base: Scenario, names: frozenset[str]) -> Scenario:
    _known(base.snapshot, names)
    nodes = tuple(
        replace(node, spec=replace(node.spec, unschedulable=True)) if node.name in names else node
        for node in base.snapshot.nodes
    )
    leaving = base.leaving | _pods_on(base.snapshot, names)
    return replace(base, snapshot=replace(base.snapshot, nodes=nodes), leaving=leaving)


def _removed(base: Scenario, names: frozenset[str]) -> Scenario:
    _known(base.snapshot, names)
    snapshot = base.snapshot
    nodes = tuple(node for node in snapshot.nodes if node.name not in names)
    slices = tuple(item for item in snapshot.resource_slices if item.spec.node_name not in names)
    leaving = base.leaving | _pods_on(snapshot, names)
    return replace(base, snapshot=replace(snapshot, nodes=nodes, resource_slices=slices), leaving=leaving)


def _shared(base: Scenario, change: Share) -> Scenario:
    _known(base.snapshot, frozenset(change.nodes))
    snapshot = base.snapshot
    before = {node.name: node for node in snapshot.nodes}
    slices = tuple(
        item
        for item in snapshot.resource_slices
        if item.spec.node_name not in change.nodes or item.spec.driver in NO_ACCELERATORS
    )
    new: list[KubernetesObject] = []
    for name, published in change.nodes.items():
        for item in published:
            if isinstance(item, Node):
                new.append(_same_machine(before[name], item))
            elif isinstance(item, ResourceSlice) and item.spec.driver not in NO_ACCELERATORS:
                new.append(item)
    known = {item.name for item in snapshot.device_classes}
    new += [item for item in change.classes if item.name not in known]
    after = _with(replace(snapshot, resource_slices=slices), new)
    return replace(base, snapshot=after, leaving=base.leaving | _homeless(after, frozenset(change.nodes)))


def _same_machine(before: Node, published: Node) -> Node:
    """The node as it is, with the extended resources and the vendor's labels of the one published."""

    def merged(old: Mapping[str, Quantity], new: Mapping[str, Quantity]) -> dict[str, Quantity]:
        kept = {name: amount for name, amount in old.items() if "/" not in name}
        return kept | {name: amount for name, amount in new.items() if "/" in name}

    vendor = {
        name: text
        for name, text in published.metadata.labels.items()
        if name.startswith(("nvidia.com/", "amd.com/", "gpu.intel.com/", "cloud.google.com/gke-tpu"))
    }
    status = replace(
        before.status,
        capacity=merged(before.status.capacity, published.status.capacity),
        allocatable=merged(before.status.allocatable, published.status.allocatable),
    )
    metadata = replace(before.metadata, labels=before.metadata.labels | vendor)
    return replace(before, metadata=metadata, status=status)


def _homeless(snapshot: Snapshot, names: frozenset[str]) -> frozenset[Key]:
    """Pods on these nodes that hold a device, or were given a resource, which the nodes do not offer."""
    offered = {
        (item.spec.driver, item.spec.pool.name, device.name)
        for item in snapshot.resource_slices
        for device in item.spec.devices
    }
    claims = {claim.key: claim for claim in snapshot.resource_claims}
    nodes = {node.name: node for node in snapshot.nodes}
    found = []
    for pod in snapshot.pods:
        if pod.spec.node_name not in names or not live(pod):
            continue
        allocatable = nodes[pod.spec.node_name].status.allocatable
        asked = [name for name, amount in pod_requests(pod.spec).items() if "/" in name and amount]
        gone = any(name not in allocatable for name in asked)
        for key in claim_keys(pod):
            claim = claims.get(key)
            allocation = claim.status.allocation if claim is not None else None
            results = allocation.devices.results if allocation is not None else ()
            gone = gone or any((item.driver, item.pool, item.device) not in offered for item in results)
        if gone:
            found.append(pod.key)
    return frozenset(found)


def select(snapshot: Snapshot, wanted: Callable[[Mapping[str, str]], bool]) -> frozenset[str]:
    """The names of the nodes whose labels a test wants."""
    return frozenset(node.name for node in snapshot.nodes if wanted(node.metadata.labels))


def begin(scenario: Scenario, run_time: RunTime = said) -> Simulation:
    """A simulation of the scenario that has made its first decision, its leaving pods asked to leave.

    run_time: how long a gang of the cluster runs in all. Raises FormError.
    """
    snapshot, settings = scenario.snapshot, scenario.settings
    adopted = adopt(snapshot, settings.start, scenario.policy, run_time)
    simulation = Simulation.of(snapshot, (*adopted, *scenario.workloads), settings, scenario.policy)
    if scenario.leaving:
        simulation.step()
        _make_leave(simulation, scenario.leaving)
    return simulation


def _make_leave(simulation: Simulation, pods: frozenset[Key]) -> None:
    world = simulation.world
    by_workload: dict[int, list[str]] = {}
    for key in sorted(pods):
        number = world.owners.get(key)
        if number is not None:
            by_workload.setdefault(number, []).append(key[1])
    # A grace of no time at all would leave nothing on the agenda after which to decide again.
    grace = max(1, simulation.settings.grace_seconds)
    for number, names in by_workload.items():
        world.interrupt(number, names, Cause.OTHER_EVICTION, grace)


def simulated(scenario: Scenario, run_time: RunTime = said, observe: Observe | None = None) -> Result:
    """What comes of a scenario. Raises FormError."""
    return begin(scenario, run_time).run(observe)
