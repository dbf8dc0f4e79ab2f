"""The cluster as one decision changes it: what is free on nodes, of devices and in queues; with undo."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aliquot.dra.usage import Mark
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import Charge
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.claims import ClaimBook
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.nodes import Demand, NodeTable
from aliquot.scheduling.ranking import Ranking
from aliquot.scheduling.room import DeviceRoom


@dataclass(frozen=True, slots=True)
class Point:
    """A point to which a ClusterState can be taken back."""

    nodes: int
    neighbours: int
    devices: Mark
    claims: int
    queues: int
    drops: int


@dataclass(frozen=True, slots=True)
class PodPlacement:
    """A pod and what it gets. number: of its node. allocated: claims that get devices with it; reserved:
    claims that have them already and get the pod as a consumer."""

    facts: PodFacts
    number: int
    node: str
    allocated: tuple[tuple[ResourceClaim, AllocationResult], ...]
    reserved: tuple[ResourceClaim, ...]
    charge: Charge


class ClusterState:
    """Everything that placing a pod changes. One per decision."""

    def __init__(
        self,
        index: SnapshotIndex,
        table: NodeTable,
        neighbours: PodNeighbours,
        devices: DeviceAllocator,
        queues: Ledger,
    ) -> None:
        self.index = index
        self.table = table
        self.neighbours = neighbours
        self.devices = devices
        self.queues = queues
        self.claims = ClaimBook()
        self.room = DeviceRoom(devices.fleet, devices.usage, table)
        self._drops: list[tuple[Ranking, int]] = []
        self._settled = 0

    def mark(self) -> Point:
        return Point(
            self.table.mark(),
            self.neighbours.mark(),
            self.devices.usage.mark(),
            self.claims.mark(),
            self.queues.mark(),
            len(self._drops),
        )

    def undo(self, point: Point) -> None:
        """Take back everything done since the mark, the dropping of nodes from rankings included."""
        self.devices.usage.undo(point.devices)
        self.claims.undo(point.claims)
        self.queues.undo(point.queues)
        self.neighbours.undo(point.neighbours)
        self.table.undo(point.nodes)
        while len(self._drops) > point.drops:
            ranking, number = self._drops.pop()
            ranking.restore(number)

    def settle(self) -> None:
        """What has been taken so far stays: what is found out before more is taken need not be undone."""
        self._settled = self.table.mark()

    def drop(self, ranking: Ranking, number: int) -> None:
        """Note that a node does not take the ranking's pods, until something taken is given back."""
        ranking.drop(number)
        if self.table.mark() > self._settled:
            self._drops.append((ranking, number))

    def take(self, placement: PodPlacement, queue: str) -> None:
        """Give the pod its place."""
        facts = placement.facts
        for claim, allocation in placement.allocated:
            self.devices.usage.take(claim.key, allocation)
            self.claims.allocate(claim, allocation)
            self.claims.reserve(claim, facts.consumer(claim))
        for claim in placement.reserved:
            self.claims.reserve(claim, facts.consumer(claim))
        self.table.take(placement.number, facts.traits.demand)
        self.neighbours.add(facts.pod, placement.node)
        if queue:
            self.queues.add(queue, placement.charge)


def occupied(table: NodeTable, pods: Iterable[tuple[Pod, str, Demand]]) -> Sequence[tuple[Pod, str]]:
    """Count pods that have their node; gives them with their nodes."""
    placed = []
    for pod, node, demand in pods:
        table.occupy(node, demand)
        placed.append((pod, node))
    return placed
