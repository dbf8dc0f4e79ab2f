"""The page: memory and compute of every workload, its size in each fleet, and what that saves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from aliquot import __version__
from aliquot.sizing.backtest import device_count
from aliquot.sizing.choosing import Recommendation
from aliquot.sizing.judging import gib
from aliquot.sizing.parts import Part
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Spread
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.web.sizing.drawing import HEIGHT, WIDTH, Range, Step, Tick, axis, distribution, percent

MOST_ROWS = 500
"""More workloads are counted, and not listed."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("aliquot.web.sizing", "page"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True, slots=True)
class Size:
    """A workload in one fleet. kind: part, whole or none, which is how it is shown."""

    text: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    kind: str
    kind_rule: str
    memory: Range
    busy: Range | None
    sizes: tuple[Size, ...]
    advice: str
    confidence: str
    confidence_title: str
    risk: str
    risk_title: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One fleet. taken: devices that its parts fill; whole: one for each device now used; unserved: workloads
    for which it has nothing. bar: taken of whole, per cent. modes: how many parts of each mode."""

    name: str
    taken: int
    whole: int
    unserved: int
    bar: float
    saved: str
    money: str
    modes: str


@dataclass(frozen=True, slots=True)
class Plot:
    title: str
    note: str
    told: str
    ticks: tuple[Tick, ...]
    steps: tuple[Step, ...]
    marks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """Recommendations by fleet, for the same workloads in the same order. together: by model, devices that
    workloads take when those that fit together share devices, and how many workloads that are. prices: in
    which money, and whose prices; "" where nobody says."""

    fleets: Mapping[str, Sequence[Recommendation]]
    policy: SizingPolicy
    together: Mapping[str, tuple[int, int]]
    prices: str = ""

    @staticmethod
    def of(
        fleets: Mapping[str, Sequence[Recommendation]],
        policy: SizingPolicy,
        together: Mapping[str, tuple[int, int]] | None = None,
        prices: str = "",
    ) -> "Sized":
        return Sized(dict(fleets), policy, dict(together or {}), prices)

    @property
    def first(self) -> Sequence[Recommendation]:
        return next(iter(self.fleets.values()), ())


def render(sized: Sized, *, linked: bool = False) -> str:
    """The page. linked: with its style beside it, as a server gives it; else all in one file."""
    found = sized.first
    memory_top, memory_ticks = axis(
        max((max(item.profile.memory.peak, item.need) for item in found), default=0) / (1 << 30), " GiB"
    )
    order = sorted(range(len(found)), key=lambda number: (-found[number].profile.memory.peak, number))
    rows = [_row(sized, number, memory_top) for number in order[:MOST_ROWS]]
    return _TEMPLATES.get_template("page.html").render(
        linked=linked,
        style="" if linked else style(),
        version=__version__,
        title=f"{len(found)} workload{'' if len(found) == 1 else 's'}",
        facts=_facts(found, sized),
        fleets=tuple(sized.fleets),
        summaries=[
            *(_summary(name, items) for name, items in sized.fleets.items()),
            *(_together(name, *counts) for name, counts in sized.together.items()),
        ],
        plots=_plots(sized) if found else [],
        rows=rows,
        left_out=len(found) - len(rows),
        memory_ticks=memory_ticks,
        width=WIDTH,
        height=HEIGHT,
    )


def missing(problem: str) -> str:
    """The page of a server that has no sizes to show, and why."""
    return _TEMPLATES.get_template("none.html").render(problem=problem)


def style() -> str:
    """The style sheet of the page."""
    return resources.files("aliquot.web.sizing").joinpath("static", "sizing.css").read_text("utf-8")


def _facts(found: Sequence[Recommendation], sized: Sized) -> list[tuple[str, str]]:
    policy = sized.policy
    hours = max((item.profile.hours for item in found), default=0.0)
    return [
        ("History", f"{hours / 24:.1f} d" if hours >= 72 else f"{hours:.1f} h"),
        ("Accepted risk", f"{policy.risk:g} an hour"),
        ("Margin", f"{policy.margin_percent} %"),
        ("Isolation", policy.isolation),
        ("Modes", ", ".join(policy.modes)),
        *([("Prices", sized.prices)] if sized.prices else []),
    ]


def _summary(name: str, items: Sequence[Recommendation]) -> Summary:
    parts = [
        item.part
        for item in items
        for _ in range(item.profile.pods * item.profile.devices)
        if item.part is not None
    ]
    whole = len(parts)
    taken = device_count(parts)
    modes = Counter("whole" if part.exclusive else part.mode.value for part in parts)
    money = [item.saving_micros for item in items if item.saving_micros is not None]
    return Summary(
        name=name,
        taken=taken,
        whole=whole,
        unserved=sum(1 for item in items if item.part is None),
        bar=percent(taken, whole) if whole else 0.0,
        saved=f"{100 * (whole - taken) / whole:.0f} %" if whole else "0 %",
        money=f"{sum(money) / 1_000_000:,.2f} an hour" if money else "",
        modes=", ".join(f"{count} {mode}" for mode, count in modes.most_common()),
    )


def _together(name: str, taken: int, whole: int) -> Summary:
    return Summary(
        name=f"{name}, together",
        taken=taken,
        whole=whole,
        unserved=0,
        bar=percent(taken, whole) if whole else 0.0,
        saved=f"{100 * (whole - taken) / whole:.0f} %" if whole else "0 %",
        money="",
        modes="several on a device by their joint history, for workloads that trust each other",
    )


def _row(sized: Sized, number: int, memory_top: float) -> Row:
    item = sized.first[number]
    profile = item.profile
    confidence = item.confidence
    return Row(
        name=profile.name.strip("/"),
        kind=profile.kind.value,
        kind_rule=profile.kind_rule,
        memory=_memory(profile.memory, item.need, memory_top),
        busy=_busy(profile.busy),
        sizes=tuple(_size(items[number]) for items in sized.fleets.values()),
        advice=item.advice.value,
        confidence=confidence.level.value,
        confidence_title=f"{confidence.value:.2f} = history {confidence.history:.2f} x stability "
        f"{confidence.stability:.2f} x coverage {confidence.coverage:.2f} x source {confidence.source:.2f}",
        risk=item.risk.level.value if item.risk is not None else "",
        risk_title=item.risk.why if item.risk is not None else "",
    )


def _memory(spread: Spread, need: int, top: float) -> Range:
    low, middle, high, mark = (
        percent(value / (1 << 30), top) for value in (spread.p50, spread.p95, spread.peak, need)
    )
    text = f"p50 {gib(spread.p50)}, p95 {gib(spread.p95)}, peak {gib(spread.peak)}, needed {gib(need)}"
    return Range(low, middle, high, mark, text)


def _busy(spread: Spread | None) -> Range | None:
    if spread is None:
        return None
    low, middle, high = (percent(value, WHOLE_PPM) for value in (spread.p50, spread.p95, spread.peak))
    return Range(low, middle, high, None, f"p50 {low:.0f} %, p95 {middle:.0f} %, peak {high:.0f} %")


def _size(item: Recommendation) -> Size:
    part = item.part
    if part is None:
        return Size("none", "none", item.reason)
    text = part.accelerator.id if part.exclusive else f"{part.name} {_short(part)}"
    return Size(text, "whole" if part.exclusive else "part", f"{part.label}: {item.reason}")


def _short(part: Part) -> str:
    return f"of {part.accelerator.id}" if "/" in part.name else part.accelerator.id


def _plots(sized: Sized) -> list[Plot]:
    found = sized.first
    memory = [item.profile.memory for item in found]
    peaks = [spread.peak / (1 << 30) for spread in memory]
    needs = [item.need / (1 << 30) for item in found]
    sizes = _sizes(sized)
    top, ticks = axis(max(*needs, *(size for size, _ in sizes), 0.0), " GiB")
    lines = (("p50", "c2", [spread.p50 / (1 << 30) for spread in memory]), ("peak", "c0", peaks))
    steps = tuple(
        Step(name, tone, distribution(values, top))
        for name, tone, values in (*lines, ("needed", "c1", needs))
    )
    plots = [
        Plot(
            title="Memory",
            note="How many workloads need at most so much. Upright lines are sizes of the fleets.",
            told=f"Peaks from {min(peaks):.1f} to {max(peaks):.1f} GiB",
            ticks=ticks,
            steps=steps,
            marks=tuple(Tick(percent(size, top), text) for size, text in sizes),
        )
    ]
    busy = [item.profile.busy for item in found if item.profile.busy is not None]
    if busy:
        medians, highs, most = (
            [100 * value / WHOLE_PPM for value in values]
            for values in zip(*((spread.p50, spread.p95, spread.peak) for spread in busy), strict=True)
        )
        top, ticks = axis(100, " %")
        plots.append(
            Plot(
                title="Compute",
                note="How many workloads keep a device busy for at most so much of the time.",
                told=f"The median workload keeps busy {sorted(medians)[len(medians) // 2]:.0f} % of the time",
                ticks=ticks,
                steps=(
                    Step("p50", "c2", distribution(medians, top)),
                    Step("p95", "c1", distribution(highs, top)),
                    Step("peak", "c0", distribution(most, top)),
                ),
                marks=(),
            )
        )
    return plots


def _sizes(sized: Sized) -> list[tuple[float, str]]:
    """The sizes that are recommended most often, for lines in the plot."""
    counts: Counter[tuple[float, str]] = Counter()
    for items in sized.fleets.values():
        for item in items:
            part = item.part
            if part is not None and part.mode.value in ("exclusive", "mig"):
                counts[
                    round(part.memory / (1 << 30), 1), part.accelerator.id if part.exclusive else part.name
                ] += 1
    kept: list[tuple[float, str]] = []
    for size, text in sorted(size for size, _ in counts.most_common(8)):
        if not kept or size - kept[-1][0] > 2:
            kept.append((size, text))
    return kept
