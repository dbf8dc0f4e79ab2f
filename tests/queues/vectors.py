"""Reading the cases of single decision functions in shared/vectors/kai/functions."""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from aliquot.queues.amounts import UNIT, Amount, exact
from aliquot.queues.tree import NO_BOUND, Bound

PER_UNIT = {"gpu": UNIT, "cpu": UNIT // 1000, "memory": UNIT}
"""Billionths per unit of the vectors: GPUs, thousandths of a core, bytes."""

RESOURCES = ("gpu", "cpu", "memory")


@cache
def cases(shared: Path, function: str) -> list[dict[str, Any]]:
    return json.loads((shared / "vectors/kai/functions" / f"{function}.json").read_text())["cases"]


def number(value: float) -> Fraction:
    return Fraction(str(value))


def amount(value: float, resource: str = "gpu") -> Amount:
    return exact(number(value) * PER_UNIT[resource])


def bound(value: float, resource: str = "gpu") -> Bound:
    return NO_BOUND if value == -1 else amount(value, resource)
