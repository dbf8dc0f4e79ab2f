"""Usage and waste of a whole cluster over a time: by device, workload, queue, team and node, and
altogether."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.model.meta import ObjectRef
from aliquot.usage.joining import Usage
from aliquot.usage.matching import Device
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.provenance import Provenance, weakest
from aliquot.usage.series import Owner, Series, Subject
from aliquot.usage.sharing import Tenure
from aliquot.usage.utilisation import Share, share_of_devices, shares_by
from aliquot.usage.waste import BoardUse, Thresholds, Waste, board_uses, by_state


@dataclass(frozen=True, slots=True)
class Group:
    """Some owners, or a node: their share, and how many of the devices that they hold are in which state.

    devices: there are, of a node; held, of others. queue: of a workload.
    """

    name: str
    share: Share
    states: Mapping[Waste, Fraction]
    devices: Fraction
    queue: str = ""
    workload: ObjectRef | None = None

    @property
    def wasted(self) -> Fraction:
        """Devices that it holds and does not use, or hardly."""
        return self.states.get(Waste.IDLE, Fraction(0)) + self.states.get(Waste.INEFFICIENT, Fraction(0))


@dataclass(frozen=True, slots=True)
class Overview:
    """start, end: the window, ms; `end` is now. boards: all devices. fleet: all of them as one group."""

    start: int
    end: int
    boards: tuple[BoardUse, ...]
    workloads: tuple[Group, ...]
    queues: tuple[Group, ...]
    teams: tuple[Group, ...]
    nodes: tuple[Group, ...]
    fleet: Group

    @property
    def capacity(self) -> Fraction:
        """Device-milliseconds that there were."""
        return self.fleet.devices * (self.end - self.start)

    @property
    def utilisation(self) -> Fraction:
        """Device-time at work of all device-time; time without samples counts as not at work."""
        return min(self.fleet.share.used / self.capacity, Fraction(1)) if self.capacity else Fraction(0)

    @property
    def utilisation_of_held(self) -> Fraction | None:
        """Device-time at work of the device-time that is held and measured; None where nothing is."""
        measured = sum((group.share.measured for group in self.workloads), Fraction(0))
        used = sum((group.share.used for group in self.workloads), Fraction(0))
        return min(used / measured, Fraction(1)) if measured else None

    @property
    def held_provenance(self) -> Provenance:
        """How well `utilisation_of_held` is known."""
        return weakest(group.share.provenance for group in self.workloads if group.share.measured)

    @property
    def stranded(self) -> Fraction:
        """How many devices are free and could be given to nobody, parts as fractions."""
        return sum((item.board.free for item in self.boards if item.board.stranded), Fraction(0))

    @property
    def coverage(self) -> Fraction:
        """The part of all device-time for which there are samples."""
        return min(self.fleet.share.measured / self.capacity, Fraction(1)) if self.capacity else Fraction(0)


def overview(
    devices: Sequence[Device],
    tenures: Sequence[Tenure],
    usage: Usage,
    start: int,
    end: int,
    *,
    team: Callable[[Owner], str] = lambda owner: "",
    thresholds: Thresholds | None = None,
    stranded: Mapping[Subject, str] | None = None,
) -> Overview:
    """Everything about the time from `start` to `end` (ms). stranded: why what is free could go to nobody."""
    limits = thresholds or Thresholds()
    boards = board_uses(devices, tenures, usage, start, end, thresholds=limits, stranded=stranded)
    sizes = {item.subject: item.share for item in devices}

    def groups(key: Callable[[Owner], str | None]) -> tuple[Group, ...]:
        found = shares_by(key, usage.held, tenures, sizes, start, end, idle=limits.idle)
        states = _states(boards, tenures, end, key)
        return tuple(
            Group(name, found[name], states.get(name, {}), found[name].allocated) for name in sorted(found)
        )

    nodes: dict[str, list[BoardUse]] = {}
    for board in boards:
        nodes.setdefault(board.board.subject.node, []).append(board)
    return Overview(
        start,
        end,
        boards,
        _workloads(boards, usage, tenures, sizes, start, end, limits),
        groups(lambda owner: owner.queue),
        groups(team),
        tuple(_node(name, own, usage, start, end, limits) for name, own in nodes.items()),
        _node("", boards, usage, start, end, limits),
    )


def _workloads(
    boards: Sequence[BoardUse],
    usage: Usage,
    tenures: Sequence[Tenure],
    sizes: Mapping[Subject, Fraction],
    start: int,
    end: int,
    limits: Thresholds,
) -> tuple[Group, ...]:
    def key(owner: Owner) -> ObjectRef | None:
        return owner.workload or owner.pod or owner.claim

    queues: dict[ObjectRef, str] = {}
    for owner in [item.owner for item in tenures] + [item.owner for item in usage.held]:
        ref = key(owner)
        if ref is not None:
            queues[ref] = queues.get(ref) or owner.queue
    found = shares_by(key, usage.held, tenures, sizes, start, end, idle=limits.idle)
    states = _states(boards, tenures, end, key)
    return tuple(
        Group(
            f"{ref.kind.lower()}/{ref.name}",
            share,
            states.get(ref, {}),
            share.allocated,
            queues.get(ref, ""),
            ref,
        )
        for ref, share in sorted(found.items(), key=lambda item: (item[0].namespace, item[0].name))
    )


def _states(
    boards: Sequence[BoardUse],
    tenures: Sequence[Tenure],
    end: int,
    key: Callable[[Owner], object],
) -> Mapping[object, Mapping[Waste, Fraction]]:
    """How much of what each group holds now is in which state: each holder has its share of the unit's."""
    state_of = {unit.subject: unit.state for board in boards for unit in board.units}
    found: dict[object, dict[Waste, Fraction]] = {}
    for tenure in tenures:
        if tenure.admin or tenure.start > end or (tenure.end is not None and tenure.end <= end):
            continue
        state = state_of.get(tenure.subject)
        group = key(tenure.owner)
        if state is not None and group is not None:
            own = found.setdefault(group, {})
            own[state] = own.get(state, Fraction(0)) + tenure.share
    return found


def _node(
    name: str, boards: Sequence[BoardUse], usage: Usage, start: int, end: int, limits: Thresholds
) -> Group:
    measured: list[tuple[Series, Fraction]] = []
    memory: list[Series] = []
    held = Fraction(0)
    for item in boards:
        held += item.board.held
        own = _busy_of(item, usage)
        measured.extend(own)
        for unit in item.units:
            found = usage.of(unit.subject, Metric.MEMORY_USED)
            if found is not None:
                memory.append(found)
    share = share_of_devices(measured, memory, start, end, idle=limits.idle)
    share = Share(
        allocated=held,
        held=held * (end - start),
        measured=share.measured,
        used=share.used,
        memory_peak=share.memory_peak,
        last_work=share.last_work,
        provenance=share.provenance,
        rule=share.rule,
        devices=len(boards),
    )
    size = sum((item.board.share for item in boards), Fraction(0))
    return Group(name, share, by_state(boards), size)


def _busy_of(item: BoardUse, usage: Usage) -> list[tuple[Series, Fraction]]:
    """The busy series of a board: its own, or those of its parts with their sizes."""
    own = usage.of(item.board.subject, *BUSY)
    if own is not None:
        return [(own, item.board.share)]
    found = []
    for unit in item.parts:
        series = usage.of(unit.subject, *BUSY)
        if series is not None:
            found.append((series, unit.share))
    return found
