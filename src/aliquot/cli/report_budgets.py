"""`aliquot report budgets`: how budgets stand, and telling when spending reaches a level."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from aliquot.accounting.amounts import MILLION
from aliquot.accounting.budgets import Alert, BudgetState, alerts
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.moments import moment_given
from aliquot.cli.output import Column, Row, Table, note, write
from aliquot.cli.report_events import EventError, write_event
from aliquot.cli.report_forms import write_bytes
from aliquot.cli.report_input import Source, source_options
from aliquot.cli.report_tables import decimal
from aliquot.cli.report_webhook import WebhookError, metrics, post, read_address
from aliquot.inventory.amounts import NONE
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_reports import budget_states, note_told, told_before

Tell = Callable[[Alert], Coroutine[Any, Any, None]]

FORMS = ("table", "json", "yaml", "csv", "metrics")


@click.command(
    short_help="Show budgets, and alert when they are spent.",
    epilog="Exit status: 0 below all alert levels, 1 some level is reached, 2 error.",
)
@click.option("--at", default="", help="A time in the period; now if left out.")
@click.option(
    "--webhook-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="A file (mode 600) with the address to which alerts are posted, each once.",
)
@click.option("--events", is_flag=True, help="Write alerts as events on the budget's queue or namespace.")
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not to stdout."
)
@target_options
@source_options
def budgets(
    at: str,
    webhook_file: Path | None,
    events: bool,
    output: str,
    file: Path | None,
    ledger: str,
    journal: Path | None,
    prices: Path | None,
    settled: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Show the budgets of the price book: spent, left, and what the period will come to at this pace."""
    if prices is None:
        raise Failure("budgets are in the price book; name it with --prices FILE")
    source = Source(ledger, journal, prices, settled)
    asked = source.spending().budgets
    if not asked:
        raise Failure(f"{prices}: budgets: there are none; add a list with name, for, amount and period")
    now = moment_given(at, "--at") if at else datetime.now(UTC)
    ways = _ways(webhook_file, Target(kubeconfig, context) if events else None)
    with source.open(read_only=not ways) as opened:
        try:
            states = budget_states(opened, asked, now)
            currency = opened.currency or "USD"
            told = _tell(opened, states, currency, ways, now)
        except LedgerError as error:
            raise Failure(str(error)) from None
    if output == "metrics":
        write_bytes(metrics(states, currency).encode(), file)
    else:
        write(budget_table(states, currency), output)
    if not told:
        return 2
    return 1 if any(state.reached for state in states) else 0


def _ways(webhook_file: Path | None, target: Target | None) -> tuple[Tell, ...]:
    """How alerts are told. Raises Failure."""
    found: list[Tell] = []
    if webhook_file is not None:
        try:
            found.append(partial(post, read_address(webhook_file)))
        except (OSError, ValueError) as error:
            raise Failure(f"--webhook-file {webhook_file}: {error}") from None
    if target is not None:
        found.append(partial(write_event, target.connection()))
    return tuple(found)


def _tell(
    ledger: Ledger, states: tuple[BudgetState, ...], currency: str, ways: tuple[Tell, ...], now: datetime
) -> bool:
    """Tell what was not told before in all ways; whether it was. What was not is told again next time."""
    complete = True
    for state in states if ways else ():
        for alert in alerts(state, currency):
            if told_before(ledger, alert):
                continue
            try:
                for way in ways:
                    asyncio.run(way(alert))
            except (WebhookError, EventError) as error:
                note(f"error: {error}; the alert is told again next time")
                complete = False
                continue
            note_told(ledger, alert, now)
            note(f"told: {alert.text}")
    return complete


def budget_table(states: tuple[BudgetState, ...], currency: str) -> Table:
    """Budgets, those that are nearest to their end first."""
    rows = []
    for state in sorted(states, key=lambda item: (-item.percent, item.budget.name)):
        budget = state.budget
        selects = ",".join(f"{name}={value}" for name, value in budget.selects)
        expected = state.expected_micros
        found: dict[str, Any] = {
            "name": budget.name,
            "for": dict(budget.selects),
            "period": budget.period.value,
            "start": state.start.isoformat(),
            "end": state.end.isoformat(),
            "amountMicros": budget.amount_micros,
            "spentMicros": state.spent_micros,
            "leftMicros": state.left_micros,
            "expectedMicros": expected,
            "reached": list(state.reached),
        }
        cells = (
            budget.name,
            selects,
            budget.period.value,
            decimal(budget.amount_micros, MILLION, 2),
            decimal(state.spent_micros, MILLION, 2),
            f"{state.percent}%",
            NONE if expected is None else decimal(expected, MILLION, 2),
            f">={max(state.reached)}%" if state.reached else "",
        )
        rows.append(Row(cells=cells, item=found, name=budget.name))
    titles = ("BUDGET", "FOR", "PERIOD", "AMOUNT", "SPENT", "PART", "EXPECTED", "ALERT")
    right = ("AMOUNT", "SPENT", "PART", "EXPECTED")
    return Table(
        kind="BudgetList",
        columns=tuple(Column(title=title, key=title.lower(), right=title in right) for title in titles),
        rows=tuple(rows),
        summary={"currency": currency},
    )
