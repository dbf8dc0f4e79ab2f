"""What came of a simulation: of every workload, over time, and in sum. Data only.

Times are whole seconds since the start of the simulation. Devices are billionths of a physical device
(`aliquot.queues.amounts.UNIT`), device-time is billionths of a device times seconds, money is micro-units of
the currency of the prices, power is watts and energy joules. All of it is exact, and equal inputs give equal
results.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from fractions import Fraction

import msgspec

from aliquot.queues.amounts import UNIT


class Outcome(enum.StrEnum):
    """Where a workload stands when the simulation ends."""

    FINISHED = "finished"
    RUNNING = "running"
    WAITING = "waiting"


class Cause(enum.StrEnum):
    """Why a workload lost pods."""

    RECLAIMED = "reclaimed"
    PREEMPTED = "preempted"
    CONSOLIDATED = "consolidated"
    GANG_BROKEN = "gangBroken"
    DEVICE_EVICTED = "deviceEvicted"
    OTHER_EVICTION = "evicted"
    NODE_FAILED = "nodeFailed"
    DEVICE_FAILED = "deviceFailed"
    SPOT_RECLAIMED = "spotReclaimed"

    @property
    def decided(self) -> bool:
        """Whether a decision asked for it, and not the machines."""
        return self not in (Cause.NODE_FAILED, Cause.DEVICE_FAILED, Cause.SPOT_RECLAIMED)


class WorkloadResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one workload.

    placed: when as many pods as it needs first had nodes; started: when they first ran; finished: when its
    work was done; each None if that did not happen. queued: seconds that it waited for a place in all, also
    after it had lost one. worked: seconds of work of all its pods that are done and count. lost: seconds of
    work that were done in vain. evictions, failures: how often it lost pods because a decision
    said so, and because machines went. devices: of all its pods. reason: of one that waits, the reason of
    its last verdict. kind: of the object that stands for it, "" for one from a trace. Times are below 0 for
    what happened before the simulation began.
    """

    namespace: str
    name: str
    kind: str = ""
    queue: str
    priority: int
    pods: int
    devices: int
    submitted: int
    run_seconds: int | None
    placed: int | None = None
    started: int | None = None
    finished: int | None = None
    queued: int = 0
    worked: int = 0
    lost: int = 0
    evictions: int = 0
    failures: int = 0
    outcome: Outcome = Outcome.WAITING
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return (self.namespace, self.name)

    @property
    def size_class(self) -> str:
        """A class of sizes for people: by the devices of all its pods."""
        for name, most in SIZE_CLASSES:
            if self.devices <= most * UNIT:
                return name if self.devices >= UNIT or not self.devices else PART
        return LARGEST


PART = "part of a device"
LARGEST = "more than 64"
SIZE_CLASSES = (("no device", 0), ("1", 1), ("2 to 8", 8), ("9 to 64", 64))
"""Names of size classes with the most devices in each; PART comes after the first, LARGEST at the end."""

ALL_SIZE_CLASSES = ("no device", PART, "1", "2 to 8", "9 to 64", LARGEST)
"""Every name that `WorkloadResult.size_class` gives, from small to large."""


class QueueSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A queue, with all queues below it, at one moment.

    allocated: devices that it holds; waiting: devices that its waiting work wants; share: its fair share
    now; running, waiting_workloads: how many workloads.
    """

    queue: str
    allocated: int
    waiting: int
    share: int
    running: int
    waiting_workloads: int


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The cluster at one moment, after what was decided at it.

    capacity: devices of nodes that are in order; allocated: of those that workloads hold; waiting: devices
    wanted by workloads that wait. fragmented: of the free devices those that workloads as they have come so
    far could not use, in the mean over all of them (FGD's measure). watts: drawn by devices whose figures
    are known (estimated: idle when free, peak when held). cost: micro-units per hour of nodes with a known
    price. nodes: in order. longest_wait: seconds that the first of those that wait has waited.
    """

    time: int
    nodes: int
    capacity: int
    allocated: int
    waiting: int
    fragmented: int
    running: int
    waiting_workloads: int
    longest_wait: int
    watts: int
    cost: int
    queues: tuple[QueueSample, ...] = ()


