"""The difference that a change makes: two results of the same beginning, workload by workload and in sum.

Times are seconds, devices billionths of a device, energy joules, money micro-units, as in `results`.
"""

import enum
from collections.abc import Callable, Mapping
from fractions import Fraction

import msgspec

from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import Interruption, Outcome, Result, Waits, WorkloadResult, waits


class Effect(enum.StrEnum):
    """What a change does to a workload, the worst first."""

    NEVER = "never"
    """It started without the change, and with it not any more before the end of the simulation."""
    LATER = "later"
    EVICTED = "evicted"
    """It starts when it did, and has to leave more often."""
    SLOWER = "slower"
    """It starts when it did, and ends later."""
    NEW = "new"
    """It is there by the change only."""
    GONE = "gone"
    """It is there without the change only."""
    SAME = "same"
    FASTER = "faster"
    """It starts when it did, and ends earlier."""
    SPARED = "spared"
    """It starts when it did, and has to leave less often."""
    EARLIER = "earlier"
    STARTS = "starts"
    """It did not start before the end of the simulation, and with the change it does."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One workload without the change (before) and with it (after); None where it is not there.

    shift: seconds that it starts later (below 0: earlier); delay: that it ends later; each None where one of
    the two does not happen before the end of the simulation.
    """

    before: WorkloadResult | None
    after: WorkloadResult | None
    effect: Effect
    shift: int | None = None
    delay: int | None = None

    @property
    def either(self) -> WorkloadResult:
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.either.namespace}/{self.either.name}"

    @property
    def evictions(self) -> int:
        """How many times more it has to leave."""
        before = self.before.evictions if self.before is not None else 0
        return (self.after.evictions if self.after is not None else before) - before


