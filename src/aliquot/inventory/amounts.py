"""Exact amounts as text: fractions, percentages, memory, times."""

from datetime import datetime
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.queues.tree import UNIT, Amount, shown

NONE = "<none>"
"""What stands where there is nothing, as in kubectl's tables."""

_READABLE = 100
_STEPS = ((1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


def fraction(value: Fraction) -> str:
    """A number of devices: 3, 0.5, 1/8, 8.125, 1/7, 2+3/7, ~0.75.

    A decimal where two places are exact (above 1, three), else the fraction; one with a denominator above 100
    is rounded and says so. What programs get is always exact.
    """
    if value.denominator == 1:
        return str(value.numerator)
    if (value * 100).denominator == 1:
        return f"{float(value):.2f}".rstrip("0")
    if value > 1 and (value * 1000).denominator == 1:
        return f"{float(value):.3f}"
    if value.denominator > _READABLE:
        return f"~{float(value):.2f}"
    whole, rest = divmod(value, 1)
    return f"{whole}+{rest}" if whole else str(rest)


def percent(part: Fraction | int, whole: Fraction | int) -> str:
    """The ratio in whole percent; above 0 and below 100 are never rounded to either."""
    if not whole:
        return "0%"
    ratio = Fraction(part) * 100 / Fraction(whole)
    rounded = round(ratio)
    if ratio and not rounded:
        return "<1%"
    return ">99%" if rounded == 100 and ratio < 100 else f"{rounded}%"


def used_of(part: Fraction | int, whole: Fraction | int) -> str:
    """`used/total (percent)`."""
    return f"{fraction(Fraction(part))}/{fraction(Fraction(whole))} ({percent(part, whole)})"


def memory(value: Quantity | None) -> str:
    """Memory in the largest unit that leaves at most three digits before the point: 81559Mi is 80Gi."""
    if value is None:
        return NONE
    amount = value.value()
    for step, suffix in _STEPS:
        if amount >= step:
            number = f"{amount / step:.1f}".removesuffix(".0")
            return f"{number}{suffix}"
    return str(amount)


def amount(value: Amount | None) -> str:
    """An amount of a queue, in billionths, as the quantity or fraction that it is."""
    if value is None:
        return NONE
    exact = Fraction(value, UNIT) if isinstance(value, int) else value / UNIT
    return fraction(exact) if exact.denominator != 1 else shown(value)


def bounded(value: Amount | None) -> str:
    """A quota: an amount, or that there is no bound (below 0)."""
    return "unbounded" if value is not None and value < 0 else amount(value)


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, as kubectl shows it: 45s, 3m20s, 5h, 3d4h."""
    if since is None or since.year < 1980:
        return NONE
    return duration(max(0, int((now - since).total_seconds())))


def duration(seconds: int) -> str:
    """Seconds as kubectl shows them: 45s, 3m20s, 5h, 3d4h."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d"
