"""Who had to leave, when, why, and what was lost by it."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import Cause, Interruption, Result
from aliquot.web.report import plots
from aliquot.web.report.curves import Curve
from aliquot.web.report.plots import Layer, Plot
from aliquot.web.report.scales import number_text

STEPS = 48

TITLES = {
    Cause.RECLAIMED: "reclaimed for another queue",
    Cause.PREEMPTED: "preempted in its queue",
    Cause.CONSOLIDATED: "moved together",
    Cause.GANG_BROKEN: "gang broken",
    Cause.DEVICE_EVICTED: "device tainted",
    Cause.OTHER_EVICTION: "other",
    Cause.NODE_FAILED: "node failed",
    Cause.DEVICE_FAILED: "device failed",
    Cause.SPOT_RECLAIMED: "spot node reclaimed",
}


class CauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One cause. times, devices, lost (device-hours of work): in the mean of one simulation."""

    title: str
    tone: str
    times: str
    devices: str
    lost: str


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """Interruptions of one policy: over time, and by cause."""

    plot: Plot | None
    causes: tuple[CauseRow, ...]


def interrupted(results: Sequence[Result], end: int) -> Interrupted:
    """The interruptions of these simulations, of one policy."""
    by_cause: dict[Cause, list[Interruption]] = {}
    lost: Counter[Cause] = Counter()
    for result in results:
        sizes = {item.key: item.devices for item in result.workloads}
        for item in result.interruptions:
            by_cause.setdefault(item.cause, []).append(item)
            lost[item.cause] += item.lost * sizes.get((item.namespace, item.name), item.devices)
    causes = [cause for cause in Cause if cause in by_cause]
    rows = tuple(_row(cause, by_cause[cause], lost[cause], len(results)) for cause in causes)
    if not causes or end <= 0:
        return Interrupted(plot=None, causes=rows)
    width = max(1, -(-end // STEPS))
    layers = [
        Layer(
            name=TITLES[cause],
            curve=_counts(by_cause[cause], width, end, len(results)),
            tone=_tone(cause),
            kind="area",
            stacked=True,
        )
        for cause in causes
    ]
    return Interrupted(
        plot=plots.plot("Interruptions", "", "workloads interrupted", layers, end, least=2),
        causes=rows,
    )


def _tone(cause: Cause) -> str:
    return f"k{list(Cause).index(cause)}"


def _counts(found: Sequence[Interruption], width: int, end: int, runs: int) -> Curve:
    counts = Counter(min(item.time, end - 1) // width for item in found)
    steps = -(-end // width)
    values = tuple(counts[number] / runs for number in range(steps))
    return Curve(tuple(number * width for number in range(steps)), values, values, values)


def _row(cause: Cause, found: Sequence[Interruption], lost: int, runs: int) -> CauseRow:
    """lost: device-time, in billionths of a device times seconds."""
    devices = sum(item.devices for item in found)
    return CauseRow(
        title=TITLES[cause],
        tone=_tone(cause),
        times=number_text(len(found) / runs),
        devices=number_text(devices / UNIT / runs),
        lost=number_text(lost / (3600 * UNIT) / runs),
    )
