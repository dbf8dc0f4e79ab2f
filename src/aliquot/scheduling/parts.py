"""Parts of devices on nodes whose device plugin hands them out whole: who shares which, with the node table.

The ledger of shared devices says when a whole device is opened for sharing and when it is given back; those
shifts are booked in the table of free amounts, so that nobody else takes the device.
"""

from collections.abc import Iterable, Sequence

from aliquot.fractions.charges import device_charge, pending_charge, smallest_memory
from aliquot.fractions.devices import NodeDevices, node_devices
from aliquot.fractions.groups import places
from aliquot.fractions.ledger import DeviceLedger, Shift
from aliquot.fractions.parts import Choice, fits_later, part_on
from aliquot.fractions.refusals import NodeRules, Refusal, refusal
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind
from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.queues.amounts import Amount
from aliquot.scheduling.nodes import Demand, NodeTable
from aliquot.scheduling.policy import Policy

_THOUSAND = 1000


class PartsInUse:
    """Shared devices of all nodes, by the node's number. slotted: whether some node's plugin shares devices
    in slots, and they count as such."""

    def __init__(
        self,
        ledger: DeviceLedger,
        table: NodeTable,
        rules: NodeRules,
        order: str,
        smallest: int,
        slices: bool,
    ) -> None:
        """order: which device of a node a part is taken from. smallest: memory in MiB of the smallest device,
        by which a request for memory counts before it has a node. slices: count slices of MIG, and slots of
        shared devices, as devices."""
        self._slices = slices
        self._ledger = ledger
        self._table = table
        self._rules = rules
        self._order = order or "pack"
        self._smallest = smallest
        self._units: dict[tuple[str, int], Demand] = {}
        self._legacy: set[int] = set()
        devices = ledger.devices
        self._slots = [1 if slices else item.units for item in devices] if _any_slots(devices) else []
        self.slotted = bool(self._slots)
        self._offering: dict[str, tuple[int, ...]] = {}
        self._differ: dict[str, bool] = {}

    @staticmethod
    def of(table: NodeTable, policy: Policy) -> "PartsInUse":
        """With nothing taken yet."""
        devices = [node_devices(node) for node in table.nodes]
        smallest = policy.smallest_device_mib or smallest_memory(devices)
        rules = NodeRules(trust=policy.trust_fractions, mixed_only_mig=policy.mixed_only_mig)
        return PartsInUse(
            DeviceLedger(devices), table, rules, policy.shared_devices, smallest, policy.slices_as_devices
        )

    def occupy(self, number: int, pod: Pod, request: GpuRequest) -> None:
        """Count a pod that is on its node. Not to be undone."""
        if request.kind is Kind.LEGACY_MIG:
            self._legacy.add(number)
        found = places(pod, request, self._ledger.devices[number])
        if found:
            self._book(number, self._ledger.occupy(number, pod.key, found))

    def clear(self, number: int, pods: Iterable[Key]) -> None:
        """Nobody has parts on the node any more; pods: those that may have had. Not to be undone."""
        self._legacy.discard(number)
        self._ledger.clear(number, pods)

    def settle(self) -> None:
        """What was done up to now stays."""
        self._ledger.settle()

    def let_leave(self, number: int, pod: Key) -> None:
        """Count a pod that is being deleted. Not to be undone."""
        if self._ledger.held(number, pod) is not None:
            self.leave(number, pod)

    def suits(self, number: int, request: GpuRequest) -> bool:
        """Whether the node takes such a request at all."""
        return self.refusal(number, request) is None

    def takes(self, number: int, request: GpuRequest) -> bool:
        """Whether the node would take such a request if it were empty."""
        return refusal(request, self._ledger.devices[number], self._rules, legacy_mig=False) is None

    def refusal(self, number: int, request: GpuRequest) -> Refusal | None:
        """Why the node does not take such a request, whatever is free."""
        return refusal(request, self._ledger.devices[number], self._rules, legacy_mig=number in self._legacy)

    def choose(self, number: int, request: GpuRequest, *, now: bool, later: bool) -> Choice | None:
        """The devices of a node for a request for parts. now: those free today will do; later: those too that
        are free once something has left."""
        idle, idle_later = self._idle(number)
        if not now:
            idle = 0
        found = self._ledger.options(number, request, idle, idle_later, later=later, order=self._order)
        if found is not None and found.now and not now:
            return Choice(found.joined, found.fresh, found.part, False)
        return found

    def fits_now(self, number: int, request: GpuRequest) -> bool:
        """Whether the request has room on the node today."""
        found = self.choose(number, request, now=True, later=False)
        return found is not None and found.now

    def fits_later(self, number: int, request: GpuRequest) -> bool:
        """Whether the request has room on the node, today or later."""
        return self.choose(number, request, now=True, later=True) is not None

    def joins(self, number: int, request: GpuRequest | None) -> bool:
        """Whether a device that is shared already has room for the request."""
        return self._ledger.fits_shared(number, request)

    def free(self, number: int) -> float:
        """What is left in shared devices of the node later, in devices."""
        return self._ledger.spare(number, later=True) / WHOLE

    def whole(self, number: int) -> int:
        """How many devices the node has."""
        return self._ledger.devices[number].count

    def left(self, number: int) -> list[int]:
        """What is left of each device of the node later, in thousandths; those with nothing left out."""
        devices = self._ledger.devices[number]
        groups = self._ledger.groups(number).values()
        shared = [
            max(0, devices.capacity - group.later) * _THOUSAND // devices.capacity
            for group in groups
            if group.pods_later
        ]
        return [_THOUSAND] * max(0, self._idle(number)[1]) + [rest for rest in shared if rest]

    def memory(self, number: int) -> int:
        """Memory in MiB of each device of the node, as far as it is known."""
        return self._ledger.devices[number].memory_mib or 0

    def rooms(self, number: int, request: GpuRequest) -> int:
        """How many devices that are shared already have room for a part of the request later."""
        devices = self._ledger.devices[number]
        part = part_on(request, devices)
        return sum(fits_later(group, part, devices) for group in self._ledger.groups(number).values())

    def charge(self, number: int, request: GpuRequest) -> Amount:
        """What the request counts for on the node, in billionths of an accelerator."""
        return device_charge(request, self._ledger.devices[number], slices_as_devices=self._slices)

    def wanted(self, request: GpuRequest, numbers: Sequence[int] | None = None) -> Amount:
        """What the request counts for before it has a node, in billionths of an accelerator. numbers: the
        nodes that it could have, None for any: it counts as on that of them where it counts most."""
        slots = 1
        if self._slots and request.kind is Kind.WHOLE:
            found = self.offering(request.resource) if numbers is None else numbers
            slots = min((self._slots[number] for number in found), default=1)
        return pending_charge(request, self._smallest, slices_as_devices=self._slices, slots=slots)

    def slots(self, number: int) -> int:
        """How many slots a device of the node has; 1 where devices are handed out whole."""
        return self._slots[number] if self._slots else 1

    def slots_differ(self, resource: str) -> bool:
        """Whether a unit of the resource is more on one node than on another. "": of any."""
        known = self._differ.get(resource)
        if known is None:
            found = {self.slots(number) for number in self.offering(resource)}
            known = self._differ[resource] = len(found) > 1
        return known

    def offering(self, resource: str) -> tuple[int, ...]:
        """The nodes whose device plugin offers the resource. "": any."""
        found = self._offering.get(resource)
        if found is None:
            every = enumerate(self._ledger.devices)
            found = self._offering[resource] = tuple(
                number for number, item in every if item.count and (not resource or item.resource == resource)
            )
        return found

    def groups(self, number: int, pod: Key) -> tuple[str, ...]:
        """The shared devices that a pod on the node has parts of."""
        held = self._ledger.held(number, pod)
        return () if held is None else held.groups

    def take(self, number: int, choice: Choice, pod: Key, *, promised: bool) -> tuple[str, ...]:
        """Give the pod the chosen devices, or promise them; gives their names."""
        idle = self._idle(number)[1]
        holding, shift = self._ledger.take(number, choice, pod, promised=promised, idle=idle)
        self._book(number, shift)
        return holding.groups

    def defer(self, number: int, pod: Key) -> None:
        """Turn what the pod was given into a promise of the same."""
        holding = self._ledger.held(number, pod)
        assert holding is not None
        part = holding.places[0][1]
        self._book(number, self._ledger.finish(number, pod))
        choice = Choice(holding.groups, 0, part, False)
        _, shift = self._ledger.take(number, choice, pod, promised=True)
        self._book(number, shift)

    def leave(self, number: int, pod: Key) -> None:
        """The pod's parts are free later."""
        self._book(number, self._ledger.leave(number, pod))

    def finish(self, number: int, pod: Key) -> None:
        """The pod has nothing on the node any more."""
        self._book(number, self._ledger.finish(number, pod))

    def forgo(self, number: int, pod: Key) -> None:
        """What the pod was promised is free later. Devices that nobody else was promised a part of do not
        count as idle: see `ClusterState.evict`."""
        opened = self._ledger.forgo(number, pod).later
        self._book(number, Shift(-opened, opened))

    def may_stay(self, number: int, pod: Key) -> bool:
        """Whether what the pod had is still there for it."""
        return self._ledger.may_stay(number, pod, self._idle(number)[1])

    def stay(self, number: int, pod: Key) -> None:
        """The pod keeps what it had."""
        self._book(number, self._ledger.stay(number, pod))

    def mark(self) -> int:
        return self._ledger.mark()

    def undo(self, mark: int) -> None:
        """Take back everything since the mark; the table takes back the shifts with its own changes."""
        self._ledger.undo(mark)

    def _idle(self, number: int) -> tuple[int, int]:
        """Whole idle devices of the node, today and later."""
        devices = self._ledger.devices[number]
        if not devices.resource:
            return 0, 0
        now = self._table.free[number].get(devices.resource, 0) // devices.units
        return now, self._table.later(number, devices.resource) // devices.units

    def _book(self, number: int, shift: Shift) -> None:
        if shift.now or shift.later:
            devices = self._ledger.devices[number]
            self._table.shift(number, self._unit(devices), shift.now, shift.later - shift.now)

    def _unit(self, devices: NodeDevices) -> Demand:
        key = (devices.resource, devices.units)
        found = self._units.get(key)
        if found is None:
            found = self._units[key] = Demand({}, ((devices.resource, devices.units),), ())
        return found


def _any_slots(devices: Iterable[NodeDevices]) -> bool:
    return any(item.units > 1 for item in devices)
