"""Machines that fail and come back, and spot nodes that are reclaimed."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from aliquot.cel.quantity import Quantity
from aliquot.fractions.resources import WHOLE_DEVICES
from aliquot.model.core import Node, Pod
from aliquot.model.meta import Condition
from aliquot.model.resource import Device, DeviceTaint, ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.policy import NO_ACCELERATORS
from aliquot.simulation import draws
from aliquot.simulation.agenda import MachineFails, MachineReturns, SpotGone
from aliquot.simulation.rates import in_order, is_spot, takes_work
from aliquot.simulation.results import Cause
from aliquot.simulation.settings import HOUR
from aliquot.simulation.world import World

NODE, DEVICE, SPOT = "node", "device", "spot"

FAILED = DeviceTaint(key="aliquot.dev/failed", effect="NoSchedule")
"""What a device carries that is out of order."""


class Condemned(msgspec.Struct):
    """What is out of order: nodes that failed, spot nodes that are leaving and that are gone, and devices by
    node."""

    failed: set[str] = set()
    leaving: set[str] = set()
    gone: set[str] = set()
    devices: dict[str, set[str]] = {}


class Machines:
    """The nodes as they were in the beginning, and what has become of them."""

    def __init__(self, world: World, snapshot: Snapshot) -> None:
        self._world = world
        self._nodes = {node.name: node for node in snapshot.nodes}
        self._slices: dict[str, list[ResourceSlice]] = {}
        for item in snapshot.resource_slices:
            if item.spec.node_name:
                self._slices.setdefault(item.spec.node_name, []).append(item)
        self._names = sorted(self._nodes)
        self._spot = [name for name in self._names if is_spot(self._nodes[name])]
        self._devices = [
            (name, device) for name in self._names for device in _devices(self._nodes[name], self._of(name))
        ]
        self.condemned = Condemned()

    def _of(self, node: str) -> list[ResourceSlice]:
        return self._slices.get(node, [])

    def begin(self) -> None:
        """Foretell the first failure of each kind."""
        for kind in (NODE, DEVICE, SPOT):
            self._foretell(kind, 0)

    def _foretell(self, kind: str, draw: int) -> None:
        failures = self._world.settings.failures
        hours, number = {
            NODE: (failures.node_hours, len(self._names)),
            DEVICE: (failures.device_hours, len(self._devices)),
            SPOT: (failures.spot_hours, len(self._spot)),
        }[kind]
        if hours > 0 and number:
            # Failures of all machines together come as often as there are machines.
            mean = hours * HOUR / number
            wait = draws.exponential(self._world.settings.seed, f"{kind} fails", draw, mean)
            self._world.agenda.add(self._world.now + wait, MachineFails(kind, draw))

    def happens(self, event: MachineFails | MachineReturns | SpotGone) -> None:
        """Carry out what the agenda says about machines."""
        if isinstance(event, MachineFails):
            self._fails(event)
        elif isinstance(event, MachineReturns):
            self._returns(event)
        else:
            self._spot_gone(event)

    def _fails(self, event: MachineFails) -> None:
        """One machine of a kind fails, drawn evenly; one that is out of order already stays so."""
        seed, draw = self._world.settings.seed, event.draw
        failures = self._world.settings.failures
        stream = f"{event.kind} which"
        if event.kind == NODE:
            name = self._names[draws.below(seed, stream, draw, len(self._names))]
            back = draws.exponential(seed, "node back", draw, failures.node_repair_seconds)
            self._fail_node(name, back)
        elif event.kind == DEVICE:
            node, device = self._devices[draws.below(seed, stream, draw, len(self._devices))]
            back = draws.exponential(seed, "device back", draw, failures.device_repair_seconds)
            self._fail_device(node, device, back)
        else:
            name = self._spot[draws.below(seed, stream, draw, len(self._spot))]
            back = draws.exponential(seed, "spot back", draw, failures.spot_return_seconds)
            self._reclaim(name, back)
        self._foretell(event.kind, draw + 1)

    def _fail_node(self, name: str, back: int) -> None:
        if name in self.condemned.failed or name in self.condemned.gone:
            return
        self.condemned.failed.add(name)
        self._show(name)
        self._lose(name, self._world.on_node.get(name, ()), Cause.NODE_FAILED, 0)
        self._world.agenda.add(self._world.now + back, MachineReturns(name))

    def _reclaim(self, name: str, back: int) -> None:
        condemned = self.condemned
        if name in condemned.leaving or name in condemned.gone or name in condemned.failed:
            return
        condemned.leaving.add(name)
        self._show(name)
        warning = self._world.settings.failures.spot_warning_seconds
        self._lose(name, self._world.on_node.get(name, ()), Cause.SPOT_RECLAIMED, warning)
        self._world.agenda.add(self._world.now + warning, SpotGone(name, back))

    def _spot_gone(self, event: SpotGone) -> None:
        """A spot node is gone, and everybody who is still on it."""
        condemned = self.condemned
        condemned.leaving.discard(event.node)
        condemned.gone.add(event.node)
        self._lose(event.node, self._world.on_node.get(event.node, ()), Cause.SPOT_RECLAIMED, 0)
        self._world.clear(event.node)
        self._show(event.node)
        self._world.agenda.add(self._world.now + max(1, event.back), MachineReturns(event.node))

    def _fail_device(self, node: str, device: str, back: int) -> None:
        condemned = self.condemned
        broken = condemned.devices.setdefault(node, set())
        if device in broken or node in condemned.failed or node in condemned.gone:
            return
        holders = self._holders(node, device)
        broken.add(device)
        self._show(node)
        self._lose(node, holders, Cause.DEVICE_FAILED, 0)
        self._world.agenda.add(self._world.now + back, MachineReturns(node, device))

    def _holders(self, node: str, device: str) -> list[tuple[str, str]]:
        """The pods on a node that use a device. Of a device plugin's devices, which a cluster does not tell,
        pods are taken to have theirs in the order of their names."""
        world = self._world
        found = []
        used = len(self.condemned.devices.get(node, ()))
        for key in sorted(world.on_node.get(node, ())):
            pod = world.cluster.pods.get(key)
            if pod is None:
                continue
            if device.isdigit():
                before = used
                used += -(-world.standings[world.owners[key]].members[pod.name].devices // UNIT)
                if before <= int(device) < used:
                    found.append(key)
            elif self._has(pod, device):
                found.append(key)
        return found

    def _has(self, pod: Pod, device: str) -> bool:
        for key in claim_keys(pod):
            claim = self._world.cluster.claims.get(key)
            allocation = claim.status.allocation if claim is not None else None
            if allocation is not None and any(
                f"{item.driver}/{item.pool}/{item.device}" == device for item in allocation.devices.results
            ):
                return True
        return False

    def _lose(self, node: str, keys: Iterable[tuple[str, str]], cause: Cause, grace: int) -> None:
        """The pods lose their places; those that leave already are gone with the machine."""
        by_workload: dict[int, list[str]] = {}
        for key in sorted(keys):
            by_workload.setdefault(self._world.owners[key], []).append(key[1])
        for number in sorted(by_workload):
            self._world.interrupt(number, by_workload[number], cause, grace)
        if not grace and cause is not Cause.DEVICE_FAILED:
            self._world.clear(node)

    def _returns(self, event: MachineReturns) -> None:
        """A node or a device is in order again."""
        if event.device:
            self.condemned.devices.get(event.node, set()).discard(event.device)
        else:
            self.condemned.failed.discard(event.node)
            self.condemned.gone.discard(event.node)
        self._show(event.node)

    def _show(self, name: str) -> None:
        """Write into the cluster what has become of a node."""
        world, condemned = self._world, self.condemned
        original = self._nodes[name]
        broken = condemned.devices.get(name, set())
        plugin = sum(1 for device in broken if device.isdigit())
        node = original if not plugin else _with_fewer(original, plugin)
        if name in condemned.failed or name in condemned.gone:
            node = _not_ready(node)
        elif name in condemned.leaving:
            node = replace(node, spec=replace(node.spec, unschedulable=True))
        world.cluster.nodes.put(node)
        for item in self._of(name):
            world.cluster.slices.put(_with_taints(item, broken) if broken else item)
        machine = world.meter.machines[name]
        rates = replace(machine.rates, devices=self._whole(name) - len(broken) * UNIT)
        world.meter.change(name, replace(machine, rates=rates, ready=in_order(node)))
        world.meter.spare.opened(name, takes_work(node))

    def _whole(self, name: str) -> int:
        return self._world.whole[name]


def _devices(node: Node, slices: list[ResourceSlice]) -> Iterable[str]:
    """The devices of a node: "driver/pool/device", or plain numbers for those of a device plugin."""
    named = [
        f"{item.spec.driver}/{item.spec.pool.name}/{device.name}"
        for item in slices
        if item.spec.driver not in NO_ACCELERATORS
        for device in item.spec.devices
        if not device.consumes_counters
    ]
    if named:
        return named
    whole = sum(
        int(amount.value()) for name, amount in node.status.allocatable.items() if WHOLE_DEVICES.match(name)
    )
    return [str(number) for number in range(whole)]


def _with_fewer(node: Node, broken: int) -> Node:
    allocatable = {
        name: Quantity.of(max(0, int(amount.value()) - broken)) if WHOLE_DEVICES.match(name) else amount
        for name, amount in node.status.allocatable.items()
    }
    return replace(node, status=replace(node.status, allocatable=allocatable))


def _not_ready(node: Node) -> Node:
    kept = tuple(item for item in node.status.conditions if item.type != "Ready")
    condition = Condition(type="Ready", status="False", reason="Failed")
    return replace(node, status=replace(node.status, conditions=(*kept, condition)))


def _with_taints(item: ResourceSlice, broken: set[str]) -> ResourceSlice:
    def shown(device: Device) -> Device:
        name = f"{item.spec.driver}/{item.spec.pool.name}/{device.name}"
        return replace(device, taints=(*device.taints, FAILED)) if name in broken else device

    devices = tuple(shown(device) for device in item.spec.devices)
    return replace(item, spec=replace(item.spec, devices=devices))
