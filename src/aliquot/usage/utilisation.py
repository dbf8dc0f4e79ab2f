"""How much of the capacity, and of what is held, was at work: by workload, queue, team, node and fleet.

Utilisation is a ratio of device-time. Its parts: *capacity* is every device for the whole time; *held* is
what claims held of it; *used* is the busy share of each device or part, times its size, times the time;
*measured* is the time for which a busy share is known. Used / measured is the utilisation of what is held;
used / capacity takes time without samples for idle, and is therefore the least it can have been.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from aliquot.usage.metrics import BUSY, WHOLE_PPM, Metric
from aliquot.usage.provenance import Known, Provenance, joined_rules, weakest
from aliquot.usage.series import NOBODY, Owner, Series, Subject
from aliquot.usage.sharing import Tenure

Key = TypeVar("Key", bound=Hashable)

NO_SAMPLES: Known[int] = Known.unknown("no samples")

DEFINITION = (
    "Utilisation: device-time in which SMs (else the engine, else any kernel) were at work, divided by the "
    "device-time of all devices, over the window. Time without samples counts as not at work."
)
HELD_DEFINITION = "Of what is held: the same, divided by the device-time that is held and measured."


@dataclass(frozen=True, slots=True)
class Share:
    """Device-milliseconds of some group in a time.

    held: as far as it is known who held what. measured: of it (or of the devices) with samples. used: at
    work. allocated: devices held at the end. memory_peak: bytes, the largest at one time of one device.
    last_work: when something was last at work, ms, None if never in this time.
    """

    allocated: Fraction = Fraction(0)
    held: Fraction = Fraction(0)
    measured: Fraction = Fraction(0)
    used: Fraction = Fraction(0)
    memory_peak: Known[int] = NO_SAMPLES
    last_work: int | None = None
    provenance: Provenance = Provenance.UNKNOWN
    rule: str = ""
    devices: int = 0

    @property
    def utilisation(self) -> Fraction | None:
        """Used of what was measured; None where nothing was."""
        return min(self.used / self.measured, Fraction(1)) if self.measured else None

    @property
    def unmeasured(self) -> Fraction:
        """Held time without samples."""
        return max(self.held - self.measured, Fraction(0))


def best_busy(series: Iterable[Series]) -> tuple[Series, ...]:
    """Of each subject and owner the most telling busy metric."""
    found: dict[tuple[Subject, Owner, Provenance, Fraction], Series] = {}
    for item in series:
        if item.metric not in BUSY or not len(item):
            continue
        key = (item.subject, item.owner, item.provenance, item.share)
        known = found.get(key)
        if known is None or BUSY.index(item.metric) < BUSY.index(known.metric):
            found[key] = item
    best: dict[tuple[Subject, Owner], Metric] = {}
    for (subject, owner, _, _), item in found.items():
        known_metric = best.get((subject, owner))
        if known_metric is None or BUSY.index(item.metric) < BUSY.index(known_metric):
            best[subject, owner] = item.metric
    return tuple(
        item for (subject, owner, _, _), item in found.items() if item.metric is best[subject, owner]
    )


def shares_by(
    key: Callable[[Owner], Key | None],
    held: Sequence[Series],
    tenures: Sequence[Tenure],
    sizes: Mapping[Subject, Fraction],
    start: int,
    end: int,
    *,
    idle: int,
) -> Mapping[Key, Share]:
    """What each group of owners held and used. key: the group of an owner, None to leave it out.

    held: series by owner (`Usage.held`). sizes: how much of its board each subject is. idle: busy for more
    than this, ppm, is work.
    """
    groups: dict[Key, _Sum] = {}
    held = [item for item in held if item.owner != NOBODY]
    for tenure in tenures:
        group = key(tenure.owner)
        if group is None or tenure.admin:
            continue
        low, high = max(tenure.start, start), min(tenure.end if tenure.end is not None else end, end)
        found = groups.setdefault(group, _Sum())
        if low < high:
            found.held += tenure.share * (high - low)
        if tenure.end is None or tenure.end > end:
            found.allocated += tenure.share
            found.subjects.add(tenure.subject.whole)
    for item in best_busy(held):
        group = key(item.owner)
        part = item.between(start, end)
        if group is not None and len(part):
            groups.setdefault(group, _Sum()).add(part, sizes.get(item.subject, Fraction(1)), idle)
    for item in held:
        group = key(item.owner)
        if group is not None and item.metric is Metric.MEMORY_USED:
            groups.setdefault(group, _Sum()).peak(item.between(start, end))
    return {group: found.share() for group, found in groups.items()}


def share_of_devices(
    devices: Iterable[tuple[Series, Fraction]], memory: Iterable[Series], start: int, end: int, *, idle: int
) -> Share:
    """What devices together used, whoever held them: series of busy shares with the size of each."""
    found = _Sum()
    for series, size in devices:
        part = series.between(start, end)
        if len(part):
            found.add(part, size, idle, whole=True)
    for item in memory:
        found.peak(item.between(start, end))
    return found.share()


class _Sum:
    def __init__(self) -> None:
        self.allocated = self.held = self.measured = self.used = Fraction(0)
        self.most = NO_SAMPLES
        self.last: int | None = None
        self.provenances: set[Provenance] = set()
        self.rules: set[str] = set()
        self.subjects: set[Subject] = set()

    def add(self, series: Series, size: Fraction, idle: int, *, whole: bool = False) -> None:
        self.used += size * Fraction(series.total(), WHOLE_PPM)
        self.measured += (size if whole else series.share) * series.covered
        last = series.last_above(idle)
        if last is not None:
            self.last = max(self.last or 0, last)
        self.provenances.add(series.provenance)
        self.rules.add(series.rule)

    def peak(self, series: Series) -> None:
        most = series.maximum()
        if most.value is not None and (self.most.value is None or most.value > self.most.value):
            self.most = most

    def share(self) -> Share:
        provenance = weakest(self.provenances) if self.provenances else Provenance.UNKNOWN
        return Share(
            self.allocated,
            self.held,
            self.measured,
            self.used,
            self.most,
            self.last,
            provenance,
            joined_rules(self.rules),
            len(self.subjects),
        )
