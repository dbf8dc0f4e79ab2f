"""Budgets of calls as purses that devices are paid from, too: what is left of their limits on money."""

from collections.abc import Collection, Iterator, Mapping

from msgspec.structs import replace

from aliquot.budgets.definition import NANO, Each, Limit, Measure, ModelTerms, TokenBudget, limit_amount
from aliquot.budgets.holding import Gauge
from aliquot.budgets.tree import BudgetTree, counter_key
from aliquot.model.funds import Purse

_NANO_PER_MICRO = NANO // 10**6
_NONE = Gauge(0, 0)


def purses_of(
    tree: BudgetTree, gauges: Mapping[str, Gauge], terms: Collection[ModelTerms]
) -> tuple[Purse, ...]:
    """One purse for each budget, and one for each set of models that a budget limits money for.

    What is left is the least of the budget's windows, as what is committed counts in all of them. A budget
    whose members have counters of their own (`each`) bounds nothing here but through its parents; nor does
    one that is about service accounts, agents, keys or users.
    """
    found: list[Purse] = []
    for budget in tree.budgets.values():
        found += _purses(budget, gauges, terms)
    return tuple(sorted(found, key=lambda purse: purse.name))


def _purses(
    budget: TokenBudget, gauges: Mapping[str, Gauge], terms: Collection[ModelTerms]
) -> Iterator[Purse]:
    spec, subject = budget.spec, budget.spec.subject
    narrow = bool(subject.service_account or subject.agent or subject.key or subject.user)
    bare = Purse(parent=spec.parent)
    if not narrow:
        bare = replace(bare, queue=subject.queue, namespace=subject.namespace, everyone=subject.everyone)
    left: dict[tuple[str, ...], int] = {}
    for limit in spec.limits:
        if limit.measure is Measure.MONEY and spec.each is Each.ALL:
            rest = _left(budget, limit, gauges)
            left[limit.models] = min(rest, left.get(limit.models, rest))
    yield replace(bare, name=budget.name, left=left.pop((), None))
    for models, rest in left.items():
        names = set(models) | {one.name for one in terms if one.model_class in models}
        name = f"{budget.name} ({','.join(models)})"
        yield replace(bare, name=name, parent="", models=tuple(sorted(names)), left=rest)


def _left(budget: TokenBudget, limit: Limit, gauges: Mapping[str, Gauge]) -> int:
    """Micro-units, rounded down; below 0 where more is spent than the limit allows by now."""
    key = counter_key(budget.name, limit.measure, limit.per, limit.models, Each.ALL, "")
    gauge = gauges.get(key, _NONE)
    return (limit_amount(limit, budget.name) - gauge.spent - gauge.held) // _NANO_PER_MICRO
