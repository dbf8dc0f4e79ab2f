"""Why a call is refused: facts first, made into words and waiting times at the edge."""

import msgspec

from aliquot.budgets.definition import Action, Measure
from aliquot.budgets.holding import Charge, Gauge, Short
from aliquot.budgets.tree import CountedLimit
from aliquot.budgets.windows import Window

UNITS: dict[Measure, str] = {
    Measure.INPUT_TOKENS: "input tokens",
    Measure.OUTPUT_TOKENS: "output tokens",
    Measure.TOTAL_TOKENS: "tokens",
    Measure.REQUESTS: "requests",
    Measure.CONCURRENCY: "calls at the same time",
    Measure.MONEY: "of money",
    Measure.JOULES: "joules",
}


class BudgetRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that has no room for a call.

    limit, left, needed: in units of the counter (`Measure.scale`). free_at_us: when there will be room,
    None if that is not known (calls under way have to end) or never comes (`never`).
    """

    budget: str
    measure: Measure
    window: Window
    limit: int
    left: int
    needed: int
    free_at_us: int | None
    action: Action
    model: str

    @property
    def never(self) -> bool:
        """Whether the call is larger than the whole limit."""
        return self.needed > self.limit

    def sentence(self, currency: str) -> str:
        """The refusal in words, with amounts in the units that people use."""
        per = "" if self.window is Window.NOW else f" per {self.window.value}"
        unit = currency if self.measure is Measure.MONEY else UNITS[self.measure]
        text = (
            f"Budget {self.budget} allows {amount_text(self.limit, self.measure)} {unit}{per} for model "
            f"{self.model}; {amount_text(max(self.left, 0), self.measure)} are left and this call may need "
            f"{amount_text(self.needed, self.measure)}."
        )
        if self.never:
            return f"{text} It never fits: ask for fewer output tokens, send less, or have the budget raised."
        return text


def refusal(
    limits: tuple[CountedLimit, ...], charges: tuple[Charge, ...], short: Short, least: int, model: str
) -> BudgetRefusal:
    """The facts of a refused hold. limits, charges: in the same order."""
    limit, charge = limits[short.charge], charges[short.charge]
    gauge: Gauge = short.gauge
    return BudgetRefusal(
        budget=limit.budget.name,
        measure=limit.measure,
        window=limit.window,
        limit=limit.limit,
        left=limit.limit - gauge.spent - gauge.held,
        needed=charge.fixed + charge.per_unit * least,
        free_at_us=short.free_at,
        action=limit.budget.spec.on_limit.action,
        model=model,
    )


def amount_text(value: int, measure: Measure) -> str:
    """An amount of a counter in the units that people use: money and joules as exact decimals."""
    scale = measure.scale
    if scale == 1:
        return str(value)
    whole, rest = divmod(value, scale)
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def crossed(limit: CountedLimit, before: int, after: int) -> int | None:
    """The highest alert threshold (percent) that was reached between two readings, None for none."""
    reached = [
        percent
        for percent in limit.budget.spec.alerts_at_percent
        if before * 100 < percent * limit.limit <= after * 100
    ]
    return max(reached, default=None)