class Unit(enum.StrEnum):
    """What a figure counts."""

    COUNT = "count"
    SECONDS = "seconds"
    DEVICE_SECONDS = "deviceSeconds"
    PERCENT = "percent"
    JOULES = "joules"
    MONEY = "money"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a simulation. name: as conditions write it; help: what it is. less: less of it is better.
    Device-seconds are whole devices times seconds, percentages 0 to 100, money whole units."""

    name: str
    help: str
    unit: Unit
    of: Callable[[Result], Fraction]
    less: bool = True


def _waits(result: Result) -> Waits:
    return waits(result.workloads, result.seconds)


def _started(result: Result) -> Fraction:
    return Fraction(sum(1 for item in result.workloads if item.started is not None))


METRICS: tuple[Metric, ...] = (
    Metric(name="started", help="workloads that have started", unit=Unit.COUNT, of=_started, less=False),
    Metric(
        name="finished",
        help="workloads that are done",
        unit=Unit.COUNT,
        of=lambda result: Fraction(result.totals.finished),
        less=False,
    ),
    Metric(
        name="waiting",
        help="workloads that wait at the end",
        unit=Unit.COUNT,
        of=lambda result: Fraction(result.totals.waiting),
    ),
    Metric(
        name="wait.mean",
        help="mean wait for a place",
        unit=Unit.SECONDS,
        of=lambda result: Fraction(_waits(result).mean),
    ),
    Metric(
        name="wait.p50",
        help="wait that half of them do not exceed",
        unit=Unit.SECONDS,
        of=lambda result: Fraction(_waits(result).p50),
    ),
    Metric(
        name="wait.p90",
        help="wait that nine in ten do not exceed",
        unit=Unit.SECONDS,
        of=lambda result: Fraction(_waits(result).p90),
    ),
    Metric(
        name="wait.longest",
        help="longest wait for a place",
        unit=Unit.SECONDS,
        of=lambda result: Fraction(_waits(result).longest),
    ),
    Metric(
        name="evictions",
        help="times that a workload had to leave",
        unit=Unit.COUNT,
        of=lambda result: Fraction(result.totals.evictions),
    ),
    Metric(
        name="failures",
        help="times that machines took a workload down",
        unit=Unit.COUNT,
        of=lambda result: Fraction(result.totals.failures),
    ),
    Metric(
        name="lost",
        help="device-time of work that was done in vain",
        unit=Unit.DEVICE_SECONDS,
        of=lambda result: Fraction(result.totals.lost, UNIT),
    ),
    Metric(
        name="used",
        help="device-time that was held",
        unit=Unit.DEVICE_SECONDS,
        of=lambda result: Fraction(result.totals.allocated, UNIT),
        less=False,
    ),
    Metric(
        name="allocation",
        help="device-time that was held, of what there was",
        unit=Unit.PERCENT,
        of=lambda result: 100 * result.totals.allocation,
        less=False,
    ),
    Metric(
        name="fragmented",
        help="device-time that was free and of no use",
        unit=Unit.PERCENT,
        of=lambda result: _percent(result.totals.fragmented, result.totals.capacity),
    ),
    Metric(
        name="energy",
        help="energy drawn by devices (estimated)",
        unit=Unit.JOULES,
        of=lambda result: Fraction(result.totals.joules),
    ),
    Metric(
        name="cost",
        help="cost of nodes with a known price",
        unit=Unit.MONEY,
        of=lambda result: Fraction(result.totals.cost, 1_000_000),
    ),
)
"""Every figure that is compared, in the order in which tables show them."""


def _percent(part: int, whole: int) -> Fraction:
    return Fraction(100 * part, whole) if whole else Fraction(0)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two simulations of the same time. differences: every workload of either, in order of submission."""

    before: Result
    after: Result
    differences: tuple[Difference, ...]

    @staticmethod
    def of(before: Result, after: Result) -> "Comparison":
        """Compare a simulation without a change with one with it."""
        old = {(item.kind, *item.key): item for item in before.workloads}
        new = {(item.kind, *item.key): item for item in after.workloads}
        found = [_difference(old.get(key), new.get(key)) for key in dict.fromkeys((*old, *new))]
        found.sort(key=lambda item: (item.either.submitted, item.either.key))
        return Comparison(before=before, after=after, differences=tuple(found))

    def counts(self) -> Mapping[Effect, int]:
        """How many workloads each effect has, those that it has on none left out."""
        found = dict.fromkeys(Effect, 0)
        for item in self.differences:
            found[item.effect] += 1
        return {effect: count for effect, count in found.items() if count}

    def notable(self) -> tuple[Difference, ...]:
        """The workloads that the change matters to: the worst effect first, of one the largest first."""
        order = list(Effect)
        found = [item for item in self.differences if item.effect is not Effect.SAME]
        found.sort(key=lambda item: (order.index(item.effect), -_size(item), item.name))
        return tuple(found)

    def evicted(self) -> tuple[Interruption, ...]:
        """What has to leave with the change and did not without it, in order of time.

        Of each workload so many of its last interruptions as there are more than before.
        """
        more = {item.either.key: item.evictions for item in self.differences if item.evictions > 0}
        found: list[Interruption] = []
        for item in reversed(self.after.interruptions):
            key = (item.namespace, item.name)
            if item.cause.decided and more.get(key, 0) > 0:
                more[key] -= 1
                found.append(item)
        return tuple(reversed(found))


def _size(item: Difference) -> int:
    if item.shift:
        return abs(item.shift)
    return abs(item.delay or 0)


def _difference(before: WorkloadResult | None, after: WorkloadResult | None) -> Difference:
    if before is None or after is None:
        effect = Effect.NEW if before is None else Effect.GONE
        return Difference(before=before, after=after, effect=effect)
    shift = None if before.started is None or after.started is None else after.started - before.started
    delay = None if before.finished is None or after.finished is None else after.finished - before.finished
    return Difference(
        before=before, after=after, effect=_effect(before, after, shift, delay), shift=shift, delay=delay
    )


def _effect(before: WorkloadResult, after: WorkloadResult, shift: int | None, delay: int | None) -> Effect:
    if before.started is not None and after.started is None:
        return Effect.NEVER
    if before.started is None and after.started is not None:
        return Effect.STARTS
    if shift:
        return Effect.LATER if shift > 0 else Effect.EARLIER
    if after.evictions != before.evictions:
        return Effect.EVICTED if after.evictions > before.evictions else Effect.SPARED
    ended_before, ended_after = before.outcome is Outcome.FINISHED, after.outcome is Outcome.FINISHED
    if ended_before != ended_after:
        return Effect.SLOWER if ended_before else Effect.FASTER
    if delay:
        return Effect.SLOWER if delay > 0 else Effect.FASTER
    return Effect.SAME
