"""The table of token budgets: a row for each limit, and for each member that has counters of its own."""

from collections.abc import Iterator, Mapping

from aliquot.budgets.definition import Each, Limit, Measure, Subject, TokenBudget, limit_amount
from aliquot.budgets.holding import Gauge
from aliquot.budgets.refusals import amount_text
from aliquot.budgets.tree import BudgetTree, counter_key, counter_parts
from aliquot.budgets.windows import Window
from aliquot.cli.output import Column, Row, Table

_COLUMNS = (
    Column(title="BUDGET", key="budget", least=14),
    Column(title="MEMBER", key="member", least=10),
    Column(title="MEASURE", key="measure"),
    Column(title="PER", key="per", drop=4),
    Column(title="MODELS", key="models", wide=True),
    Column(title="LIMIT", key="limit", right=True),
    Column(title="SPENT", key="spent", right=True),
    Column(title="HELD", key="held", right=True, wide=True),
    Column(title="LEFT", key="left", right=True, drop=2),
    Column(title="USED", key="used", right=True),
    Column(title="AT LIMIT", key="onLimit", drop=1),
    Column(title="SUBJECT", key="subject", wide=True),
)


def of_budget(tree: BudgetTree, name: str) -> BudgetTree:
    """A tree with one budget and all above it."""
    found: list[TokenBudget] = []
    while name:
        budget = tree.budgets[name]
        found.append(budget)
        name = budget.spec.parent
    return BudgetTree(found)


def budget_table(
    tree: BudgetTree, gauges: Mapping[str, Gauge], currency: str, *, only: str = ""
) -> tuple[Table, bool]:
    """The table, children indented below their parents, and whether any limit is used up."""
    members: dict[str, list[str]] = {}
    for key in gauges:
        parts = counter_parts(key)
        if len(parts) == 6:
            members.setdefault(parts[0], []).append(parts[5])
    rows: list[Row] = []
    used_up = False
    for depth, budget in _walk(tree, "", 0):
        if only and budget.name != only:
            continue
        shown = [""] if budget.spec.each is Each.ALL else sorted(set(members.get(budget.name, []))) or ["-"]
        for member in shown:
            for number, limit in enumerate(budget.spec.limits):
                amount = limit_amount(limit, budget.name)
                key = counter_key(
                    budget.name, limit.measure, limit.per, limit.models, budget.spec.each, member
                )
                gauge = gauges.get(key, Gauge(0, 0))
                used_up = used_up or gauge.spent + gauge.held >= amount
                rows.append(_row(budget, limit, amount, gauge, member, currency, depth, number))
    return Table(kind="TokenBudgetList", columns=_COLUMNS, rows=tuple(rows)), used_up


def _walk(tree: BudgetTree, parent: str, depth: int) -> Iterator[tuple[int, TokenBudget]]:
    for name in sorted(tree.budgets):
        budget = tree.budgets[name]
        if budget.spec.parent == parent:
            yield depth, budget
            yield from _walk(tree, name, depth + 1)


def _row(
    budget: TokenBudget,
    limit: Limit,
    amount: int,
    gauge: Gauge,
    member: str,
    currency: str,
    depth: int,
    number: int,
) -> Row:
    left = max(0, amount - gauge.spent - gauge.held)
    used = (gauge.spent + gauge.held) * 100 // amount if amount else 100
    unit = currency if limit.measure is Measure.MONEY else limit.measure.value
    per = "" if limit.per is Window.NOW else limit.per.value
    action = budget.spec.on_limit
    at_limit = f"{action.action.value} {action.model}".strip()
    subject = _subject(budget.spec.subject)

    def text(value: int) -> str:
        return amount_text(value, limit.measure)

    return Row(
        cells=(
            "  " * depth + budget.name if not number else "  " * depth,
            member,
            unit,
            per,
            ",".join(limit.models),
            text(amount),
            text(gauge.spent),
            text(gauge.held),
            text(left),
            f"{used}%",
            at_limit,
            subject,
        ),
        item={
            "budget": budget.name,
            "parent": budget.spec.parent,
            "each": budget.spec.each.value,
            "member": member,
            "measure": limit.measure.value,
            "per": per,
            "models": list(limit.models),
            "limit": text(amount),
            "spent": text(gauge.spent),
            "held": text(gauge.held),
            "left": text(left),
            "usedPercent": used,
            "onLimit": action.action.value,
            "fallback": action.model,
            "currency": currency if limit.measure is Measure.MONEY else "",
        },
        name=f"tokenbudget/{budget.name}",
    )


def _subject(subject: Subject) -> str:
    if subject.everyone:
        return "everyone"
    named = {
        "queue": subject.queue,
        "namespace": subject.namespace,
        "serviceAccount": subject.service_account,
        "agent": subject.agent,
        "key": subject.key,
        "user": subject.user,
    }
    return ",".join(f"{name}={value}" for name, value in named.items() if value) or "children"
