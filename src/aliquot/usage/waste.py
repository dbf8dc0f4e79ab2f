"""Where devices are wasted: by NVIDIA's four kinds, for each device and each part that is used by itself.

NVIDIA's taxonomy of waste in GPU clusters (developer.nvidia.com, 2025): hardware that is broken, hardware
that is healthy and not occupied, hardware that is occupied and idle, and hardware that is occupied and used
inefficiently. What is none of these is productive, and what nobody measures is unknown, which is neither.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.usage.joining import Usage
from aliquot.usage.matching import UNMATCHED_INSTANCE, Device
from aliquot.usage.metrics import BUSY, WHOLE_PPM, Metric
from aliquot.usage.provenance import Known, Provenance
from aliquot.usage.series import Owner, Series, Subject
from aliquot.usage.sharing import Tenure

WEIGHTED = "the busy shares of its parts weighted by their size"
KERNELS = "time with any kernel running; how many SMs were at work is not measured"


class Waste(enum.StrEnum):
    """What a device or part is doing, the most wasteful first."""

    BROKEN = "broken"
    UNOCCUPIED = "unoccupied"
    IDLE = "idle"
    """Occupied, but nothing has run on it for a while."""
    INEFFICIENT = "inefficient"
    """Occupied and at work, for little of its time and with little of its memory's bandwidth."""
    PRODUCTIVE = "productive"
    UNKNOWN = "unknown"
    """Occupied, and no exporter says how it is used."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """idle: busy for no more than this (ppm), for idle_after ms, is idle. inefficient: on average less busy
    than this (ppm), and less than this of the memory's bandwidth, is inefficient. stale: a device whose last
    sample is older than this, ms, is unknown."""

    idle: int = WHOLE_PPM // 100
    idle_after: int = 600_000
    inefficient: int = WHOLE_PPM * 30 // 100
    stale: int = 300_000


@dataclass(frozen=True, slots=True)
class UnitUse:
    """How a device, or a part that is held by itself, was used in a time.

    share: of its board. held: how much of it is held now, as a share of the board; owners: by whom. busy,
    tensor, dram: averages in ppm; busy_metric: which metric busy is. memory_peak: bytes; memory: bytes there
    are, None if not known. power: average, mW. idle_since: ms, None while it is at work or not known;
    idle_longer: it was idle all the time looked at, and may have been before. stranded: why what is free of
    it can be given to nobody, "" if it could. why: of the state, in a few words.
    xid: the last XID error in this time, 0 for none.
    """

    subject: Subject
    product: str
    mode: str
    share: Fraction
    held: Fraction
    owners: tuple[Owner, ...]
    state: Waste
    why: str
    busy: Known[int]
    busy_metric: Metric | None
    tensor: Known[int]
    dram: Known[int]
    memory_peak: Known[int]
    memory: int | None
    power: Known[int]
    idle_since: int | None = None
    idle_longer: bool = False
    stranded: str = ""
    xid: int = 0

    @property
    def free(self) -> Fraction:
        return self.share - self.held


@dataclass(frozen=True, slots=True)
class BoardUse:
    """A board, and the parts of it that are used by themselves (none where it is used as a whole)."""

    board: UnitUse
    parts: tuple[UnitUse, ...] = ()

    @property
    def units(self) -> tuple[UnitUse, ...]:
        """What is judged by itself."""
        return self.parts or (self.board,)


def board_uses(
    devices: Sequence[Device],
    tenures: Sequence[Tenure],
    usage: Usage,
    start: int,
    end: int,
    *,
    thresholds: Thresholds | None = None,
    stranded: Mapping[Subject, str] | None = None,
) -> tuple[BoardUse, ...]:
    """Every board, in the order of `devices`, as it was used from `start` to `end` (ms); `end` is now."""
    limits = thresholds or Thresholds()
    reasons = stranded or {}
    current: dict[Subject, list[Tenure]] = {}
    for tenure in tenures:
        if not tenure.admin and tenure.start <= end and (tenure.end is None or tenure.end > end):
            current.setdefault(tenure.subject, []).append(tenure)
    boards: dict[tuple[str, str, str, str], list[Device]] = {}
    for device in devices:
        boards.setdefault((device.subject.node, *device.subject.board), []).append(device)
    unplaced = {place.whole for place in usage.devices if place.part.startswith(UNMATCHED_INSTANCE)}
    found = []
    for own in boards.values():
        whole = next((item for item in own if not item.subject.part), own[0])
        held_parts = [item for item in own if item.subject.part and item.subject in current]
        split = bool(held_parts) or (whole.mode == "mig" and len(own) > 1)
        board = _unit(whole, current, usage, start, end, limits, reasons)
        if not split:
            found.append(BoardUse(board))
            continue
        static = _side_by_side(own)
        shown = static or held_parts
        parts = tuple(_unit(item, current, usage, start, end, limits, reasons) for item in shown)
        found.append(BoardUse(_of_parts(board, parts, whole.subject in unplaced), parts))
    return tuple(found)


def _side_by_side(own: Sequence[Device]) -> list[Device]:
    """The parts of a board that all exist at once; none where they are alternatives of each other."""
    parts = [item for item in own if item.subject.part]
    return parts if sum((item.share for item in parts), Fraction(0)) <= 1 else []


def _unit(
    device: Device,
    current: Mapping[Subject, Sequence[Tenure]],
    usage: Usage,
    start: int,
    end: int,
    limits: Thresholds,
    reasons: Mapping[Subject, str],
) -> UnitUse:
    holding = current.get(device.subject, ())
    owners = tuple(dict.fromkeys(item.owner for item in holding))
    held = min(sum((item.share for item in holding), Fraction(0)), device.share)
    since = max(start, min((item.start for item in holding), default=start))

    def series(*metrics: Metric) -> Series | None:
        found = usage.of(device.subject, *metrics)
        return found.between(since, end) if found is not None else None

    busy = series(*BUSY)
    dram, tensor = series(Metric.DRAM_BUSY), series(Metric.TENSOR_BUSY)
    memory = series(Metric.MEMORY_USED)
    power = series(Metric.POWER)
    errors, codes = series(Metric.ROW_REMAP_FAILURE), series(Metric.XID)
    level = _mean(busy)
    if busy is not None and busy.metric is Metric.KERNEL_BUSY and level.value is not None:
        level = Known(level.value, Provenance.ESTIMATED, KERNELS)
    problem = device.problem
    if not problem and errors is not None and (errors.maximum().value or 0) > 0:
        problem = "RowRemapFailure"
    state, why, idle_since, longer = _judged(problem, bool(holding), busy, dram, since, start, end, limits)
    return UnitUse(
        subject=device.subject,
        product=device.product,
        mode=device.mode,
        share=device.share,
        held=held,
        owners=owners,
        state=state,
        why=why,
        busy=level,
        busy_metric=busy.metric if busy is not None and len(busy) else None,
        tensor=_mean(tensor),
        dram=_mean(dram),
        memory_peak=memory.maximum() if memory is not None else Known.unknown("no samples"),
        memory=device.memory,
        power=_mean(power),
        idle_since=idle_since,
        idle_longer=longer,
        stranded=reasons.get(device.subject, "") if held < device.share else "",
        xid=int(codes.values[-1]) if codes is not None and len(codes) else 0,
    )


def _mean(series: Series | None) -> Known[int]:
    return series.mean() if series is not None else Known.unknown("no samples")


def _judged(
    problem: str,
    held: bool,
    busy: Series | None,
    dram: Series | None,
    since: int,
    start: int,
    end: int,
    limits: Thresholds,
) -> tuple[Waste, str, int | None, bool]:
    if problem:
        return Waste.BROKEN, problem, None, False
    known = busy is not None and len(busy) > 0
    last = busy.last_above(limits.idle) if busy is not None else None
    # Idle since the last work, or for as long as it was looked at.
    idle_since = None if not known else last if last is not None else max(since, _begin(busy))
    idle = idle_since is not None and end - idle_since >= limits.idle_after
    longer = last is None
    if not held:
        return Waste.UNOCCUPIED, "nobody holds it", None, False
    if busy is None or not known:
        return Waste.UNKNOWN, "no exporter measures it", None, False
    if end - busy.end > limits.stale:
        return Waste.UNKNOWN, "its last sample is too old", None, False
    if idle:
        return Waste.IDLE, "no work for a while", idle_since, longer and since <= start
    mean, bandwidth = busy.mean().value or 0, (dram.mean().value or 0) if dram is not None else 0
    if mean < limits.inefficient and bandwidth < limits.inefficient:
        return Waste.INEFFICIENT, "little of its time is used", None, False
    return Waste.PRODUCTIVE, "", None, False


def _begin(series: Series | None) -> int:
    return series.start if series is not None else 0


def _of_parts(board: UnitUse, parts: Sequence[UnitUse], unplaced: bool) -> UnitUse:
    """A board that is used in parts: held as they are, busy by their size, in the state of most of it."""
    held = sum((part.held for part in parts), Fraction(0))
    used = [part for part in parts if part.held]
    busy = board.busy
    if not busy.known:
        missing = [part for part in used if not part.busy.known]
        if not used or missing or unplaced:
            busy = Known.unknown("not every part is measured" if used else "no samples")
        else:
            total = sum((part.busy.value or 0) * part.share for part in used)
            busy = Known.estimated(round(total), WEIGHTED)
    weights: dict[Waste, Fraction] = {}
    for part in parts:
        weights[part.state] = weights.get(part.state, Fraction(0)) + part.share
    weights.setdefault(Waste.UNOCCUPIED, Fraction(0))
    state = board.state if board.state is Waste.BROKEN else max(weights, key=lambda key: weights[key])
    return UnitUse(
        subject=board.subject,
        product=board.product,
        mode=board.mode,
        share=board.share,
        held=held,
        owners=tuple(dict.fromkeys(owner for part in parts for owner in part.owners)),
        state=state,
        why=board.why if board.state is Waste.BROKEN else "",
        busy=busy,
        busy_metric=board.busy_metric or next((part.busy_metric for part in used if part.busy_metric), None),
        tensor=board.tensor,
        dram=board.dram,
        memory_peak=board.memory_peak if board.memory_peak.known else _peak(used),
        memory=board.memory,
        power=board.power,
        stranded=board.stranded,
    )


def _peak(parts: Sequence[UnitUse]) -> Known[int]:
    """The parts' peaks need not have come at one time: their sum is at least the board's peak."""
    if not parts:
        return Known.unknown("no samples")
    total = parts[0].memory_peak
    for part in parts[1:]:
        total = total + part.memory_peak
    if total.value is None or len(parts) == 1:
        return total
    return Known.estimated(total.value, "the peaks of its parts added up")


def by_state(boards: Iterable[BoardUse]) -> Mapping[Waste, Fraction]:
    """How many devices are in each state, parts as fractions; together they are all the devices.

    What is free of a board or part that is partly held counts as unoccupied.
    """
    found = {state: Fraction(0) for state in Waste}
    for item in boards:
        left = item.board.share
        for unit in item.units:
            if unit.state is Waste.BROKEN:
                found[Waste.BROKEN] += unit.share
                left -= unit.share
            elif unit.held:
                found[unit.state] += unit.held
                left -= unit.held
        rest = Waste.BROKEN if item.board.state is Waste.BROKEN else Waste.UNOCCUPIED
        found[rest] += max(left, Fraction(0))
    return found
