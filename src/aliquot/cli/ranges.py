"""Ranges of numbers that options take."""

import math
from typing import Any

import click


class Numbers(click.FloatRange):
    """As FloatRange, without NaN, which is in every range because it is neither below nor above one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found
