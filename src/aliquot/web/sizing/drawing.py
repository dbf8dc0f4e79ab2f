"""Ranges and distributions as SVG paths and places, in per cent of their axis."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 200
TICKS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Range:
    """One row's quantity: p50, p95, peak, and what is needed, as per cent of the axis; text tells it."""

    low: float
    middle: float
    high: float
    mark: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A distribution: the part of workloads (0 to 1) with at most so much. name: in the legend; tone: its
    colour."""

    name: str
    tone: str
    path: str


def axis(most: float, unit: str = "", steps: int = 5) -> tuple[float, tuple[Tick, ...]]:
    """The end of an axis that holds `most`, and its ticks; the last one has the unit."""
    if most <= 0:
        return 1.0, (Tick(0, "0"),)
    raw = most / steps
    size = 1.0
    while size * 10 <= raw:
        size *= 10
    while size > raw:
        size /= 10
    step = next(size * factor for factor in TICKS if size * factor >= raw)
    count = -(-most // step)
    top = step * count
    numbers = range(int(count) + 1)
    shown = (Tick(100 * at / count, f"{step * at:g}{unit if at == count else ''}") for at in numbers)
    return top, tuple(shown)


def distribution(values: Sequence[float], top: float) -> str:
    """The path of a distribution function in a frame of WIDTH x HEIGHT."""
    ordered = sorted(values)
    if not ordered:
        return ""
    pieces = [f"M0 {HEIGHT}"]
    for number, value in enumerate(ordered, 1):
        across = round(min(value / top, 1) * WIDTH, 1)
        pieces.append(f"H{across:g}V{round(HEIGHT * (1 - number / len(ordered)), 1):g}")
    pieces.append(f"H{WIDTH}")
    return "".join(pieces)


def percent(value: float, top: float) -> float:
    """Where a value lies on an axis, 0 to 100."""
    return round(100 * min(max(value / top, 0.0), 1.0), 2) if top else 0.0
