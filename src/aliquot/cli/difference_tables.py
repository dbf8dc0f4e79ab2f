"""The difference that a change makes, as tables of 80 columns, as a document and as CSV."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from aliquot.cli.output import API_VERSION, Column, Row, Table
from aliquot.inventory import amounts
from aliquot.inventory.amounts import NONE
from aliquot.queues.amounts import UNIT
from aliquot.simulation.comparing import METRICS, Comparison, Difference, Effect, Metric, Unit
from aliquot.simulation.conditions import Condition
from aliquot.simulation.results import Interruption, Outcome, WorkloadResult

MOST_ROWS = 20

_COLUMNS = (
    Column(title="WORKLOAD", key="workload", least=20),
    Column(title="QUEUE", key="queue", drop=1, least=8),
    Column(title="STARTS", key="before"),
    Column(title="THEN", key="after"),
    Column(title="SHIFT", key="shift", right=True),
    Column(title="LEAVES", key="evictions"),
    Column(title="DEVICES", key="devices", right=True, wide=True),
    Column(title="EFFECT", key="effect", wide=True),
    Column(title="ENDS", key="ends", wide=True),
    Column(title="THEN", key="endsAfter", wide=True),
    Column(title="REASON", key="reason", wide=True),
)


def difference_table(found: Iterable[Difference]) -> Table:
    """One row for each workload, as it starts without and with the change."""
    return Table(
        kind="Differences",
        columns=_COLUMNS,
        rows=tuple(Row(cells=_cells(item), item=_item(item), name=_name(item.either)) for item in found),
    )


def _name(item: WorkloadResult) -> str:
    return f"{item.namespace}/{item.name}"


def _cells(item: Difference) -> tuple[str, ...]:
    either, before, after = item.either, item.before, item.after
    name, queue = _name(either), either.queue or NONE
    return (
        name,
        queue,
        _start(before),
        _start(after),
        _shift(item),
        _evictions(item),
        amounts.fraction(Fraction(either.devices, UNIT)),
        item.effect.value,
        _end(before),
        _end(after),
        (after.reason if after is not None else "") or NONE,
    )


def _start(item: WorkloadResult | None) -> str:
    if item is None:
        return "not there"
    if item.started is None:
        return "not yet"
    if item.started < 0:
        return "runs"
    return "now" if item.started == 0 else f"in {amounts.duration(item.started)}"


def _end(item: WorkloadResult | None) -> str:
    if item is None or item.finished is None:
        return NONE
    return f"in {amounts.duration(item.finished)}"


def _shift(item: Difference) -> str:
    if item.effect in (Effect.NEVER, Effect.STARTS, Effect.NEW, Effect.GONE):
        return item.effect.value
    return signed(item.shift or 0)


def signed(seconds: int) -> str:
    """A difference of times: +5m, -2h, 0."""
    if not seconds:
        return "0"
    return f"{'+' if seconds > 0 else '-'}{amounts.duration(abs(seconds))}"


def _evictions(item: Difference) -> str:
    before = item.before.evictions if item.before is not None else 0
    after = item.after.evictions if item.after is not None else 0
    return str(after) if before == after else f"{before} -> {after}"


def _side(item: WorkloadResult | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        "outcome": item.outcome.value,
        "startsSeconds": item.started,
        "endsSeconds": item.finished,
        "queuedSeconds": item.queued,
        "lostSeconds": item.lost,
        "evictions": item.evictions,
        "failures": item.failures,
        "reason": item.reason,
    }


def _item(item: Difference) -> dict[str, Any]:
    either = item.either
    return {
        "kind": either.kind,
        "namespace": either.namespace,
        "name": either.name,
        "queue": either.queue,
        "pods": either.pods,
        "devices": str(Fraction(either.devices, UNIT)),
        "effect": item.effect.value,
        "shiftSeconds": item.shift,
        "endsLaterSeconds": item.delay,
        "before": _side(item.before),
        "after": _side(item.after),
    }


_METRIC_COLUMNS = (
    Column(title="", key="metric"),
    Column(title="BEFORE", key="before", right=True),
    Column(title="AFTER", key="after", right=True),
    Column(title="DIFFERENCE", key="difference", right=True),
)


def metric_table(comparison: Comparison) -> Table:
    """The figures of both simulations; those that are 0 in both are left out."""
    rows = []
    for metric in METRICS:
        before, after = metric.of(comparison.before), metric.of(comparison.after)
        if not before and not after and metric.name not in ("evictions", "allocation"):
            continue
        currency = comparison.after.currency
        cells = (
            metric.name,
            figure(before, metric, currency),
            figure(after, metric, currency),
            difference(after - before, metric, currency),
        )
        rows.append(Row(cells=cells, item=_metric(metric, before, after), name=metric.name))
    return Table(kind="Metrics", columns=_METRIC_COLUMNS, rows=tuple(rows))


def figure(value: Fraction, metric: Metric, currency: str) -> str:
    """A figure with its unit, for people."""
    match metric.unit:
        case Unit.SECONDS:
            return amounts.duration(round(value))
        case Unit.DEVICE_SECONDS:
            return f"{_short(value / 3600)} device-hours"
        case Unit.PERCENT:
            return f"{float(value):.1f} %"
        case Unit.JOULES:
            return f"{_short(value / 3_600_000)} kWh"
        case Unit.MONEY:
            return f"{float(value):,.2f} {currency}"
    return str(round(value))


def _short(value: Fraction) -> str:
    number = float(value)
    if not number:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def difference(value: Fraction, metric: Metric, currency: str) -> str:
    """A difference of figures, with its sign."""
    if not value:
        return "0"
    text = figure(abs(value), metric, currency)
    if not any(digit in text for digit in "123456789"):
        return "0"
    if metric.unit is Unit.PERCENT:
        text = text.replace("%", "points")
    return f"{'+' if value > 0 else '-'}{text}"


def _metric(metric: Metric, before: Fraction, after: Fraction) -> dict[str, Any]:
    def number(value: Fraction) -> int | float:
        return value.numerator if value.denominator == 1 else float(value)

    return {
        "name": metric.name,
        "unit": metric.unit.value,
        "before": number(before),
        "after": number(after),
        "difference": number(after - before),
    }


_EVICTED_COLUMNS = (
    Column(title="HAS TO LEAVE", key="workload", least=20),
    Column(title="WHEN", key="when"),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="LOSES", key="lost", right=True),
    Column(title="FOR", key="for", least=14),
    Column(title="CAUSE", key="cause"),
)


def evicted_table(found: Iterable[Interruption]) -> Table:
    """Who has to leave by the change and did not without it, in order of time."""
    rows = []
    for item in found:
        name = f"{item.namespace}/{item.name}"
        cells = (
            name,
            f"in {amounts.duration(item.time)}" if item.time else "now",
            amounts.fraction(Fraction(item.devices, UNIT)),
            amounts.duration(item.lost) if item.lost else "nothing",
            item.beneficiary or NONE,
            item.cause.value,
        )
        rows.append(Row(cells=cells, item=interruption(item), name=name))
    return Table(kind="Evicted", columns=_EVICTED_COLUMNS, rows=tuple(rows))


def interruption(item: Interruption) -> dict[str, Any]:
    """For programs."""
    return {
        "namespace": item.namespace,
        "name": item.name,
        "queue": item.queue,
        "seconds": item.time,
        "cause": item.cause.value,
        "pods": item.pods,
        "devices": str(Fraction(item.devices, UNIT)),
        "lostSeconds": item.lost,
        "for": item.beneficiary,
    }


_SENTENCES = {
    Effect.NEVER: "{} not start any more",
    Effect.LATER: "{} later",
    Effect.EVICTED: "{} evicted",
    Effect.SLOWER: "{} longer",
    Effect.NEW: "{} new",
    Effect.GONE: "{} gone",
    Effect.SAME: "{} as before",
    Effect.FASTER: "{} done sooner",
    Effect.SPARED: "{} spared",
    Effect.EARLIER: "{} earlier",
    Effect.STARTS: "{} start that did not",
}


def count_line(comparison: Comparison) -> str:
    """How many workloads start later, earlier ..."""
    counts = comparison.counts()
    return ", ".join(_SENTENCES[effect].format(count) for effect, count in counts.items()) or "no workloads"


def document(
    comparison: Comparison, changes: Iterable[str], held: Iterable[tuple[Condition, bool]], now: str
) -> dict[str, Any]:
    """The comparison for programs; every workload, those without a difference too."""
    return {
        "apiVersion": API_VERSION,
        "kind": "WhatIf",
        "time": now,
        "seconds": comparison.after.seconds,
        "policies": [comparison.before.label, comparison.after.label],
        "changes": list(changes),
        "effects": {effect.value: count for effect, count in comparison.counts().items()},
        "metrics": [dict(row.item) for row in metric_table_full(comparison)],
        "evicted": [interruption(item) for item in comparison.evicted()],
        "conditions": [{"condition": item.text, "holds": holds} for item, holds in held],
        "items": [_item(item) for item in comparison.differences],
        "unfinished": sum(1 for item in comparison.after.workloads if item.outcome is not Outcome.FINISHED),
    }


def metric_table_full(comparison: Comparison) -> tuple[Row, ...]:
    """A row for every figure, also for those that are 0."""
    return tuple(
        Row(
            cells=(),
            item=_metric(metric, metric.of(comparison.before), metric.of(comparison.after)),
            name=metric.name,
        )
        for metric in METRICS
    )
