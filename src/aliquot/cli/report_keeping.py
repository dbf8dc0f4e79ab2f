"""`aliquot report check` and `aliquot report invoices`: is the ledger sound, does it meet the invoices."""

from collections.abc import Sequence
from pathlib import Path

import click

from aliquot.accounting.amounts import MILLION
from aliquot.accounting.columns import Columns
from aliquot.accounting.invoices import Invoice, reconcile
from aliquot.accounting.price_files import moment
from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, note, say, write
from aliquot.cli.report_input import Source, source_options
from aliquot.cli.report_tables import decimal
from aliquot.store.ledger import Ledger, StaleWriterError
from aliquot.store.ledger_audit import problems
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_reading import charged


@click.command(short_help="Check the whole ledger.", epilog="Exit status: 0 sound, 1 problems, 2 error.")
@source_options
def check(ledger: str, journal: Path | None, prices: Path | None, settled: bool) -> int:
    """Check that entries, their sums and the chain of batches agree, and that no time is there twice."""
    with Source(ledger, journal, prices, settled).open() as opened:
        try:
            found = problems(opened)
            count = opened.sequence
        except LedgerError as error:
            raise Failure(str(error)) from None
    for problem in found:
        say(problem)
    if not found:
        click.echo(f"{count} batches, no problems")
    return 1 if found else 0


@click.command(
    short_help="Compare the ledger with the invoices of the price book.",
    epilog="Exit status: 0 all are met, 1 some differ, 2 error.",
)
@click.option("--post", is_flag=True, help="Write entries by which the ledger meets the invoices exactly.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml", "csv")), default="table")
@source_options
def invoices(
    post: bool, output: str, ledger: str, journal: Path | None, prices: Path | None, settled: bool
) -> int:
    """Compare what was charged with what suppliers asked, and post the difference.

    The difference is divided over the days, devices and holders of the invoice's time in proportion to what
    they were charged, without rest. Posting again finds no difference.
    """
    if prices is None:
        raise Failure("invoices are in the price book; name it with --prices FILE")
    source = Source(ledger, journal, prices, settled)
    asked = source.spending().invoices
    if not asked:
        raise Failure(f"{prices}: invoices: there are none; add a list with name, from, until and amount")
    rows = []
    open_difference = False
    with source.open(read_only=not post) as opened:
        if post:
            _divisible(opened, asked)
        for invoice in asked:
            lines = charged(opened, invoice)
            total = sum(line.cost_micros for line in lines)
            difference = invoice.amount_micros - total
            state = "met" if not difference else "differs"
            if post and difference:
                try:
                    entries = reconcile(invoice, lines)
                    opened.append(
                        Columns.of(entries),
                        sequence=opened.sequence + 1,
                        currency=opened.currency or source.spending().book.currency,
                        origin=f"invoice {invoice.name}: {total} to {invoice.amount_micros}",
                    )
                    state = "posted"
                except (ValueError, LedgerError) as error:
                    raise Failure(str(error)) from None
                except StaleWriterError:
                    raise Failure(
                        f"invoice {invoice.name}: the ledger was written meanwhile; try again"
                    ) from None
            open_difference |= state == "differs"
            rows.append(
                Row(
                    cells=(
                        invoice.name,
                        f"{moment(invoice.start_ms):%Y-%m-%d}",
                        f"{moment(invoice.end_ms):%Y-%m-%d}",
                        decimal(invoice.amount_micros, MILLION, 2),
                        decimal(total, MILLION, 2),
                        decimal(difference, MILLION, 2),
                        state,
                    ),
                    item={
                        "name": invoice.name,
                        "from": moment(invoice.start_ms).isoformat(),
                        "until": moment(invoice.end_ms).isoformat(),
                        "amountMicros": invoice.amount_micros,
                        "chargedMicros": total,
                        "differenceMicros": difference,
                        "state": state,
                    },
                    name=invoice.name,
                )
            )
    titles = ("INVOICE", "FROM", "UNTIL", "AMOUNT", "CHARGED", "DIFFERENCE", "STATE")
    columns = tuple(
        Column(title=title, key=title.lower(), right=title in ("AMOUNT", "CHARGED", "DIFFERENCE"))
        for title in titles
    )
    write(Table(kind="InvoiceList", columns=columns, rows=tuple(rows)), output)
    if open_difference:
        note("post the differences with --post")
    return 1 if open_difference else 0


def _divisible(opened: Ledger, asked: Sequence[Invoice]) -> None:
    """Raises Failure where one of them cannot be posted, so that none is posted before that is known."""
    for invoice in asked:
        try:
            reconcile(invoice, charged(opened, invoice))
        except ValueError as error:
            raise Failure(f"{error}; nothing was posted") from None
