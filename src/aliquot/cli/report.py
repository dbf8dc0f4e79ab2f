"""`aliquot report`: what devices cost, how they were used, and what they drew, from the ledger."""

from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.accounting.amounts import HOUR_MS
from aliquot.accounting.reports import chargeback, groups, without_price
from aliquot.cli.failures import Failure
from aliquot.cli.output import note
from aliquot.cli.report_budgets import budgets
from aliquot.cli.report_focus import focus
from aliquot.cli.report_forms import FORMS, write_report
from aliquot.cli.report_input import (
    Source,
    Window,
    conditions,
    dimensions,
    lines_of,
    source_options,
    window_options,
)
from aliquot.cli.report_keeping import check, invoices
from aliquot.cli.report_prices import prices as prices_
from aliquot.cli.report_tables import TOPICS, chargeback_table, decimal, report_table, stamped
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_reports import DIMENSIONS, Query

_BY = f"What to break it down by, such as queue,label:team: {', '.join(DIMENSIONS)}."


@click.group(short_help="Report cost, usage, energy and carbon from the ledger.")
def report() -> None:
    """Report what devices cost, how they were used, and what they drew.

    All figures are exact: exclusive + shared + idle + stranded + system is what there was, and the money is
    what the price book (or the supplier's invoice) says. Programs get integers with -o json.
    """


def _topic(name: str, help_text: str) -> click.Command:
    @click.command(name, help=help_text, short_help=help_text.splitlines()[0])
    @click.option("--by", "by_text", default="queue", show_default=True, help=_BY)
    @click.option("--where", multiple=True, metavar="DIMENSION=VALUE", help="Only what this holds for.")
    @click.option(
        "--chargeback", "charge", is_flag=True, help="Put what nobody held on those who held something."
    )
    @click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
    @click.option(
        "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not to stdout."
    )
    @click.option("--no-headers", is_flag=True, help="Leave out the line of titles.")
    @window_options
    @source_options
    def command(
        by_text: str,
        where: tuple[str, ...],
        charge: bool,
        output: str,
        file: Path | None,
        no_headers: bool,
        since: str,
        until: str,
        ledger: str,
        journal: Path | None,
        prices: Path | None,
        settled: bool,
    ) -> int:
        if charge and name != "cost":
            raise Failure(f"--chargeback: {name} is not charged; leave it out, or report cost")
        window = Window.of(since, until, datetime.now(UTC))
        by = dimensions(by_text)
        if charge and any(item in ("category", "reason") for item in by):
            raise Failure("--by: a charge has no category; leave out category and reason with --chargeback")
        source = Source(ledger, journal, prices, settled)
        with source.open() as opened:
            query = Query(*window.bounds, by=by, where=conditions(where))
            shown = groups(lines_of(source, opened, query))
            free = _without_price(source, opened, query) if name == "cost" else {}
            currency = opened.currency or "USD"
        note(f"{window.text}, {TOPICS[name].unit or currency}")
        if not shown:
            note("nothing was accounted in this time")
        if free:
            hours = ", ".join(f"{decimal(free[model], HOUR_MS, 1)} of {model}" for model in sorted(free))
            note(
                f"GPU-hours without a price, which count as 0: {hours}; "
                "`aliquot report prices --starter` writes a price book to begin with"
            )
        told = stamped(window.since, window.until, currency)
        table = (
            chargeback_table(by, chargeback(shown), currency, told)
            if charge
            else report_table(TOPICS[name], by, shown, currency, told)
        )
        write_report(table, output, file, headers=not no_headers, title=f"{name.capitalize()}, {window.text}")
        return 0

    return command


def _without_price(source: Source, ledger: Ledger, query: Query) -> dict[str, int]:
    places = Query(query.since_ms, query.until_ms, ("node", "device-model"), query.where)
    return without_price(lines_of(source, ledger, places))


for _name, _help in (
    ("cost", "What devices cost, and who held them.\n\nSum of all: what the price book or the invoice says."),
    ("usage", "Device-hours, and how busy what was held was.\n\nUSED is of the time of which use is known."),
    ("energy", "Kilowatt-hours, and how much of them was measured rather than estimated."),
    ("carbon", "Carbon by the grid intensities of the price book."),
):
    report.add_command(_topic(_name, _help))
for _command in (focus, budgets, invoices, check, prices_):
    report.add_command(_command)
