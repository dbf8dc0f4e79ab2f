"""Axes: where values lie on them, and which values are written beside them."""

import math

import msgspec

from aliquot.inventory.amounts import duration

MINUTE, HOUR, DAY = 60, 3600, 86_400

_TIME_STEPS = (
    1, 5, 15, 30, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY,
)  # fmt: skip


class Tick(msgspec.Struct, frozen=True):
    """A value that is written beside an axis. at: where, from 0 to 100. every: 2 for each second one, which
    stays where there is little room."""

    at: float
    text: str
    every: int = 1


def time_ticks(end: int, most: int = 9) -> tuple[Tick, ...]:
    """Ticks of a time axis from 0 to end (seconds)."""
    if end <= 0:
        return (Tick(0.0, "0", 2),)
    step = next(
        (item for item in _TIME_STEPS if end / item <= most), _TIME_STEPS[-1] * -(-end // (364 * DAY * most))
    )
    return tuple(
        Tick(_part(value, end), _clock(value, step), 2 if number % 2 == 0 else 1)
        for number, value in enumerate(range(0, end + 1, step))
    )


def _clock(value: int, step: int) -> str:
    if step >= DAY:
        return f"{value // DAY}d"
    if step >= HOUR:
        return f"{value // HOUR}h"
    return duration(value) if value else "0"


def nice(most: float) -> tuple[float, float]:
    """The end of an axis for values up to this, and the distance of its ticks: 1, 2 or 5 times a power of
    ten, four or so of them. 87 is (100, 25), 0 is (1, 0.5)."""
    if most <= 0 or not math.isfinite(most):
        return 1.0, 0.5
    rough = most / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    return step * math.ceil(most / step - 1e-9), step


def value_ticks(end: float, step: float) -> tuple[Tick, ...]:
    """Ticks of a value axis from 0 to end."""
    count = int(end / step + 1e-9)
    return tuple(Tick(_part(number * step, end), number_text(number * step)) for number in range(count + 1))


def number_text(value: float) -> str:
    """A number for people, three digits or so: 0, 0.25, 3.5, 120, 12k, 3.4M."""
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{_three(value / (1e3 if letter == 'k' else unit))}{letter}"
    return _three(value)


def _three(value: float) -> str:
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")


WAIT_TICKS = (
    (0, "0"),
    (10, "10s"),
    (MINUTE, "1m"),
    (10 * MINUTE, "10m"),
    (HOUR, "1h"),
    (6 * HOUR, "6h"),
    (DAY, "1d"),
    (7 * DAY, "7d"),
    (28 * DAY, "28d"),
)


def wait_at(seconds: float, most: float) -> float:
    """Where a wait lies, 0 to 100, on an axis that is logarithmic above some seconds."""
    return 100 * math.log1p(seconds / 5) / math.log1p(max(most, 10) / 5)


def wait_ticks(most: float) -> tuple[Tick, ...]:
    """Ticks of an axis of waits."""
    known = [(value, text) for value, text in WAIT_TICKS if value <= max(most, 10)]
    return tuple(
        Tick(round(wait_at(value, most), 2), text, 2 if number % 2 == 0 else 1)
        for number, (value, text) in enumerate(known)
    )


def _part(value: float, end: float) -> float:
    return round(100 * value / end, 2)
