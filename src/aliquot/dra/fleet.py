"""Fleet: the pools, device classes and taint rules of a snapshot, prepared for allocation.

Everything that follows from one pool's slices is built once and taken over from the previous fleet as long
as the slices are the same Python objects, so that preparing a changed fleet costs little more than looking
for what changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from operator import is_
from typing import TYPE_CHECKING

from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.nodeselection import selects
from aliquot.dra.objective import Appraisal, Objective
from aliquot.dra.pools import Devices, Pool, PoolKey
from aliquot.dra.selectors import Matchers
from aliquot.dra.taints import DeviceTaints
from aliquot.model.core import Node
from aliquot.model.resource import DeviceClass, DeviceTaintRule, ResourceSlice

if TYPE_CHECKING:
    from aliquot.dra.demand import Demand
    from aliquot.dra.requests import Blueprint

Reach = tuple[tuple[Pool, Devices], ...]
"""The pools that a node sees, sorted by driver and name, each with the devices usable on that node."""


class Fleet:
    """Devices and pools of one snapshot. Read-only to callers; remembers what it is asked for.

    pools: by (driver, pool name). classes: by name. network: the pools with devices that are not tied to one
    node. taints: of devices, from slices and rules.
    """

    def __init__(
        self,
        slices: tuple[ResourceSlice, ...],
        classes: tuple[DeviceClass, ...],
        rules: tuple[DeviceTaintRule, ...],
        features: Features,
        kubernetes: KubernetesVersion,
        matchers: Matchers,
        taints: DeviceTaints,
    ) -> None:
        self.slices = slices
        self.features = features
        self.kubernetes = kubernetes
        self.matchers = matchers
        self.taints = taints
        self.rules = rules
        self.device_classes = classes
        self.classes: Mapping[str, DeviceClass] = {item.metadata.name: item for item in classes}
        self.pools: dict[PoolKey, Pool] = {}
        self.network: tuple[Pool, ...] = ()
        self._local: dict[str, tuple[Pool, ...]] = {}
        self._reach: dict[str, tuple[Node, Reach]] = {}
        self._by_node: dict[str, list[ResourceSlice]] | None = None
        self._appraisals: dict[Objective, dict[Pool, Appraisal]] = {}
        self.blueprints: dict[bytes, Blueprint] = {}
        self.demands: dict[object, Demand] = {}

    @staticmethod
    def of(
        resource_slices: Iterable[ResourceSlice],
        device_classes: Iterable[DeviceClass],
        taint_rules: Iterable[DeviceTaintRule] = (),
        *,
        kubernetes: KubernetesVersion = (1, 36),
        features: Features | None = None,
        previous: "Fleet | None" = None,
    ) -> "Fleet":
        """The fleet of these objects.

        features: which optional parts are on; those of `kubernetes` by default. previous: an earlier fleet,
        whose parts are taken over where the objects are the same.
        """
        slices, classes, rules = tuple(resource_slices), tuple(device_classes), tuple(taint_rules)
        chosen = Features.of(kubernetes) if features is None else features
        if previous is not None and (previous.features, previous.kubernetes) != (chosen, kubernetes):
            previous = None
        if (
            previous is not None
            and _same(slices, previous.slices)
            and _same(classes, previous.device_classes)
            and _same(rules, previous.rules)
        ):
            return previous
        if previous is None:
            matchers, taints = Matchers(chosen, kubernetes), DeviceTaints(chosen, rules)
        elif _same(rules, previous.rules):
            matchers, taints = previous.matchers, previous.taints
        else:
            matchers, taints = previous.matchers, DeviceTaints(chosen, rules)
        fleet = Fleet(slices, classes, rules, chosen, kubernetes, matchers, taints)
        if previous is not None and taints is previous.taints and _same(classes, previous.device_classes):
            fleet.blueprints, fleet.demands = previous.blueprints, previous.demands
        if previous is not None:
            fleet._appraisals = previous._appraisals
        if previous is not None and _same(slices, previous.slices):
            fleet.pools, fleet.network, fleet._local = previous.pools, previous.network, previous._local
            fleet._reach = previous._reach
        else:
            fleet._build(previous)
        return fleet

    def _build(self, previous: "Fleet | None") -> None:
        groups: dict[PoolKey, list[ResourceSlice]] = {}
        for item in self.slices:
            spec = item.spec
            key = (spec.driver, spec.pool.name)
            group = groups.get(key)
            if group is None:
                groups[key] = [item]
            else:
                group.append(item)
        known = {} if previous is None else previous.pools
        touched: set[str] = set()
        changed: set[PoolKey] = set()
        for key in sorted(groups):
            source = groups[key]
            pool = known.get(key)
            if pool is None or not _same(source, pool.source):
                if pool is not None:
                    self._forget(pool)
                    touched.update(pool.local)
                pool = Pool(source, self.features)
                touched.update(pool.local)
                changed.add(key)
            self.pools[key] = pool
        for key in known.keys() - groups.keys():
            self._forget(known[key])
            touched.update(known[key].local)
            changed.add(key)
        self.network = tuple(pool for pool in self.pools.values() if pool.ubiquitous or pool.selected)
        fresh: dict[str, list[Pool]] = {name: [] for name in touched}
        for key in sorted(changed & groups.keys()):
            for name in self.pools[key].local:
                fresh[name].append(self.pools[key])
        self._local = {} if previous is None else dict(previous._local)
        for name, pools in fresh.items():
            kept = [pool for pool in self._local.get(name, ()) if pool.key not in changed]
            if kept or pools:
                self._local[name] = tuple(sorted(kept + pools, key=_pool_key))
            else:
                self._local.pop(name, None)

    def _forget(self, pool: Pool) -> None:
        """Drop what is remembered about a pool that this fleet no longer has."""
        self.matchers.forget(pool)
        self.taints.forget(pool)
        for demand in self.demands.values():
            demand.forget(pool)
        for by_pool in self._appraisals.values():
            by_pool.pop(pool, None)

    @property
    def drivers(self) -> frozenset[str]:
        """Every driver that publishes a slice."""
        return frozenset(driver for driver, _ in self.pools)

    def nodes_with(self, driver: str | None = None) -> frozenset[str]:
        """Names of the nodes with devices of their own, of one driver or of any."""
        return frozenset(
            name
            for name, pools in self._local.items()
            if any(pool.local[name] and driver in (None, pool.driver) for pool in pools)
        )

    def local_pools(self, node_name: str) -> tuple[Pool, ...]:
        """The pools with slices or devices for exactly this node, usable or not."""
        return self._local.get(node_name, ())

    def slices_for(self, node_name: str) -> Iterator[ResourceSlice]:
        """The slices that name this node, then those that name none or have shared counters for all.

        Both in the order in which they were given.
        """
        if self._by_node is None:
            self._by_node = {}
            for item in self.slices:
                spec = item.spec
                name = "" if spec.shared_counters else spec.node_name or ""
                self._by_node.setdefault(name, []).append(item)
        if node_name:
            yield from self._by_node.get(node_name, ())
        yield from self._by_node.get("", ())

    def reach(self, node: Node) -> Reach:
        """The pools that the node sees, unusable ones included, and their devices usable on it."""
        name = node.metadata.name
        known = self._reach.get(name)
        if known is not None and known[0] is node:
            return known[1]
        found = {pool.key: (pool, pool.local[name]) for pool in self._local.get(name, ())}
        for pool in self.network:
            devices = pool.local.get(name, 0) | pool.everywhere
            visible = name in pool.local or pool.ubiquitous
            for selector, chosen in pool.selected:
                if selects(selector, node):
                    devices |= chosen
                    visible = True
            if visible:
                found[pool.key] = (pool, devices)
        reach = tuple(found[key] for key in sorted(found))
        self._reach[name] = (node, reach)
        return reach

    def appraisal(self, pool: Pool, objective: Objective) -> Appraisal:
        """What an objective needs to know of a pool."""
        by_pool = self._appraisals.get(objective)
        if by_pool is None:
            by_pool = self._appraisals[objective] = {}
        known = by_pool.get(pool)
        if known is None:
            known = by_pool[pool] = Appraisal(pool, objective)
        return known

    def find(self, driver: str, pool: str, device: str) -> tuple[Pool, int] | None:
        """The pool and number of a device by its names, or None if no usable pool has it."""
        found = self.pools.get((driver, pool))
        if found is None:
            return None
        index = found.names.get(device)
        return None if index is None else (found, index)


def _pool_key(pool: Pool) -> PoolKey:
    return pool.key


def _same(left: Iterable[object], right: Iterable[object]) -> bool:
    """Whether both sequences hold the same objects (not merely equal ones) in the same order."""
    left, right = tuple(left), tuple(right)
    return len(left) == len(right) and all(map(is_, left, right))
