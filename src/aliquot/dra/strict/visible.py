"""The pools that kube-scheduler's allocator sees from one node.

It judges a pool by the slices that are relevant for the node and looks at the rest of the cluster only if
those are not complete by themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.nodeselection import selects, validate
from aliquot.dra.pools import Pool, PoolKey
from aliquot.dra.usage import Usage
from aliquot.model.core import Node, NodeSelector
from aliquot.model.resource import Device, ResourceSlice


class VisiblePool:
    """A pool as seen from a node. pool: its devices on the slices relevant for the node, in order of trial.

    complete, invalid: as judged from the node. all_devices: of the relevant slices and, where the allocator
    looked at them, of the others.
    """

    __slots__ = ("all_devices", "complete", "invalid", "key", "pool", "taken")

    def __init__(
        self,
        pool: Pool,
        *,
        complete: bool,
        invalid: bool,
        all_devices: tuple[Device, ...],
        taken: "TakenNames",
    ) -> None:
        self.key = pool.key
        self.pool = pool
        self.complete = complete
        self.invalid = invalid
        self.all_devices = all_devices
        self.taken = taken

    @property
    def usable(self) -> bool:
        return self.complete and not self.invalid


class TakenNames:
    """What earlier allocations hold of a pool, by device name. consumed: by capacity too, in billionths."""

    __slots__ = ("consumed", "shared", "whole")

    def __init__(self, usage: Usage, key: PoolKey) -> None:
        self.whole: set[str] = set()
        self.shared: set[str] = set()
        self.consumed: dict[str, dict[str, int]] = {}
        for result in usage.results_of(key):
            if result.share_id is None:
                self.whole.add(result.device)
                continue
            self.shared.add(result.device)
            if not result.consumed_capacity:
                continue
            amounts = self.consumed.setdefault(result.device, {})
            for name, amount in result.consumed_capacity.items():
                amounts[name] = amounts.get(name, 0) + amount.nano


def visible_pools(fleet: Fleet, usage: Usage, node: Node) -> list[VisiblePool]:
    """The pools in the order in which they are tried. Raises NodeSelectorError."""
    relevant: dict[PoolKey, list[ResourceSlice]] = {}
    for item in fleet.slices_for(node.metadata.name):
        if _relevant(item, node, fleet.features):
            relevant.setdefault((item.spec.driver, item.spec.pool.name), []).append(item)
    found = [pool for key in sorted(relevant) for pool in _judge(fleet, usage, key, relevant[key])]
    # A pool with any device that needs binding conditions is tried after all others.
    return sorted(found, key=lambda pool: _conditional(pool.pool))


def _conditional(pool: Pool) -> bool:
    return any(device.binding_conditions is not None for device in pool.devices)


def _relevant(item: ResourceSlice, node: Node, features: Features) -> bool:
    spec = item.spec
    if spec.shared_counters:
        return features.partitionable_devices
    if not features.partitionable_devices and spec.per_device_node_selection is not None:
        return False
    if spec.node_name or spec.all_nodes or spec.node_selector is not None:
        return usable_on(node, spec.node_name, spec.all_nodes, spec.node_selector)
    if spec.per_device_node_selection:
        return any(
            usable_on(node, each.node_name, each.all_nodes, each.node_selector) for each in spec.devices
        )
    return False


def usable_on(
    node: Node, node_name: str | None, all_nodes: bool | None, node_selector: NodeSelector | None
) -> bool:
    """Whether a slice or device with these fields is for the node. Raises NodeSelectorError."""
    if node_name:
        return node_name == node.metadata.name
    if all_nodes:
        return True
    if node_selector is None:
        return False
    validate(node_selector)
    return selects(node_selector, node)


def _judge(
    fleet: Fleet, usage: Usage, key: PoolKey, relevant: Sequence[ResourceSlice]
) -> Iterator[VisiblePool]:
    newest = max(item.spec.pool.generation for item in relevant)
    kept = [item for item in relevant if item.spec.pool.generation == newest]
    announced = kept[0].spec.pool.resource_slice_count
    complete = len(kept) == announced
    others: list[ResourceSlice] = []
    if not complete:
        everywhere = fleet.pools[key].source
        if any(item.spec.pool.generation > newest for item in everywhere):
            return
        same = [item for item in everywhere if item.spec.pool.generation == newest]
        complete = len(same) == announced
        own = {id(item) for item in kept}
        others = [item for item in same if id(item) not in own]
    pool = _pool(fleet, key, kept)
    # Upstream: a pool that is not complete is not looked at any further.
    invalid = complete and (pool.flawed or _draws_on_unknown(kept, others, fleet.features))
    listed = pool.devices
    for item in others:
        if not item.spec.shared_counters:
            listed += item.spec.devices
    yield VisiblePool(
        pool, complete=complete, invalid=invalid, all_devices=listed, taken=TakenNames(usage, key)
    )


def _pool(fleet: Fleet, key: PoolKey, kept: Sequence[ResourceSlice]) -> Pool:
    """The pool of these slices; the fleet's own where that has the same ones."""
    own = fleet.pools[key]
    drawing = any(device.consumes_counters for item in kept for device in item.spec.devices)
    if drawing and not fleet.features.partitionable_devices:
        return Pool(kept, fleet.features, as_listed=True)
    if own.complete and len(own.slices) == len(kept) and {*map(id, own.slices)} == {*map(id, kept)}:
        return own
    return Pool(kept, fleet.features, as_listed=True)


def _draws_on_unknown(
    kept: Iterable[ResourceSlice], others: Iterable[ResourceSlice], features: Features
) -> bool:
    """Whether a device that is not for this node draws on a counter that the pool does not have.

    Devices that a slice lists beside counters are for no node at all.
    """
    if not features.partitionable_devices:
        return False
    sets: Mapping[str, frozenset[str]] = {
        counter_set.name: frozenset(counter_set.counters)
        for item in (*kept, *others)
        for counter_set in item.spec.shared_counters
    }
    return any(
        not consumption.counters.keys() <= sets.get(consumption.counter_set, frozenset())
        or consumption.counter_set not in sets
        for item in (*(each for each in kept if each.spec.shared_counters), *others)
        for device in item.spec.devices
        for consumption in device.consumes_counters
    )
