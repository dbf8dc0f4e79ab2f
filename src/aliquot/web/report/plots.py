"""Plots as data for the page: paths in a square of WIDTH x HEIGHT that is stretched to the room there is.

Words stand beside the drawing as text of the page, placed in per cent, so that they keep their size on any
screen.
"""

import json
from collections.abc import Sequence

import msgspec

from aliquot.web.report.curves import Curve
from aliquot.web.report.scales import Tick, nice, number_text, time_ticks, value_ticks

WIDTH, HEIGHT = 600, 200
COLOURS = 8
"""Colours of the page's style for policies, 0 to 7, and then from the beginning."""

MOST_BANDS = 3
"""Ranges are drawn of no more curves than that, for they would hide the lines; the pointer tells them."""


class Stroke(msgspec.Struct, frozen=True, kw_only=True):
    """A path. kind: the class of its style (line, dotted, area, band, wash); tone: that of its colour."""

    path: str
    kind: str
    tone: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A word of a legend. kind, tone: as of the strokes that it stands for."""

    text: str
    kind: str
    tone: str


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """One plot. title: what is drawn; note: a sentence below it; unit: of the values.

    told: the plot in words. data: the values as JSON, shown at the pointer."""

    title: str
    note: str
    unit: str
    told: str
    strokes: tuple[Stroke, ...]
    times: tuple[Tick, ...]
    values: tuple[Tick, ...]
    keys: tuple[Key, ...] = ()
    data: str = ""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A curve of a plot, of which each value holds until the next. name: in the legend and at the pointer.
    kind: line, dotted or area. stacked: lies on the stacked ones before. fills: the room below the line is
    lightly filled."""

    name: str
    curve: Curve
    tone: str
    kind: str = "line"
    stacked: bool = False
    fills: bool = False


def tone(number: int) -> str:
    """The colour of a policy by its number."""
    return f"c{number % COLOURS}"


def plot(
    title: str,
    note: str,
    unit: str,
    layers: Sequence[Layer],
    end: int,
    *,
    least: float = 0.0,
    most: float | None = None,
    legend: bool = True,
) -> Plot:
    """A plot of values over time, from 0 to `end` seconds. least: the end of the value axis at least; most:
    the end of it exactly, what is above is cut off."""
    base: list[float] = []
    drawn: list[tuple[Layer, Curve, list[float]]] = []
    highest = least
    for layer in layers:
        curve, floor = layer.curve, [0.0] * len(layer.curve.times)
        if layer.stacked:
            base += [0.0] * (len(curve.times) - len(base))
            floor = list(base[: len(curve.times)])
            middle = tuple(value + below for value, below in zip(curve.middle, floor, strict=True))
            base[: len(middle)] = middle
            curve = Curve(curve.times, middle, middle, middle)
        drawn.append((layer, curve, floor))
        highest = max(highest, curve.most)
    top, step = nice(highest if most is None else most)
    if most:
        top = most
    frame = _Frame(end, top)
    strokes: list[Stroke] = []
    for layer, curve, _ in drawn:
        if len(layers) <= MOST_BANDS and not layer.stacked and curve.low != curve.high:
            strokes.append(
                Stroke(path=frame.band(curve.times, curve.low, curve.high), kind="band", tone=layer.tone)
            )
    for layer, curve, floor in drawn:
        if layer.kind == "area" or layer.fills:
            kind = "area" if layer.kind == "area" else "wash"
            strokes.append(
                Stroke(path=frame.band(curve.times, floor, curve.middle), kind=kind, tone=layer.tone)
            )
    for layer, curve, _ in drawn:
        if layer.kind != "area":
            strokes.append(
                Stroke(path=frame.line(curve.times, curve.middle), kind=layer.kind, tone=layer.tone)
            )
    return Plot(
        title=title,
        note=note,
        unit=unit,
        told=_told(title, unit, layers),
        strokes=tuple(strokes),
        times=time_ticks(end),
        values=value_ticks(top, step),
        keys=tuple(Key(text=item.name, kind=item.kind, tone=item.tone) for item in layers) if legend else (),
        data=_data(layers, end, unit),
    )


class _Frame:
    """From times and values to places in the drawing. Values hold until the next time."""

    def __init__(self, end: int, top: float) -> None:
        self._end = max(1, end)
        self._top = top

    def _x(self, time: float) -> str:
        return _short(WIDTH * min(time, self._end) / self._end)

    def _y(self, value: float) -> str:
        return _short(HEIGHT - HEIGHT * min(max(value, 0.0), self._top) / self._top)

    def _forward(self, times: Sequence[int], values: Sequence[float]) -> list[str]:
        found: list[str] = []
        before = ""
        for time, value in zip(times, values, strict=True):
            y = self._y(value)
            if y != before:
                found.append(f"H{self._x(time)}V{y}")
                before = y
        found.append(f"H{self._x(self._end)}" if len(times) > 1 else f"H{WIDTH}")
        return found

    def line(self, times: Sequence[int], values: Sequence[float]) -> str:
        if not times:
            return ""
        return f"M{self._x(times[0])} {self._y(values[0])}" + "".join(self._forward(times, values))

    def band(self, times: Sequence[int], low: Sequence[float], high: Sequence[float]) -> str:
        """The room between two lines."""
        if not times:
            return ""
        back: list[str] = []
        end = self._x(self._end) if len(times) > 1 else str(WIDTH)
        right = end
        for time, value in zip(reversed(times), reversed(low), strict=True):
            back.append(f"H{right}V{self._y(value)}")
            right = self._x(time)
        return f"{self.line(times, high)}{''.join(_merged(back))}H{right}Z"


def _merged(steps: Sequence[str]) -> list[str]:
    """Steps without those that stay at the height of the step before."""
    found: list[str] = []
    height = ""
    for step in steps:
        across, _, down = step.partition("V")
        if down == height and found:
            continue
        found.append(f"{across}V{down}")
        height = down
    return found


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _told(title: str, unit: str, layers: Sequence[Layer]) -> str:
    parts = [
        f"{item.name}: {number_text(item.curve.mean)} {unit} in the mean,"
        f" at most {number_text(item.curve.most)}"
        for item in layers
        if item.curve.times
    ]
    return f"{title} over time. {'; '.join(parts)}."


def _data(layers: Sequence[Layer], end: int, unit: str) -> str:
    times = max((item.curve.times for item in layers), key=len, default=())
    rows = [
        {
            "name": item.name,
            "tone": item.tone,
            "values": [_value(value) for value in item.curve.middle],
            **(
                {"low": [_value(v) for v in item.curve.low], "high": [_value(v) for v in item.curve.high]}
                if item.curve.low != item.curve.high
                else {}
            ),
        }
        for item in layers
    ]
    return json.dumps({"end": end, "unit": unit, "times": list(times), "rows": rows}, separators=(",", ":"))


def _value(value: float) -> float | int:
    found = float(f"{value:.4g}")
    return int(found) if found.is_integer() else found
