"""How well a figure is known: measured, estimated by a rule, or not at all.

A figure without its provenance looks truer than it is: on a time-sliced GPU the exporter repeats the value of
the whole device for every pod (dcgm-exporter issues 587 and 642). So a figure is a `Known`, and a sum of many
is a `Tally`, in which what was measured, what was estimated and how much is missing stay apart.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar


class Provenance(enum.StrEnum):
    """How a figure came about, the best first."""

    MEASURED = "measured"
    """Read from a sensor or counter that measures just this."""
    ESTIMATED = "estimated"
    """Worked out by a rule from figures that measure something else; the rule is named beside it."""
    UNKNOWN = "unknown"
    """Nobody can say. Not zero."""


_ORDER = tuple(Provenance)


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """The provenance of what was made from all of these; of nothing at all, MEASURED."""
    return max(provenances, key=_ORDER.index, default=Provenance.MEASURED)


Number = TypeVar("Number", int, Fraction)


@dataclass(frozen=True, slots=True)
class Known(Generic[Number]):
    """A figure, how it came about, and by which rule.

    value: None exactly when it is unknown. rule: of an estimate, how it was made; of something unknown, why
    it is; "" for a measurement. Rules joined from several are sorted and separated by "; ".
    """

    value: Number | None
    provenance: Provenance
    rule: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.provenance is Provenance.UNKNOWN):
            raise ValueError(f"a figure that is {self.provenance} cannot be {self.value}")
        if self.provenance is Provenance.ESTIMATED and not self.rule:
            raise ValueError("an estimate has to name its rule")

    @staticmethod
    def measured(value: Number) -> "Known[Number]":
        return Known(value, Provenance.MEASURED)

    @staticmethod
    def estimated(value: Number, rule: str) -> "Known[Number]":
        return Known(value, Provenance.ESTIMATED, rule)

    @staticmethod
    def unknown(why: str = "") -> "Known[Number]":
        return Known(None, Provenance.UNKNOWN, why)

    def __add__(self, other: "Known[Number]") -> "Known[Number]":
        """The weakest provenance wins: measured + estimated is estimated, anything + unknown is unknown.

        A sum with an unknown part has no value, because the sum of the others would pass for the whole;
        where that sum is wanted, with what it lacks beside it, use a `Tally`.
        """
        provenance = weakest((self.provenance, other.provenance))
        rule = joined_rules(item.rule for item in (self, other) if item.provenance is provenance)
        if self.value is None or other.value is None:
            return Known(None, Provenance.UNKNOWN, rule)
        return Known(self.value + other.value, provenance, rule)

    @property
    def known(self) -> bool:
        return self.value is not None


def joined_rules(rules: Iterable[str]) -> str:
    """Several rules as one text: each once, sorted."""
    return "; ".join(sorted({part for rule in rules if rule for part in rule.split("; ")}))


@dataclass(frozen=True, slots=True)
class Tally(Generic[Number]):
    """A sum that keeps apart what is known how well.

    measured, estimated: the sums of the figures known so. unknown: how many figures had no value, or, where
    the caller weighs them (device-milliseconds without a sample), how much is missing. rule: of the
    estimates.
    """

    measured: Number
    estimated: Number
    unknown: int = 0
    rule: str = ""

    @staticmethod
    def of(figures: Iterable[Known[int]]) -> "Tally[int]":
        """The sum of figures, counting those without a value: 3 measured + 4 estimated + unknown."""
        measured = estimated = unknown = 0
        rules: set[str] = set()
        for figure in figures:
            if figure.value is None:
                unknown += 1
            elif figure.provenance is Provenance.MEASURED:
                measured += figure.value
            else:
                estimated += figure.value
                rules.add(figure.rule)
        return Tally(measured, estimated, unknown, joined_rules(rules))

    def __add__(self, other: "Tally[Number]") -> "Tally[Number]":
        return Tally(
            self.measured + other.measured,
            self.estimated + other.estimated,
            self.unknown + other.unknown,
            joined_rules((self.rule, other.rule)),
        )

    @property
    def value(self) -> Number:
        """What is known of the sum; the whole only when nothing is unknown."""
        return self.measured + self.estimated

    @property
    def provenance(self) -> Provenance:
        """UNKNOWN as soon as a part is; ESTIMATED as soon as a rule was used."""
        if self.unknown:
            return Provenance.UNKNOWN
        return Provenance.ESTIMATED if self.rule else Provenance.MEASURED

    @property
    def whole(self) -> Known[Number]:
        """The sum as one figure: unknown as soon as a part of it is."""
        if self.unknown:
            return Known(None, Provenance.UNKNOWN, "parts of it are unknown")
        return Known(self.value, self.provenance, self.rule)
