"""The tree of budgets, and which counters a call of a caller on a model touches."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from aliquot.budgets.definition import (
    DefinitionError,
    Each,
    Measure,
    ModelTerms,
    TokenBudget,
    limit_amount,
)
from aliquot.budgets.spending import Caller
from aliquot.budgets.windows import Window

MAX_DEPTH = 16


class CountedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of a budget for one caller: the counter that it reads, and the most that may stand in it."""

    counter: str
    budget: TokenBudget
    measure: Measure
    window: Window
    limit: int


class BudgetTree:
    """Budgets by name, checked to be a tree. Raises DefinitionError if they are not."""

    def __init__(self, budgets: Iterable[TokenBudget] = ()) -> None:
        self.budgets: dict[str, TokenBudget] = {}
        for budget in budgets:
            if budget.name in self.budgets:
                raise DefinitionError(f"budget {budget.name}", "is defined twice; give it another name")
            self.budgets[budget.name] = budget
        self._lines: dict[str, tuple[TokenBudget, ...]] = {
            name: tuple(self._ancestry(name)) for name in self.budgets
        }
        self._amounts: dict[str, tuple[int, ...]] = {
            name: tuple(
                limit_amount(limit, f"budget {name}: spec.limits[{number}]")
                for number, limit in enumerate(budget.spec.limits)
            )
            for name, budget in self.budgets.items()
        }

    def _ancestry(self, name: str) -> Iterator[TokenBudget]:
        """The budget and all it is part of, upwards."""
        seen: list[str] = []
        while name:
            if name in seen:
                circle = " -> ".join([*seen, name])
                raise DefinitionError(f"budget {seen[0]}: spec.parent", f"goes in a circle: {circle}")
            if name not in self.budgets:
                raise DefinitionError(
                    f"budget {seen[-1]}: spec.parent", f"there is no budget {name!r}; define it, or leave out"
                )
            seen.append(name)
            if len(seen) > MAX_DEPTH:
                raise DefinitionError(f"budget {seen[0]}: spec.parent", f"is more than {MAX_DEPTH} deep")
            budget = self.budgets[name]
            yield budget
            name = budget.spec.parent

    def of(self, caller: Caller) -> tuple[TokenBudget, ...]:
        """Every budget that the caller's calls count in: those it is a subject of, and all above them."""
        found: dict[str, TokenBudget] = {}
        for name, budget in self.budgets.items():
            if budget.spec.subject.covers(caller):
                for one in self._lines[name]:
                    found[one.name] = one
        return tuple(found.values())

    def limits(self, caller: Caller, model: ModelTerms) -> tuple[CountedLimit, ...]:
        """The limits that a call touches, in the order of their counters (stores lock in this order)."""
        found: dict[str, CountedLimit] = {}
        for budget in self.of(caller):
            member = member_of(budget.spec.each, caller)
            for limit, amount in zip(budget.spec.limits, self._amounts[budget.name], strict=True):
                if limit.models and model.name not in limit.models and model.model_class not in limit.models:
                    continue
                key = counter_key(
                    budget.name, limit.measure, limit.per, limit.models, budget.spec.each, member
                )
                known = found.get(key)
                if known is None or amount < known.limit:
                    found[key] = CountedLimit(
                        counter=key, budget=budget, measure=limit.measure, window=limit.per, limit=amount
                    )
        return tuple(found[key] for key in sorted(found))

    def about_nobody(self) -> tuple[str, ...]:
        """Budgets that no call counts in: neither they nor any below them have a subject."""
        about = {
            above.name
            for name, budget in self.budgets.items()
            if not budget.spec.subject.nobody
            for above in self._lines[name]
        }
        return tuple(sorted(self.budgets.keys() - about))

    def fallbacks(self) -> Mapping[str, str]:
        """The model that each budget falls back to, where it does."""
        return {
            name: one.spec.on_limit.model for name, one in self.budgets.items() if one.spec.on_limit.model
        }


def member_of(each: Each, caller: Caller) -> str:
    """Which of a budget's sets of counters a caller's calls count in. Callers without the property share."""
    match each:
        case Each.ALL:
            return ""
        case Each.NAMESPACE:
            return caller.namespace
        case Each.SERVICE_ACCOUNT:
            return f"{caller.namespace}/{caller.service_account}" if caller.service_account else ""
        case Each.AGENT:
            return caller.agent
        case Each.KEY:
            return caller.key
        case Each.QUEUE:
            return caller.queue
        case Each.SESSION:
            return caller.session
        case Each.USER:
            return caller.user


def counter_key(
    budget: str, measure: Measure, window: Window, models: tuple[str, ...], each: Each, member: str
) -> str:
    """The name of a counter. Limits that differ only in their amount share one, so the least of them holds.

    Percent signs and bars inside of names are escaped, so that no two counters have one name.
    """
    parts = [budget, measure.value, window.value, ",".join(sorted(models))]
    if each is not Each.ALL:
        parts += [each.value, member]
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in parts)


def counter_parts(key: str) -> tuple[str, ...]:
    """What `counter_key` made a name of: budget, measure, window, models, and for members `each`, member."""
    return tuple(part.replace("%7C", "|").replace("%25", "%") for part in key.split("|"))
