"""The tree of queues: what each is entitled to, what it uses, and how much waits in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from aliquot.dra.fleet import Fleet
from aliquot.dra.shares import share_of_result
from aliquot.fractions.charges import device_charge
from aliquot.fractions.devices import NONE, node_devices
from aliquot.fractions.requests import GpuRequest, gpu_request
from aliquot.inventory.owners import Owners
from aliquot.inventory.workloads import Status, WorkloadTable
from aliquot.model.core import Node, Pod
from aliquot.model.index import SnapshotIndex, live
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, exact
from aliquot.queues.ledger import Ledger
from aliquot.queues.shares import FairShare
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.holdings import class_counts, pod_charge
from aliquot.scheduling.requests import pod_requests
from aliquot.scheduling.standings import Standings

OUTSIDE = ""
"""The name under which work outside all queues is counted."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One resource of one queue, in billionths of its unit; None: no such term; below 0: no bound.

    terms: its fair share term by term; None where that is not known or the resource takes no part.
    """

    name: str
    used: Amount
    quota: int | None = None
    limit: int | None = None
    weight: int = 1
    terms: FairShare | None = None

    @property
    def share(self) -> Amount | None:
        """The fair share: what the queue is entitled to now, by what all ask for."""
        return self.terms.share if self.terms is not None else None

    @property
    def wanted(self) -> Amount | None:
        """What the work that waits in the queue wants."""
        return self.terms.pending if self.terms is not None else None

    @property
    def balance(self) -> Amount | None:
        """How much more than its fair share the queue holds; below 0: how much less."""
        return exact(self.terms.allocated - self.terms.share) if self.terms is not None else None

    @property
    def over_quota(self) -> bool:
        quota = self.quota or 0
        return 0 <= quota < self.used


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue with everything below it counted in.

    depth: 0 at the top. problem: why it cannot be used (as QueueProblem says), "" if it can. resources: GPU
    first, then the others that it has terms for. waiting, running: workloads.
    """

    name: str
    parent: str
    depth: int
    priority: int
    resources: tuple[ResourceState, ...]
    waiting: int = 0
    running: int = 0
    problem: str = ""

    def resource(self, name: str) -> ResourceState:
        for state in self.resources:
            if state.name == name:
                return state
        return ResourceState(name, 0)


@dataclass(frozen=True, slots=True)
class QueueTable:
    """Queues as a tree in depth-first order; outside: what work outside of queues uses, by resource."""

    queues: tuple[QueueState, ...]
    outside: QueueState


@dataclass(slots=True)
class _Counts:
    waiting: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)


def queue_usage(
    snapshot: Snapshot, index: SnapshotIndex, tree: QueueTree, owners: Owners, fleet: Fleet
) -> tuple[Ledger, dict[str, Amount]]:
    """What every queue uses, and what is used outside of queues.

    As `decide` counts: a pod once it has a node, a claim once it is allocated, in the queue of the first of
    its consumers that is there.
    """
    usage = Ledger(tree)
    outside: dict[str, Amount] = {}

    def add(queue: str, charge: Charge) -> None:
        if tree.path(queue):
            usage.add(queue, charge)
            return
        for resource, amount in charge.items():
            outside[resource] = exact(outside.get(resource, 0) + amount)

    for claim in snapshot.resource_claims:
        allocation = claim.status.allocation
        if allocation is None:
            continue
        keys = [(claim.namespace, item.name) for item in claim.status.reserved_for if item.resource == "pods"]
        queue = next((owners.of_pod[key].queue for key in keys if key in owners.of_pod), OUTSIDE)
        charge: dict[str, Amount] = {
            name: number * UNIT for name, number in class_counts(claim, allocation).items()
        }
        share = sum((share_of_result(fleet, result) for result in allocation.devices.results), Fraction(0))
        charge[GPU] = exact(share * UNIT)
        add(queue, charge)
    for group in owners.groups:
        for pod in group.pods:
            if pod.spec.node_name and live(pod):
                add(group.gang.queue, _charge(pod, index.nodes.get(pod.spec.node_name)))
    return usage, outside


def queue_table(
    tree: QueueTree,
    usage: Ledger,
    outside: Mapping[str, Amount],
    workloads: WorkloadTable,
    standings: Standings | None = None,
) -> QueueTable:
    """The tree with terms, usage and counts; queues with a broken chain of parents come last.

    standings: the fair shares; without them the table shows none.
    """
    standings = standings or Standings()
    counts = _Counts()
    for item in workloads.workloads:
        into = None
        if item.status is Status.WAITING:
            into = counts.waiting
        elif item.status in (Status.RUNNING, Status.STARTING, Status.PLACED):
            into = counts.running
        if into is not None:
            for name in tree.path(item.queue) or (OUTSIDE if not item.queue else item.queue,):
                into[name] = into.get(name, 0) + 1
    found: list[QueueState] = []

    def walk(name: str, depth: int) -> None:
        found.append(_queue(tree, name, depth, usage.of(name), counts, standings))
        for child in tree.children(name):
            walk(child, depth + 1)

    for top in tree.children(""):
        walk(top, 0)
    found.extend(_queue(tree, name, 0, {}, counts, standings) for name in sorted(tree.problems))
    used = tuple(ResourceState(name, outside[name]) for name in sorted(outside, key=_gpu_first))
    return QueueTable(
        tuple(found),
        QueueState(
            name=OUTSIDE,
            parent="",
            depth=0,
            priority=0,
            resources=used,
            waiting=counts.waiting.get(OUTSIDE, 0),
            running=counts.running.get(OUTSIDE, 0),
        ),
    )


def _queue(
    tree: QueueTree,
    name: str,
    depth: int,
    used: Mapping[str, Amount],
    counts: _Counts,
    standings: Standings,
) -> QueueState:
    queue = tree.queues[name]
    terms = tree.terms[name]
    problem = tree.problems.get(name)
    resources = []
    for resource in sorted({GPU, *terms}, key=_gpu_first):
        term = terms.get(resource)
        resources.append(
            ResourceState(
                name=resource,
                used=used.get(resource, 0),
                quota=term.quota.nano if term is not None and term.quota is not None else None,
                limit=tree.limit(name, resource),
                weight=term.over_quota_weight if term is not None else 1,
                terms=standings.share(name, resource),
            )
        )
    return QueueState(
        name=name,
        parent=queue.spec.parent,
        depth=depth,
        priority=queue.spec.priority,
        resources=tuple(resources),
        waiting=counts.waiting.get(name, 0),
        running=counts.running.get(name, 0),
        problem=f"{problem.kind} {problem.subject}" if problem is not None else "",
    )


def _gpu_first(resource: str) -> tuple[bool, str]:
    return (resource != GPU, resource)


def fraction_of(used: Amount, whole: int | None) -> Fraction | None:
    """used / whole, None where there is no whole to compare with."""
    return Fraction(used) / whole if whole else None


def _charge(pod: Pod, node: Node | None) -> Charge:
    """What a pod takes of its node besides claims."""
    request = gpu_request(pod)
    devices = NONE if node is None else node_devices(node)
    gpus = device_charge(request, devices) if isinstance(request, GpuRequest) else 0
    return pod_charge(pod_requests(pod.spec), gpus)
