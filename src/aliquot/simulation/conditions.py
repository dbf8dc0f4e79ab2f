"""Conditions on a comparison, by which a pipeline fails: `evictions>0`, `+cost>=50`, `start.team/job>30m`.

    condition  = [ "+" ] figure operator number [ unit ]
    figure     = a metric (`METRICS`), a count of effects (`later`, `evicted` ...), `start.NAMESPACE/NAME`
    operator   = ">" | ">=" | "<" | "<=" | "=" | "!="
    unit       = "s" | "m" | "h" | "d" (time, also of devices), "%", "J" | "kJ" | "kWh" | "MWh"

With `+` the figure is how much more of it there is by the change. A workload that does not start counts as
one that starts after any time.
"""

import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType

import msgspec

from aliquot.simulation.comparing import METRICS, Comparison, Effect, Metric, Unit

_TEXT = re.compile(
    r"\s*(?P<more>\+)?\s*(?P<figure>[A-Za-z][A-Za-z0-9_./-]*)\s*(?P<operator>>=|<=|!=|==|=|>|<)\s*"
    r"(?P<number>-?[0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(?P<unit>[A-Za-z%]*)\s*"
)
_OPERATORS: Mapping[str, Callable[[Fraction, Fraction], bool]] = MappingProxyType(
    {
        ">": operator.gt,
        ">=": operator.ge,
        "<": operator.lt,
        "<=": operator.le,
        "=": operator.eq,
        "==": operator.eq,
        "!=": operator.ne,
    }
)
_TIMES = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_UNITS: Mapping[Unit, Mapping[str, int]] = MappingProxyType(
    {
        Unit.COUNT: {"": 1},
        Unit.SECONDS: _TIMES,
        Unit.DEVICE_SECONDS: _TIMES,
        Unit.PERCENT: {"": 1, "%": 1},
        Unit.JOULES: {"": 1, "J": 1, "kJ": 1000, "kWh": 3_600_000, "MWh": 3_600_000_000},
        Unit.MONEY: {"": 1},
    }
)
_START = "start."
_BY_NAME = {metric.name: metric for metric in METRICS}
_EFFECTS = {effect.value: effect for effect in Effect}


class ConditionError(Exception):
    """A condition that cannot be read. text: as given; problem, fix: text."""

    def __init__(self, text: str, problem: str, fix: str) -> None:
        super().__init__(text, problem, fix)
        self.text = text
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.text!r}: {self.problem}; {self.fix}"


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """text: as given. more: it is about how much more there is by the change. bound: in the figure's unit."""

    text: str
    figure: str
    operator: str
    bound: Fraction
    unit: Unit
    more: bool = False

    def value(self, comparison: Comparison) -> Fraction | None:
        """What the figure is; None for a start that does not happen. Raises ConditionError for a workload
        that is in neither simulation."""
        metric = _BY_NAME.get(self.figure)
        if metric is not None:
            after = metric.of(comparison.after)
            return after - metric.of(comparison.before) if self.more else after
        effect = _EFFECTS.get(self.figure)
        if effect is not None:
            return Fraction(comparison.counts().get(effect, 0))
        return self._start(comparison)

    def _start(self, comparison: Comparison) -> Fraction | None:
        wanted = self.figure.removeprefix(_START)
        for item in comparison.differences:
            if item.name != wanted:
                continue
            if self.more:
                return None if item.shift is None else Fraction(item.shift)
            started = item.after.started if item.after is not None else None
            return None if started is None else Fraction(started)
        raise ConditionError(self.text, f"there is no workload {wanted}", "write NAMESPACE/NAME of one")

    def holds(self, comparison: Comparison) -> bool:
        """Whether it holds. What never starts starts later than any time."""
        value = self.value(comparison)
        if value is None:
            return self.operator in (">", ">=", "!=")
        return _OPERATORS[self.operator](value, self.bound)


def parse(text: str) -> Condition:
    """Read a condition. Raises ConditionError."""
    matched = _TEXT.fullmatch(text)
    if matched is None:
        raise ConditionError(text, "is no condition", "write one such as evictions>0 or +wait.p90>10m")
    figure = matched["figure"]
    metric: Metric | None = _BY_NAME.get(figure)
    more = matched["more"] is not None
    if metric is not None:
        unit = metric.unit
    elif figure in _EFFECTS:
        unit = Unit.COUNT
        if more:
            raise ConditionError(text, f"{figure} is a difference already", "leave the + out")
    elif figure.startswith(_START) and "/" in figure:
        unit = Unit.SECONDS
    else:
        known = ", ".join((*_BY_NAME, *_EFFECTS, "start.NAMESPACE/NAME"))
        raise ConditionError(text, f"there is no figure {figure!r}", f"write one of {known}")
    factor = _UNITS[unit].get(matched["unit"])
    if factor is None:
        units = ", ".join(name for name in _UNITS[unit] if name)
        fix = f"write one of {units}" if units else "leave the unit out"
        raise ConditionError(text, f"{matched['unit']!r} is no unit of {figure}", fix)
    return Condition(
        text=text.strip(),
        figure=figure,
        operator=matched["operator"],
        bound=Fraction(matched["number"]) * factor,
        unit=unit,
        more=more,
    )
