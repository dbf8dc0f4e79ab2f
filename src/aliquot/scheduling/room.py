"""How much accelerator is free on each node, as a measure to rank nodes by: best fit fills the fullest first.

This is a measure, not a proof: whether a claim fits is the allocator's to say.
"""

from dataclasses import dataclass

from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Pool, members
from aliquot.dra.usage import PoolUsage, Usage
from aliquot.fractions.resources import extended_devices
from aliquot.model.resource import ExactDeviceRequest, ResourceClaim
from aliquot.scheduling.nodes import NodeTable
from aliquot.scheduling.requests import CPU, MEMORY

_WEIGHT = 1024.0


@dataclass(frozen=True, slots=True)
class Part:
    """A request for a capacity of one device: its name and the amount in billionths."""

    capacity: str
    amount: int


def part_wanted(claims: tuple[ResourceClaim, ...]) -> Part | None:
    """The share of one device that the claims want, if that is all they want; None for anything else."""
    if len(claims) != 1:
        return None
    requests = claims[0].spec.devices.requests
    if len(requests) != 1 or requests[0].exactly is None:
        return None
    exactly: ExactDeviceRequest = requests[0].exactly
    if exactly.capacity is None or not exactly.capacity.requests or (exactly.count or 1) != 1:
        return None
    name, quantity = max(exactly.capacity.requests.items(), key=lambda item: (item[1].nano, item[0]))
    return Part(name, quantity.nano)


@dataclass(frozen=True, slots=True)
class FreeDevices:
    """whole: devices that nobody uses. partly: what is free of the others together, in devices. plugin: those
    of the whole ones that a device plugin hands out."""

    whole: float
    partly: float
    plugin: float


class DeviceRoom:
    """Free accelerators by node number; looked at anew for nodes that changed."""

    def __init__(self, fleet: Fleet, usage: Usage, table: NodeTable) -> None:
        self._fleet = fleet
        self._usage = usage
        self._table = table
        self._seen = len(table.changes)
        self._known: dict[int, FreeDevices] = {}

    def free(self, number: int) -> FreeDevices:
        changes = self._table.changes
        if self._seen < len(changes):
            for changed in changes[self._seen :]:
                self._known.pop(changed, None)
            self._seen = len(changes)
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._look(number)
        return found

    def devices(self, number: int) -> float:
        """What is free of a node's accelerators in all, those left out that a device plugin hands out."""
        free = self.free(number)
        return free.whole + free.partly - free.plugin

    def most(self, number: int) -> int:
        """How many devices a node's pools hold: whole ones and physical ones behind counter sets."""
        name = self._table.names[number]
        found = 0
        for pool in self._fleet.local_pools(name):
            devices = pool.local.get(name, 0)
            found += (devices & ~pool.drawing).bit_count()
            found += sum(1 for members_of_set in pool.set_members if members_of_set & devices)
        return found

    def fullness(self, number: int) -> float:
        """From 0 to 1, best fit for whole devices: the fewer idle devices the higher; of equal ones the node
        with fewer parts left, then that with less CPU and memory left."""
        return 1 - self._emptiness(number)

    def fullness_for(self, number: int, part: Part) -> float:
        """From 0 to 1, best fit for a part: the device in use whose rest is nearest above the part, before an
        idle one; of equal ones by `fullness`."""
        name = self._table.names[number]
        tightest = 2.0
        for pool in self._fleet.local_pools(name):
            usage = self._usage.of_pool(pool)
            for index in members(pool.local.get(name, 0) & usage.shared & ~usage.taken):
                capacity = pool.devices[index].capacity.get(part.capacity)
                if capacity is None or not capacity.value.nano:
                    continue
                consumed = usage.consumed.get(index, {}).get(part.capacity, 0)
                rest = capacity.value.nano - consumed - part.amount
                if rest >= 0:
                    tightest = min(tightest, rest / capacity.value.nano)
        return 1 - (tightest + self._emptiness(number) / _WEIGHT) / 3

    def _emptiness(self, number: int) -> float:
        """Idle devices, then parts, then CPU and memory in one number below 1, each a tie-break for those
        before it: _WEIGHT times finer, with at most _WEIGHT devices on a node."""
        free = self.free(number)
        cpu, memory = self._tightness(number)
        rest = (min(free.partly, _WEIGHT - 1) + (cpu + memory / _WEIGHT) / 2) / _WEIGHT
        return (min(free.whole, _WEIGHT - 1) + rest) / _WEIGHT

    def _tightness(self, number: int) -> tuple[float, float]:
        whole, free = self._table.whole[number], self._table.free[number]
        cpu, memory = whole.get(CPU, 0), whole.get(MEMORY, 0)
        return (
            free.get(CPU, 0) / cpu if cpu else 0.0,
            free.get(MEMORY, 0) / memory if memory else 0.0,
        )

    def _look(self, number: int) -> FreeDevices:
        name = self._table.names[number]
        whole, partly = 0.0, 0.0
        for pool in self._fleet.local_pools(name):
            if pool.problem:
                continue
            usage = self._usage.of_pool(pool)
            devices = pool.local.get(name, 0) & ~pool.drawing
            whole += (devices & ~usage.taken & ~usage.shared).bit_count()
            for index in members(devices & usage.shared & ~usage.taken):
                partly += rest_of_share(pool, usage, index)
            idle, started = _free_of_counter_sets(pool, usage, pool.local.get(name, 0))
            whole += idle
            partly += started
        plugin = float(extended_devices(self._table.free[number], self._table.nodes[number]))
        return FreeDevices(whole + plugin, partly, plugin)


def rest_of_share(pool: Pool, usage: PoolUsage, index: int) -> float:
    """The free part of a shared device: of its scarcest capacity."""
    consumed = usage.consumed.get(index, {})
    rest = 1.0
    for name, capacity in pool.devices[index].capacity.items():
        if capacity.value.nano:
            rest = min(rest, 1 - consumed.get(name, 0) / capacity.value.nano)
    return max(0.0, rest)


def _free_of_counter_sets(pool: Pool, usage: PoolUsage, devices: int) -> tuple[float, float]:
    """Physical devices behind counter sets that are idle, and the free parts of those in use."""
    idle, partly = 0.0, 0.0
    for members_of_set, (start, end) in zip(pool.set_members, pool.set_spans, strict=True):
        if not members_of_set & devices:
            continue
        rest = min(
            (
                usage.remaining[counter] / pool.counters[counter]
                for counter in range(start, end)
                if pool.counters[counter]
            ),
            default=1.0,
        )
        if rest >= 1.0:
            idle += 1
        else:
            partly += max(0.0, rest)
    return idle, partly
