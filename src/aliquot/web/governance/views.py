"""What the pages show, as JSON: made of budgets, models, tenants and calls, with nothing read or asked.

Amounts come as text in the units of people; numbers stand beside them where something is drawn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aliquot.accounting.tokens import Amounts, Chain, Row, by, rows
from aliquot.agents.guards import Limits, Switch
from aliquot.agents.tenant import Tenant
from aliquot.approvals.documents import ServingWorkload
from aliquot.approvals.model import ApprovedModel, Price
from aliquot.budgets.definition import Each, Limit, Measure, TokenBudget, limit_amount
from aliquot.budgets.holding import Gauge
from aliquot.budgets.refusals import amount_text
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.tree import BudgetTree, counter_key, counter_parts
from aliquot.budgets.windows import Window

Json = dict[str, Any]

MAX_ROWS = 500
NANO = 10**9
MICRO = 10**6


def budgets(tree: BudgetTree, gauges: Mapping[str, Gauge], currency: str) -> Json:
    """Every limit with what is spent, held and left, as a tree; members that have counters of their own."""
    members: dict[str, set[str]] = {}
    for key in gauges:
        parts = counter_parts(key)
        if len(parts) == 6:
            members.setdefault(parts[0], set()).add(parts[5])
    found: list[Json] = []
    for depth, budget in _walk(tree):
        shown = [""] if budget.spec.each is Each.ALL else sorted(members.get(budget.name, ()))
        found.append(
            {
                "name": budget.name,
                "depth": depth,
                "subject": _subject(budget),
                "onLimit": " ".join(filter(None, (budget.spec.on_limit.action, budget.spec.on_limit.model))),
                "limits": [
                    _limit(budget, limit, member, gauges, currency)
                    for member in shown
                    for limit in budget.spec.limits
                ][:MAX_ROWS],
            }
        )
    return {"budgets": found[:MAX_ROWS], "more": max(0, len(found) - MAX_ROWS)}


def _walk(tree: BudgetTree) -> Iterator[tuple[int, TokenBudget]]:
    children: dict[str, list[str]] = {}
    for name in sorted(tree.budgets):
        children.setdefault(tree.budgets[name].spec.parent, []).append(name)

    def below(parent: str, depth: int) -> Iterator[tuple[int, TokenBudget]]:
        for name in children.get(parent, ()):
            yield depth, tree.budgets[name]
            yield from below(name, depth + 1)

    return below("", 0)


def _subject(budget: TokenBudget) -> str:
    subject = budget.spec.subject
    if subject.everyone:
        return "everyone"
    named = (
        ("queue", subject.queue),
        ("namespace", subject.namespace),
        ("service account", subject.service_account),
        ("agent", subject.agent),
        ("key", subject.key),
        ("user", subject.user),
    )
    each = f"each {budget.spec.each}" if budget.spec.each is not Each.ALL else ""
    return ", ".join([f"{title} {value}" for title, value in named if value] + ([each] if each else []))


def _limit(
    budget: TokenBudget, limit: Limit, member: str, gauges: Mapping[str, Gauge], currency: str
) -> Json:
    amount = limit_amount(limit, budget.name)
    key = counter_key(budget.name, limit.measure, limit.per, limit.models, budget.spec.each, member)
    gauge = gauges.get(key, Gauge(0, 0))
    taken = gauge.spent + gauge.held
    alerts = sorted(budget.spec.alerts_at_percent)
    percent = taken * 100 // amount if amount else 100
    return {
        "member": member,
        "measure": currency if limit.measure is Measure.MONEY else _words(limit.measure),
        "per": "" if limit.per is Window.NOW else limit.per.value,
        "models": list(limit.models),
        "limit": _grouped(amount_text(amount, limit.measure)),
        "spent": _grouped(amount_text(gauge.spent, limit.measure)),
        "held": _grouped(amount_text(gauge.held, limit.measure)),
        "left": _grouped(amount_text(max(0, amount - taken), limit.measure)),
        "spentPart": min(1.0, gauge.spent / amount) if amount else 1.0,
        "heldPart": min(1.0, gauge.held / amount) if amount else 0.0,
        "percent": percent,
        "level": "full" if percent >= 100 else "near" if alerts and percent >= alerts[0] else "",
    }


def _grouped(text: str) -> str:
    """1234567.5: 1,234,567.5."""
    whole, point, rest = text.partition(".")
    return f"{int(whole):,}{point}{rest}" if whole.isdigit() else text


def _words(measure: Measure) -> str:
    """inputTokens: input tokens; what is counted of concurrency are calls."""
    if measure is Measure.CONCURRENCY:
        return "calls"
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in measure.value)


def models(
    registered: Iterable[ApprovedModel], running: Mapping[str, Sequence[ServingWorkload]] | None
) -> Json:
    """The registry, with what serves each model now."""
    found = []
    for model in registered:
        workloads = None if running is None else running.get(model.name, ())
        decision = model.decision
        found.append(
            {
                "name": model.name,
                "model": model.model,
                "version": model.version,
                "state": model.state.value,
                "reason": decision.reason if decision else "",
                "replacedBy": model.replaced_by,
                "owner": model.owner,
                "licence": model.licence,
                "source": model.weights.source,
                "pin": model.weights.revision or model.weights.digest,
                "callers": list(model.call.namespaces),
                "runs": list(model.run.namespaces),
                "isolation": model.needs.isolation.value,
                "price": ""
                if model.price is None
                else f"{Price.decimal(model.price.input)} / {Price.decimal(model.price.output)}"
                f" {model.price.currency}",
                "pods": None if workloads is None else sum(one.pods for one in workloads),
                "workloads": [
                    f"{one.namespace}/{one.kind.lower()}/{one.name} ({one.pods})" for one in workloads or ()
                ][:20],
            }
        )
    return {"models": found[:MAX_ROWS], "more": max(0, len(found) - MAX_ROWS)}


def agents(tenants: Iterable[Tenant], pods: Mapping[str, int], switches: Iterable[Switch]) -> Json:
    """Agents with their pods, limits and switches. pods: by agent."""
    stopped = {switch.agent: switch for switch in switches}
    found = []
    for tenant in tenants:
        for agent, limits in tenant.guard_limits().items():
            found.append(
                _agent(
                    agent, tenant.name, tenant.spec.isolation.value, pods, stopped.pop(agent, None), limits
                )
            )
    found += [_agent(agent, "", "", pods, switch, None) for agent, switch in stopped.items()]
    found.sort(key=lambda one: (one["state"] != "Stopped", one["agent"]))
    return {"agents": found[:MAX_ROWS], "more": max(0, len(found) - MAX_ROWS)}


def _agent(
    agent: str,
    tenant: str,
    isolation: str,
    pods: Mapping[str, int],
    switch: Switch | None,
    limits: Limits | None,
) -> Json:
    count = pods.get(agent, 0)
    return {
        "agent": agent,
        "tenant": tenant,
        "isolation": isolation,
        "pods": count,
        "state": "Stopped" if switch else "Running" if count else "Idle",
        "by": switch.by if switch else "",
        "reason": switch.reason if switch else "",
        "limits": [] if limits is None else _limits(limits),
    }


def _limits(limits: Limits) -> list[str]:
    money = {"spend_per_minute", "spend_per_task"}
    found = []
    for name in Limits.__struct_fields__:
        value = getattr(limits, name)
        if value is None or name in ("tasks", "task_idle_us", "repeat_window_us"):
            continue
        text = Price.decimal(value) if name in money else f"{value:,}"
        found.append(f"{text} {name.replace('_', ' ')}")
    return found


def spend(uses: Sequence[TokenUse], chain: Chain | None, currency: str, ledger_currency: str = "") -> Json:
    """Tokens and money by namespace and model. chain: with what the ledger says of it, None without one.

    currency: of the prices of models. ledger_currency: of what devices cost; "" for the same.
    """
    by_price: dict[tuple[str, ...], list[TokenUse]] = {}
    keys = by("namespace", "model")
    for use in uses:
        by_price.setdefault(keys(use), []).append(use)
    served = {row.keys: row for row in rows(chain, keys)} if chain is not None else {}
    found = [_spent(names, group, served.get(names)) for names, group in by_price.items()]
    found.sort(key=lambda one: -one["tokens"])
    idle = Amounts()
    if chain is not None:
        for spare in chain.idle:
            idle = idle + spare.amounts
    return {
        "rows": found[:MAX_ROWS],
        "more": max(0, len(found) - MAX_ROWS),
        "currency": currency,
        "ledgerCurrency": ledger_currency or currency,
        "calls": len(uses),
        "tokens": sum(use.total_tokens for use in uses),
        "price": _priced(uses),
        "unpriced": sum(use.cost_nano is None for use in uses),
        "idle": None
        if chain is None
        else {"cost": _money(idle.cost_micros, MICRO), "deviceHours": round(idle.device_ms / 3_600_000, 2)},
    }


def _spent(names: tuple[str, ...], group: Sequence[TokenUse], row: Row | None) -> Json:
    per_joule = None if row is None else row.tokens_per_joule()
    per_million = None if row is None else row.micros_per_million()
    return {
        "namespace": names[0],
        "model": names[1],
        "calls": len(group),
        "input": sum(use.input_tokens for use in group),
        "output": sum(use.output_tokens for use in group),
        "tokens": sum(use.total_tokens for use in group),
        "price": _priced(group),
        "cost": None if row is None else _money(row.total.cost_micros, MICRO),
        "perMillion": None if per_million is None else _money(per_million, MICRO),
        "joules": None if row is None else row.total.energy_mj // 1000,
        "tokensPerJoule": None if per_joule is None else round(float(per_joule), 3),
    }


def _priced(uses: Sequence[TokenUse]) -> str | None:
    """What calls cost by the prices of their models; None if none of these has a price."""
    known = [use.cost_nano for use in uses if use.cost_nano is not None]
    return _money(sum(known), NANO) if known else None


def _money(amount: int, scale: int) -> str:
    """An amount with four decimals, the last two only where they say something; something is never 0."""
    if 0 < amount * 20_000 < scale:
        return "<0.0001"
    exact = f"{amount / scale:,.4f}"
    return exact[:-2] if exact.endswith("00") else exact