class Interruption(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A workload lost pods. lost: seconds of its work that this threw away. devices: of those pods.
    beneficiary: "namespace/name" of the workload for which it was made to leave, "" where there is none."""

    time: int
    namespace: str
    name: str
    queue: str
    cause: Cause
    pods: int
    devices: int
    lost: int
    beneficiary: str = ""


class Totals(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Sums over the whole simulation.

    capacity, allocated: device-time that there was, and that was held. useful: of what was held that in
    which work was done that counts; lost: in which work was done in vain; the rest was spent on starting up,
    on leaving, and by gangs that were not complete. fragmented: the integral of `Sample.fragmented`.
    joules, cost: see Sample. unpriced, unmetered: device-time on nodes without a known price, and without
    known power. decisions: how many times `decide` was called; events: how many events there were.
    """

    capacity: int = 0
    allocated: int = 0
    useful: int = 0
    lost: int = 0
    fragmented: int = 0
    joules: int = 0
    cost: int = 0
    unpriced: int = 0
    unmetered: int = 0
    submitted: int = 0
    finished: int = 0
    running: int = 0
    waiting: int = 0
    evictions: int = 0
    failures: int = 0
    decisions: int = 0
    events: int = 0

    @property
    def allocation(self) -> Fraction:
        """The part of the device-time that was held, 0 to 1; 0 without devices."""
        return Fraction(self.allocated, self.capacity) if self.capacity else Fraction(0)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole simulation.

    label: the policy's name. start: the moment that the times count from. seconds: how long was simulated.
    complete: it went on to its end; False for one that was looked at on the way. nodes, devices: at the
    start. currency: of the prices. workloads: in order of submission, then by namespace and name. samples:
    in order of time.
    """

    label: str
    seed: int
    start: datetime
    seconds: int
    complete: bool
    nodes: int
    devices: int
    currency: str = "USD"
    queues: tuple[str, ...] = ()
    workloads: tuple[WorkloadResult, ...] = ()
    samples: tuple[Sample, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    totals: Totals = Totals()


class Waits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Waiting times of some workloads, in seconds, from submission until they were first placed.

    count: all of them; open: those that still wait, which count with what they have waited so far.
    """

    count: int
    open: int
    mean: Fraction
    p50: int
    p90: int
    p99: int
    longest: int


def wait_of(workload: WorkloadResult, end: int) -> int:
    """Seconds until a workload was first placed, or until the end of the simulation if it was not."""
    return (end if workload.placed is None else workload.placed) - workload.submitted


def waits_by(result: Result, group: Callable[[WorkloadResult], str]) -> Mapping[str, Waits]:
    """Waiting times by any class of workloads: `lambda item: item.size_class`, `lambda item: item.queue`."""
    groups: dict[str, list[WorkloadResult]] = {}
    for workload in result.workloads:
        groups.setdefault(group(workload), []).append(workload)
    return {name: waits(groups[name], result.seconds) for name in sorted(groups)}


def waits(workloads: Iterable[WorkloadResult], end: int) -> Waits:
    """Waiting times of these workloads; all 0 where there are none. end: when the simulation ended."""
    known = list(workloads)
    times = sorted(wait_of(item, end) for item in known)
    if not times:
        return Waits(count=0, open=0, mean=Fraction(0), p50=0, p90=0, p99=0, longest=0)
    return Waits(
        count=len(times),
        open=sum(1 for item in known if item.placed is None),
        mean=Fraction(sum(times), len(times)),
        p50=percentile(times, 50),
        p90=percentile(times, 90),
        p99=percentile(times, 99),
        longest=times[-1],
    )


def percentile(ordered: list[int], percent: int) -> int:
    """The smallest of the ascending values that at least so many per cent do not exceed. Not empty."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
