"""All tables of a snapshot together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aliquot.dra.features import KubernetesVersion
from aliquot.dra.fleet import Fleet
from aliquot.inventory import legacy
from aliquot.inventory.devices import DeviceTable, device_table
from aliquot.inventory.evictions import Eviction, evictions
from aliquot.inventory.layout import Board, Layout
from aliquot.inventory.owners import Owners
from aliquot.inventory.queues import QueueTable, queue_table, queue_usage
from aliquot.inventory.workloads import WorkloadTable, workload_table
from aliquot.model.index import SnapshotIndex
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import Standings


@dataclass(frozen=True, slots=True)
class Report:
    """Devices, workloads and queues of one snapshot, with the plan that was made from it."""

    snapshot: Snapshot
    plan: Plan
    fleet: Fleet
    layout: Layout
    plugins: Mapping[str, tuple[Board, ...]]
    devices: DeviceTable
    workloads: WorkloadTable
    queues: QueueTable
    owners: Owners

    @staticmethod
    def of(
        snapshot: Snapshot,
        plan: Plan,
        policy: Policy,
        *,
        standings: Standings | None = None,
        previous: "Report | None" = None,
        kubernetes: KubernetesVersion = (1, 36),
    ) -> "Report":
        """The tables; what belongs to unchanged slices is taken over from a previous report.

        standings: the fair shares of queues; tables show none without.
        """
        fleet = Fleet.of(
            snapshot.resource_slices,
            snapshot.device_classes,
            snapshot.device_taint_rules,
            kubernetes=kubernetes,
            previous=previous.fleet if previous is not None else None,
        )
        layout = Layout.of(fleet, previous.layout if previous is not None else None)
        index = SnapshotIndex.of(snapshot)
        tree = QueueTree.of(snapshot.queues)
        owners = Owners.of(index, tree, policy.default_queue)
        plugins = _plugins(snapshot, previous)
        devices = device_table(
            snapshot, layout, owners, plugins, previous.devices if previous is not None else None
        )
        workloads = workload_table(owners, devices, plan)
        usage, outside = queue_usage(snapshot, index, tree, owners, fleet)
        queues = queue_table(tree, usage, outside, workloads, standings)
        return Report(snapshot, plan, fleet, layout, plugins, devices, workloads, queues, owners)

    def evictions(self, now: datetime) -> tuple[Eviction, ...]:
        """Who leaves by the plan. now: when they would, by which it is known how much work is lost."""
        return evictions(self.snapshot, self.plan, self.owners, self.devices, now)


def _plugins(snapshot: Snapshot, previous: Report | None) -> Mapping[str, tuple[Board, ...]]:
    """The boards of device plugins by node; those of unchanged nodes are taken over."""
    if previous is not None and previous.snapshot.nodes is snapshot.nodes:
        return previous.plugins
    found = {node.name: legacy.boards(node) for node in snapshot.nodes}
    return {name: boards for name, boards in found.items() if boards}
