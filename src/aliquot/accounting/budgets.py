"""Budgets: how much may be spent in a period, what is spent, what it will come to, and when to tell."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec


class Period(StrEnum):
    """Calendar periods in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """The period that `now` is in: its start, and the start of the next. Weeks begin on Monday."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case Period.DAY:
                return day, day + timedelta(days=1)
            case Period.WEEK:
                start = day - timedelta(days=day.weekday())
                return start, start + timedelta(days=7)
            case Period.MONTH:
                start = day.replace(day=1)
                return start, _months_on(start, 1)
            case Period.QUARTER:
                start = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
                return start, _months_on(start, 3)
            case Period.YEAR:
                start = day.replace(day=1, month=1)
                return start, _months_on(start, 12)


def _months_on(start: datetime, months: int) -> datetime:
    month = start.month - 1 + months
    return start.replace(year=start.year + month // 12, month=month % 12 + 1)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much the accounts that match all of `selects` may cost in a period.

    selects: dimension (queue, namespace, owner, model, workload, label:NAME) and value; a queue stands for
    all queues below it as well. alert_percent: tell when spending reaches so much of the amount.
    """

    name: str
    selects: tuple[tuple[str, str], ...]
    period: Period
    amount_micros: int
    alert_percent: tuple[int, ...] = (80, 100)


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """A budget now. expected_micros: what the period will have cost at the pace so far, None at its
    beginning.

    reached: the alert levels that spending has reached.
    """

    budget: Budget
    start: datetime
    end: datetime
    spent_micros: int
    expected_micros: int | None
    reached: tuple[int, ...]

    @property
    def left_micros(self) -> int:
        return self.budget.amount_micros - self.spent_micros

    @property
    def percent(self) -> int:
        """How much of the budget is spent, rounded down, so that 100 means all of it."""
        return self.spent_micros * 100 // self.budget.amount_micros


def budget_state(budget: Budget, spent_micros: int, now: datetime) -> BudgetState:
    """How a budget stands. spent_micros: since the start of the period that `now` is in."""
    start, end = budget.period.bounds(now)
    passed, length = (now - start) // timedelta(milliseconds=1), (end - start) // timedelta(milliseconds=1)
    # A forecast from less than a fiftieth of the period (half a day of a month) would say more about chance.
    expected = spent_micros * length // passed if passed * 50 >= length else None
    return BudgetState(
        budget=budget,
        start=start,
        end=end,
        spent_micros=spent_micros,
        expected_micros=expected,
        reached=tuple(
            level for level in budget.alert_percent if spent_micros * 100 >= level * budget.amount_micros
        ),
    )


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Spending reached a level of a budget in the period from `start` on; told once."""

    budget: str
    start: datetime
    level: int
    spent_micros: int
    amount_micros: int
    currency: str
    selects: tuple[tuple[str, str], ...] = ()

    @property
    def subject(self) -> tuple[str, str]:
        """Kind and name of the object that an event about it belongs to: the budget's Queue, else its
        Namespace; ("", "") for a budget of neither."""
        chosen = dict(self.selects)
        kinds = (("queue", "Queue"), ("namespace", "Namespace"))
        return next(((kind, chosen[name]) for name, kind in kinds if name in chosen), ("", ""))

    @property
    def text(self) -> str:
        spent, amount = self.spent_micros / 1e6, self.amount_micros / 1e6
        return (
            f"budget {self.budget}: {spent:,.2f} of {amount:,.2f} {self.currency} spent since"
            f" {self.start:%Y-%m-%d}, at or above {self.level} %"
        )


def alerts(state: BudgetState, currency: str) -> tuple[Alert, ...]:
    """What there is to tell about a budget; whoever keeps a record of it leaves out what was told before."""
    return tuple(
        Alert(
            budget=state.budget.name,
            start=state.start,
            level=level,
            spent_micros=state.spent_micros,
            amount_micros=state.budget.amount_micros,
            currency=currency,
            selects=state.budget.selects,
        )
        for level in state.reached
    )
