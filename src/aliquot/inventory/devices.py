"""Every physical device with its parts, who holds them, and how much of it is allocated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from aliquot.inventory import legacy
from aliquot.inventory.layout import Board, Layout, Part, place
from aliquot.inventory.owners import Owners
from aliquot.model.core import Node, Pod
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import DeviceRequestAllocationResult, ResourceClaim
from aliquot.model.snapshot import Snapshot

WHOLE = Fraction(1)

EXCLUSIVE = "exclusive"
MIG = "mig"
PARTITIONED = "partitioned"
TIME_SLICING = "time-slicing"
MPS = "mps"
CONSUMABLE = "consumable"
SHARED = "shared"
VGPU = "vgpu"
VFIO = "vfio"
DEVICE_PLUGIN = "device-plugin"

_STRATEGIES = {"TimeSlicing": TIME_SLICING, "MPS": MPS}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a part. share: of the board; pods: those that use it; admin: looks on and takes nothing."""

    claim: ObjectRef | None
    share: Fraction
    pods: tuple[ObjectRef, ...]
    workload: ObjectRef | None
    queue: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class PartState:
    part: Part
    holders: tuple[Holder, ...]

    @property
    def held(self) -> bool:
        return any(not holder.admin for holder in self.holders)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A board as it is now.

    mode: how it is shared in fact, or would be if it were taken as a whole. allocated: the part of it that is
    held. parts: those that are held, and of the others those that exist side by side; of alternatives (a GPU
    that can be whole or be split) that are all free, only the whole. problem: why nothing of it can be
    allocated now, "" if it can.
    """

    board: Board
    mode: str
    allocated: Fraction
    parts: tuple[PartState, ...]
    problem: str = ""

    @property
    def free(self) -> Fraction:
        return WHOLE - self.allocated

    @property
    def holders(self) -> tuple[Holder, ...]:
        return tuple(holder for state in self.parts for holder in state.holders)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Devices of several boards: how many there are, how many of them can be used, and how much is held."""

    total: int = 0
    usable: int = 0
    allocated: Fraction = Fraction(0)

    @property
    def free(self) -> Fraction:
        return Fraction(self.usable) - self.allocated

    @staticmethod
    def of(states: Iterable[DeviceState]) -> "Amounts":
        """Accelerators only: channels and network interfaces are devices, but nobody counts them."""
        total = usable = whole = 0
        parts = Fraction(0)
        for state in states:
            if state.board.accelerator:
                total += 1
                # What is held of a device that has become unusable is still held.
                usable += not state.problem or bool(state.allocated)
                # Whole devices are added as integers: most are, and fractions are slow.
                if state.allocated.denominator == 1:
                    whole += state.allocated.numerator
                else:
                    parts += state.allocated
        return Amounts(total, usable, whole + parts)


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """All devices in the order of the layout. sources: what each state was made from, by board."""

    devices: tuple[DeviceState, ...]
    sources: Mapping[tuple[str, str, str], tuple[object, DeviceState]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def total(self) -> Amounts:
        return Amounts.of(self.devices)

    def by_node(self) -> Mapping[str, tuple[DeviceState, ...]]:
        """Devices by node, those of several nodes under ""."""
        found: dict[str, list[DeviceState]] = {}
        for state in self.devices:
            found.setdefault(state.board.node, []).append(state)
        return {node: tuple(states) for node, states in found.items()}


Holding = tuple[ResourceClaim, DeviceRequestAllocationResult]


def device_table(
    snapshot: Snapshot,
    layout: Layout,
    owners: Owners,
    plugins: Mapping[str, tuple[Board, ...]],
    previous: DeviceTable | None = None,
) -> DeviceTable:
    """The state of every board: those of the layout, and by node those that device plugins advertise.

    previous: an earlier table, whose states of boards with the same claims are taken over; the objects that
    it was made from must still be there.
    """
    holdings: dict[tuple[str, str, str], list[Holding]] = {}
    for claim in snapshot.resource_claims:
        if claim.status.allocation is not None:
            for result in claim.status.allocation.devices.results:
                found = layout.find(result.driver, result.pool, result.device)
                if found is not None:
                    holdings.setdefault(found[0].key, []).append((claim, result))
    nodes = {node.name: node for node in snapshot.nodes}
    known = previous.sources if previous is not None else {}
    sources: dict[tuple[str, str, str], tuple[object, DeviceState]] = {}
    states: list[DeviceState] = []
    for board in layout.boards:
        key = board.key
        own = holdings.get(key, ())
        problem = _node_problem(board, nodes)
        source = (problem, tuple((id(claim), *_owner(claim, owners)) for claim, _ in own))
        before = known.get(key)
        if before is not None and before[0] == source and before[1].board is board:
            state = before[1]
        else:
            state = _state(board, own, owners, problem)
        sources[key] = (source, state)
        states.append(state)
    if plugins:
        held = legacy.holders(snapshot.pods, plugins, nodes)
        states += [
            _plugin_state(board, held.get((board.node, board.name), ()), owners, nodes)
            for own in plugins.values()
            for board in own
        ]
        states.sort(key=lambda state: place(state.board))
    return DeviceTable(tuple(states), sources)


def _plugin_state(
    board: Board, held: Sequence[tuple[Pod, Fraction]], owners: Owners, nodes: Mapping[str, Node]
) -> DeviceState:
    part = board.parts[0]
    units = next(iter(part.capacities.values()), 1)
    holders = tuple(
        Holder(
            claim=None,
            share=part.share * share,
            pods=(pod.ref,),
            workload=gang.ref if gang is not None else None,
            queue=gang.queue if gang is not None else "",
        )
        for pod, share in held
        for gang in (owners.of_pod.get(pod.key),)
    )
    mode = TIME_SLICING if units > 1 else MIG if part.profile else DEVICE_PLUGIN
    if mode == DEVICE_PLUGIN and any(share < WHOLE for _, share in held):
        mode = SHARED
    allocated = min(sum((holder.share for holder in holders), Fraction(0)), WHOLE)
    return DeviceState(board, mode, allocated, (PartState(part, holders),), _node_problem(board, nodes))


def _state(board: Board, holdings: Sequence[Holding], owners: Owners, problem: str) -> DeviceState:
    if not holdings:
        return DeviceState(board, _mode(board, ()), Fraction(0), _shown(board, {}), problem)
    holders: dict[str, list[Holder]] = {}
    parts = {part.name: part for part in board.parts}
    for claim, result in holdings:
        part = parts[result.device]
        holders.setdefault(part.name, []).append(_holder(claim, result, part, board, owners))
    allocated = Fraction(0)
    for name, found in holders.items():
        taking = [holder.share for holder in found if not holder.admin]
        if taking:
            allocated += (
                min(sum(taking, Fraction(0)), parts[name].share) if parts[name].shareable else max(taking)
            )
    return DeviceState(board, _mode(board, holdings), min(allocated, WHOLE), _shown(board, holders), problem)


def _node_problem(board: Board, nodes: Mapping[str, Node]) -> str:
    if not board.node:
        return ""
    node = nodes.get(board.node)
    if node is None:
        return "NodeGone"
    if any(item.type == "Ready" and item.status != "True" for item in node.status.conditions):
        return "NodeNotReady"
    return "NodeCordoned" if node.spec.unschedulable else ""


def _holder(
    claim: ResourceClaim, result: DeviceRequestAllocationResult, part: Part, board: Board, owners: Owners
) -> Holder:
    pods = tuple(
        ObjectRef(kind="Pod", namespace=claim.namespace, name=item.name, uid=item.uid)
        for item in claim.status.reserved_for
        if item.resource == "pods" and not item.api_group
    )
    workload, queue = _owner(claim, owners)
    return Holder(
        claim=claim.ref,
        share=_share(part, result),
        pods=pods,
        workload=workload,
        queue=queue,
        admin=bool(result.admin_access),
    )


def _owner(claim: ResourceClaim, owners: Owners) -> tuple[ObjectRef | None, str]:
    """The workload of the first consumer that is there, and its queue."""
    for consumer in claim.status.reserved_for:
        gang = owners.of_pod.get((claim.metadata.namespace, consumer.name))
        if gang is not None and consumer.resource == "pods":
            return gang.ref, gang.queue
    return None, ""


def _share(part: Part, result: DeviceRequestAllocationResult) -> Fraction:
    """The largest ratio that it takes of any one capacity of its device, times the device's own share."""
    if result.share_id is None:
        return part.share
    ratios = [
        Fraction(taken.nano, part.capacities[name])
        for name, taken in result.consumed_capacity.items()
        if part.capacities.get(name)
    ]
    return part.share * min(max(ratios, default=Fraction(0)), WHOLE)


def _shown(board: Board, holders: Mapping[str, Sequence[Holder]]) -> tuple[PartState, ...]:
    side_by_side = sum((part.share for part in board.parts), Fraction(0)) <= 1
    held = tuple(
        PartState(part, tuple(holders.get(part.name, ())))
        for part in board.parts
        if side_by_side or part.name in holders
    )
    if held:
        return held
    whole = max(board.parts, key=lambda part: part.share)
    return (PartState(whole, ()),)


def _mode(board: Board, holdings: Sequence[Holding]) -> str:
    """How the board is shared: by what was allocated of it, else by what is published."""
    taken = {result.device for _, result in holdings if not result.admin_access}
    parts = [part for part in board.parts if part.name in taken] or list(board.parts[:1])
    if not taken and any(part.whole for part in board.parts):
        parts = [part for part in board.parts if part.whole]
    kinds = {part.kind for part in parts}
    if kinds == {"mig"}:
        return MIG
    if kinds == {"vfio"}:
        return VFIO
    if "vgpu" in kinds or any(part.kind == "vgpu" for part in parts):
        return VGPU
    if any(part.share < 1 for part in parts):
        return PARTITIONED
    for claim, result in holdings:
        strategy = _strategy(claim, result)
        if strategy:
            return strategy
    if any(part.shareable for part in parts):
        return CONSUMABLE
    if any(len(claim.status.reserved_for) > 1 for claim, _ in holdings):
        return SHARED
    return EXCLUSIVE


def _strategy(claim: ResourceClaim, result: DeviceRequestAllocationResult) -> str:
    """The sharing strategy that the driver was told in the allocation (NVIDIA GpuConfig, MigDeviceConfig)."""
    assert claim.status.allocation is not None
    for config in claim.status.allocation.devices.config:
        named = not config.requests or result.request in config.requests
        named = named or result.request.partition("/")[0] in config.requests
        parameters = config.opaque.parameters if config.opaque is not None else None
        if named and isinstance(parameters, dict):
            sharing = parameters.get("sharing")
            if isinstance(sharing, dict) and sharing.get("strategy") in _STRATEGIES:
                return _STRATEGIES[sharing["strategy"]]
    return ""
