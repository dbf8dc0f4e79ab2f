"""Ranges of sizes and costs, and what is known of the sizes of operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aliquot.cel.syntax import Node
from aliquot.cel.typesystem import Type

__all__ = ["NOTHING", "ONE", "UNBOUNDED", "UNKNOWN", "Operand", "Path", "Range", "SizeOf", "fixed"]

UNBOUNDED: Final = 2**64 - 1

SizeOf = Callable[[tuple[str, ...]], int | None]
"""The largest size of what is at a path (`variable`, field names, `@items`, `@keys`, `@values`)."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A range of sizes or costs; arithmetic stops at UNBOUNDED."""

    low: int
    high: int

    def __add__(self, other: Range) -> Range:
        return Range(min(self.low + other.low, UNBOUNDED), min(self.high + other.high, UNBOUNDED))

    def __mul__(self, other: Range) -> Range:
        return Range(min(self.low * other.low, UNBOUNDED), min(self.high * other.high, UNBOUNDED))

    def scaled(self, factor: float) -> Range:
        """Both ends times the factor, rounded up."""
        return Range(_scaled(self.low, factor), _scaled(self.high, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


def _scaled(size: int, factor: float) -> int:
    product = math.ceil(float(size) * factor)
    return UNBOUNDED if product >= 2**64 else product


def fixed(size: int) -> Range:
    return Range(size, size)


UNKNOWN: Final = Range(0, UNBOUNDED)
NOTHING: Final = fixed(0)
ONE: Final = fixed(1)


@dataclass(frozen=True, slots=True)
class Operand:
    """An argument as the pricing of a call sees it."""

    node: Node | None
    type: Type
    path: Path | None
    known_size: Range | None
    size_of: SizeOf

    @property
    def size(self) -> Range:
        """Its size, UNKNOWN if nothing bounds it."""
        if self.known_size is not None:
            return self.known_size
        bound = self.size_of(self.path) if self.path else None
        return UNKNOWN if bound is None else Range(0, bound)

    def element(self) -> Operand | None:
        """An element of it, None if its type has no parameters."""
        if not self.type.parameters:
            return None
        path = (*self.path, "@items") if self.path else None
        return Operand(None, self.type.parameters[0], path, None, self.size_of)
