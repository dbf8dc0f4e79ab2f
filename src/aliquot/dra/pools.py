"""Pools: what the ResourceSlices of one driver and pool name add up to.

A pool is judged over the whole cluster: only slices of its newest generation count, and it is complete
when as many of them are there as they announce (KEP-4381). Devices are numbered in the order of the
slices' names and of the lists in them; sets of devices are integers with one bit per device number,
so that "free, matching and on this node" is one expression of `&`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from aliquot.dra.attributes import Value, lookup
from aliquot.dra.features import Features
from aliquot.dra.nodeselection import NodeSelectorError, validate
from aliquot.model.core import NodeSelector
from aliquot.model.resource import Device, DeviceTaint, ResourceSlice

PoolKey: TypeAlias = tuple[str, str]
"""(driver, pool name)."""

Devices: TypeAlias = int
"""A set of devices of one pool: bit i stands for device number i."""

BLOCKING_EFFECTS = ("NoSchedule", "NoExecute")
"""Taint effects that keep claims away. `None` only informs; unknown ones are ignored."""


class PoolState(Protocol):
    """What is taken of a pool; see usage.PoolUsage for the meaning of the fields."""

    @property
    def taken(self) -> Devices: ...
    @property
    def shared(self) -> Devices: ...
    @property
    def blocked(self) -> Devices: ...
    @property
    def remaining(self) -> Sequence[int]: ...
    @property
    def consumed(self) -> dict[int, dict[str, int]]: ...


def members(devices: Devices) -> Iterator[int]:
    """The device numbers in a set, ascending."""
    while devices:
        lowest = devices & -devices
        yield lowest.bit_length() - 1
        devices ^= lowest


def set_of(indexes: Iterable[int]) -> Devices:
    """The set of these device numbers."""
    found = 0
    for index in indexes:
        found |= 1 << index
    return found


class Pool:
    """A pool and its devices; never changed once built.

    problem: "" when usable, otherwise why not. flawed: whether names or counters are the problem. complete:
    whether all slices are there. devices: empty for an incomplete pool. ubiquitous: whether every node sees
    the pool. local: the devices of each node; everywhere: those for all nodes; selected: those for the nodes
    of a selector. counters: the amount of each shared counter in billionths; counter_sets and counter_names:
    the number of the set and the (set, counter) names of each; set_spans: where the counters of a set lie;
    set_members: the devices that draw on it. drawing: all that draw on any; draws: what each device takes, as
    (counter number, billionths) pairs. shareable: devices that several claims may hold at once. conditional:
    devices that need binding conditions. taints: the blocking taints that the slices give, by device number.
    values, grouped: what `attribute` and `groups` have looked up.
    """

    __slots__ = (
        "complete",
        "conditional",
        "counter_names",
        "counter_sets",
        "counters",
        "devices",
        "drawing",
        "draws",
        "driver",
        "everywhere",
        "flawed",
        "generation",
        "grouped",
        "key",
        "local",
        "name",
        "names",
        "problem",
        "selected",
        "set_members",
        "set_spans",
        "shareable",
        "slices",
        "source",
        "starts",
        "taints",
        "ubiquitous",
        "values",
    )

    def __init__(
        self, source: Sequence[ResourceSlice], features: Features, *, as_listed: bool = False
    ) -> None:
        """The pool that all slices of one driver and pool name, of any generation, make up.

        as_listed: take the pool as complete whatever its slices announce, with the devices that would need
        a feature that is off.
        """
        first = source[0].spec
        self.source = tuple(source)
        self.driver = first.driver
        self.name = first.pool.name
        self.key: PoolKey = (first.driver, first.pool.name)
        self.generation = max(item.spec.pool.generation for item in source)
        current = [item for item in source if item.spec.pool.generation == self.generation]
        self.slices = tuple(sorted(current, key=_slice_name))
        announced = current[0].spec.pool.resource_slice_count
        self.complete = as_listed or len(current) == announced
        self.problem = ""
        self.flawed = False
        self.devices: tuple[Device, ...] = ()
        self.starts: tuple[int, ...] = ()
        self.names: dict[str, int] = {}
        self.local: dict[str, Devices] = {}
        self.ubiquitous = False
        self.everywhere: Devices = 0
        self.selected: tuple[tuple[NodeSelector, Devices], ...] = ()
        self.counters: tuple[int, ...] = ()
        self.counter_sets: tuple[int, ...] = ()
        self.counter_names: tuple[tuple[str, str], ...] = ()
        self.draws: tuple[tuple[tuple[int, int], ...], ...] = ()
        self.drawing: Devices = 0
        self.set_members: tuple[Devices, ...] = ()
        self.set_spans: tuple[tuple[int, int], ...] = ()
        self.shareable: Devices = 0
        self.conditional: Devices = 0
        self.taints: dict[int, tuple[DeviceTaint, ...]] = {}
        self.grouped: dict[str, dict[Value, Devices]] = {}
        self.values: dict[str, tuple[Value | None, ...]] = {}
        if not self.complete:
            self.problem = f"{len(current)} of {announced} slices of generation {self.generation} are there"
            self._place([_devices_of(item, features) for item in self.slices], counted=False)
            return
        usable = [_listed_by(item) if as_listed else _devices_of(item, features) for item in self.slices]
        self._collect(usable, features)
        self._count(features)

    def _collect(self, usable: Sequence[tuple[Device, ...]], features: Features) -> None:
        """Number the devices and note where each can be used and what is special about it."""
        devices: list[Device] = []
        starts: list[int] = []
        names = self.names
        for listed in usable:
            starts.append(len(devices))
            for device in listed:
                index = len(devices)
                if names.setdefault(device.name, index) != index:
                    self._refuse(f"device {device.name} is listed twice")
                devices.append(device)
                bit = 1 << index
                if device.allow_multiple_allocations and features.consumable_capacity:
                    self.shareable |= bit
                if device.binding_conditions:
                    self.conditional |= bit
                if device.taints and features.device_taints:
                    blocking = tuple(taint for taint in device.taints if taint.effect in BLOCKING_EFFECTS)
                    if blocking:
                        self.taints[index] = blocking
        self.devices = tuple(devices)
        self.starts = tuple(starts)
        self._place(usable)

    def _refuse(self, flaw: str) -> None:
        self.problem = flaw
        self.flawed = True

    def _place(self, listed: Sequence[tuple[Device, ...]], *, counted: bool = True) -> None:
        """Note which nodes see the pool and, if its devices are counted, where each can be used."""
        selected: dict[int, tuple[NodeSelector, Devices]] = {}
        index = 0
        for item, usable in zip(self.slices, listed, strict=True):
            spec = item.spec
            if spec.per_device_node_selection:
                places = [(device.node_name, device.all_nodes, device.node_selector) for device in usable]
            elif not usable:
                # A slice without devices still makes the pool visible to its nodes.
                self._reach(spec.node_name, spec.all_nodes, spec.node_selector, 0, selected)
                continue
            else:
                width = ((1 << len(usable)) - 1) << index if counted else 0
                index += len(usable)
                self._reach(spec.node_name, spec.all_nodes, spec.node_selector, width, selected)
                continue
            for node_name, all_nodes, node_selector in places:
                self._reach(node_name, all_nodes, node_selector, int(counted) << index, selected)
                index += 1
        self.selected = tuple(selected.values())

    def _reach(
        self,
        node_name: str | None,
        all_nodes: bool | None,
        node_selector: NodeSelector | None,
        devices: Devices,
        selected: dict[int, tuple[NodeSelector, Devices]],
    ) -> None:
        if node_name:
            self.local[node_name] = self.local.get(node_name, 0) | devices
        elif all_nodes:
            self.ubiquitous = True
            self.everywhere |= devices
        elif node_selector is not None:
            try:
                validate(node_selector)
            except NodeSelectorError as error:
                self.problem = self.problem or f"a node selector is not valid: {error}"
                return
            _, known = selected.get(id(node_selector), (node_selector, 0))
            selected[id(node_selector)] = (node_selector, known | devices)

    def _count(self, features: Features) -> None:
        """Number the shared counters and note which device draws what."""
        if not features.partitionable_devices:
            return
        numbers: dict[tuple[str, str], int] = {}
        sets: dict[str, int] = {}
        amounts: list[int] = []
        spans: list[tuple[int, int]] = []
        for item in self.slices:
            for counter_set in item.spec.shared_counters:
                if counter_set.name in sets:
                    self._refuse(f"counter set {counter_set.name} is defined twice")
                    return
                sets[counter_set.name] = len(spans)
                start = len(amounts)
                for counter_name, counter in counter_set.counters.items():
                    numbers[counter_set.name, counter_name] = len(amounts)
                    amounts.append(counter.value.nano)
                spans.append((start, len(amounts)))
        draws: list[tuple[tuple[int, int], ...]] = []
        drawn_on = [0] * len(spans)
        drawing = 0
        for index, device in enumerate(self.devices):
            if not device.consumes_counters:
                draws.append(())
                continue
            drawing |= 1 << index
            taken: dict[int, int] = {}
            for consumption in device.consumes_counters:
                if consumption.counter_set not in sets:
                    self._refuse(
                        f"device {device.name} draws on counter set {consumption.counter_set}, "
                        "which is not there"
                    )
                    return
                drawn_on[sets[consumption.counter_set]] |= 1 << index
                for counter_name, counter in consumption.counters.items():
                    number = numbers.get((consumption.counter_set, counter_name))
                    if number is None:
                        self._refuse(
                            f"device {device.name} draws on counter {counter_name} of set "
                            f"{consumption.counter_set}, which has no such counter"
                        )
                        return
                    taken[number] = taken.get(number, 0) + counter.value.nano
            draws.append(tuple(taken.items()))
        self.drawing = drawing
        self.counters = tuple(amounts)
        self.counter_names = tuple(numbers)
        self.counter_sets = tuple(sets[set_name] for set_name, _ in numbers)
        self.draws = tuple(draws) if self.drawing else ()
        self.set_members = tuple(drawn_on)
        self.set_spans = tuple(spans)

    def attribute(self, name: str) -> tuple[Value | None, ...]:
        """Every device's value of a fully qualified attribute; None where a device has none."""
        known = self.values.get(name)
        if known is None:
            known = tuple(lookup(device, self.driver, name) for device in self.devices)
            self.values[name] = known
        return known

    def groups(self, name: str) -> dict[Value, Devices]:
        """The devices by their value of a fully qualified attribute; those without it are in none."""
        known = self.grouped.get(name)
        if known is None:
            known = self.grouped[name] = {}
            for index, value in enumerate(self.attribute(name)):
                if value is not None:
                    known[value] = known.get(value, 0) | 1 << index
        return known

    def rivals(self, index: int) -> Devices:
        """The devices that draw on a counter set that this one draws on, itself included."""
        found = 0
        for number, _ in self.draws[index]:
            found |= self.set_members[self.counter_sets[number]]
        return found

    def slice_of(self, index: int) -> ResourceSlice:
        """The slice that lists the device of this number."""
        return self.slices[bisect_right(self.starts, index) - 1]

    def home(self, index: int) -> str | None:
        """The one node that the device can be used on, or None for a device of several nodes."""
        spec = self.slice_of(index).spec
        return self.devices[index].node_name if spec.per_device_node_selection else spec.node_name

    def node_selection(self, index: int) -> NodeSelector | None:
        """The selector of the nodes that the device can be used on, if it has one."""
        spec = self.slice_of(index).spec
        return self.devices[index].node_selector if spec.per_device_node_selection else spec.node_selector

    def __repr__(self) -> str:
        return f"Pool({self.driver}/{self.name}: {self.problem or f'{len(self.devices)} devices'})"


def _slice_name(item: ResourceSlice) -> str:
    return item.metadata.name


def _listed_by(item: ResourceSlice) -> tuple[Device, ...]:
    """The devices that a slice lists. A slice of shared counters has none."""
    return () if item.spec.shared_counters else item.spec.devices


def _devices_of(item: ResourceSlice, features: Features) -> tuple[Device, ...]:
    """The devices that a slice contributes.

    A slice of shared counters contributes none, and without partitionable devices neither does a slice that
    leaves node selection to its devices, nor can a device that draws on counters be used.
    """
    spec = item.spec
    if not features.partitionable_devices:
        if spec.per_device_node_selection is not None:
            return ()
        if any(device.consumes_counters for device in spec.devices):
            return tuple(device for device in _listed_by(item) if not device.consumes_counters)
    return _listed_by(item)
