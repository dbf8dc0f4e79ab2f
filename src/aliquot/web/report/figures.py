"""Figures of several simulations of one policy, as people read them: the median and the range."""

import statistics
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from aliquot.inventory.amounts import duration
from aliquot.simulation.comparing import METRICS, Metric, Unit
from aliquot.simulation.results import Result
from aliquot.web.report.scales import number_text

SHOWN = {
    "finished": "Finished",
    "wait.p50": "Wait, median",
    "wait.p90": "Wait, 90th percentile",
    "wait.longest": "Longest wait",
    "allocation": "Allocated",
    "lost": "Work lost",
    "fragmented": "Fragmented",
    "evictions": "Evictions",
    "failures": "Failures",
    "energy": "Energy",
    "cost": "Cost",
}
"""The metrics of the page with their titles, in order."""

TOLD = frozenset({"failures", "energy", "cost"})
"""Metrics of which the least is not best by itself: little work costs little."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric over the simulations of a policy. value: its median as text; spread: its range, "" where all
    are equal. low, middle, high: the numbers."""

    value: str
    spread: str
    low: Fraction
    middle: Fraction
    high: Fraction


def shown_metrics(results: Sequence[Result]) -> list[Metric]:
    """The metrics that say anything of these results: no energy where no power is known, no failures where
    nothing can fail."""
    return [metric for name in SHOWN for metric in METRICS if metric.name == name and _tells(metric, results)]


def _tells(metric: Metric, results: Sequence[Result]) -> bool:
    if metric.name == "energy":
        return any(item.totals.unmetered < item.totals.capacity for item in results)
    if metric.name == "cost":
        return any(item.totals.unpriced < item.totals.capacity for item in results)
    return metric.name != "failures" or any(item.totals.failures for item in results)


def figure(metric: Metric, results: Sequence[Result]) -> Figure:
    """The metric over these results."""
    values = [metric.of(item) for item in results]
    low, high = min(values), max(values)
    middle = Fraction(statistics.median(values))
    currency = results[0].currency
    first, last = text(metric, low, currency), text(metric, high, currency)
    amount, _, unit = first.rpartition(" ")
    if amount and last.endswith(f" {unit}"):
        first = amount
    return Figure(
        value=text(metric, middle, currency),
        spread="" if low == high or first == last else f"{first} to {last}",
        low=low,
        middle=middle,
        high=high,
    )


def text(metric: Metric, value: Fraction, currency: str) -> str:
    """A metric's value with its unit."""
    match metric.unit:
        case Unit.SECONDS:
            return duration(round(value))
        case Unit.DEVICE_SECONDS:
            return f"{number_text(float(value / 3600))} device-h"
        case Unit.PERCENT:
            return f"{float(value):.1f} %"
        case Unit.JOULES:
            kwh = float(value) / 3.6e6
            return f"{number_text(kwh / 1000)} MWh" if kwh >= 1000 else f"{number_text(kwh)} kWh"
        case Unit.MONEY:
            return f"{float(value):,.0f} {currency}" if value >= 1000 else f"{float(value):,.2f} {currency}"
    return f"{round(value):,}"
