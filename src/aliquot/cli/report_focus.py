"""`aliquot report focus`: the ledger as FOCUS 1.3."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click

from aliquot.accounting.focus import COLUMNS, CUSTOM, Issuer, Row, rows
from aliquot.accounting.focus_rules import violations
from aliquot.cli.failures import Failure
from aliquot.cli.output import note
from aliquot.cli.report_forms import parquet, write_bytes
from aliquot.cli.report_input import Source, Window, source_options, window_options
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_reading import charges


@click.command(
    short_help="Export costs as FOCUS 1.3 rows.",
    epilog="Exit status: 0 written, 2 error (also when rows would break a rule: nothing is written then).",
)
@click.option("--account-id", default="cluster", show_default=True, help="BillingAccountId of all rows.")
@click.option("--account-name", default="", help="BillingAccountName; the id if left out.")
@click.option("--issuer", default="Aliquot", show_default=True, help="Who bills: the platform's name.")
@click.option(
    "-o", "--output", type=click.Choice(("csv", "json", "parquet")), default="csv", show_default=True
)
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not to stdout."
)
@window_options
@source_options
def focus(
    account_id: str,
    account_name: str,
    issuer: str,
    output: str,
    file: Path | None,
    since: str,
    until: str,
    ledger: str,
    journal: Path | None,
    prices: Path | None,
    settled: bool,
) -> int:
    """Export what was settled, a row for each day, place, holder and category.

    Rows are checked against the rules of the specification before anything is written. Whole days in UTC are
    exported; today is, as far as it is settled.
    """
    window = Window.of(since, until, datetime.now(UTC))
    since_ms, until_ms = window.bounds
    with Source(ledger, journal, prices, settled).open() as opened:
        try:
            found = charges(opened, since_ms, until_ms)
        except LedgerError as error:
            raise Failure(str(error)) from None
        currency = opened.currency or "USD"
    made = list(
        rows(
            found,
            Issuer(
                account_id=account_id, account_name=account_name or account_id, currency=currency, name=issuer
            ),
        )
    )
    broken = violations(made)
    if broken:
        raise Failure(*broken)
    write_bytes(_written(made, output), file)
    note(f"{len(made)} rows, FOCUS 1.3, {window.text}")
    return 0


def _written(made: list[Row], form: str) -> bytes:
    names = (*COLUMNS, *CUSTOM)
    if form == "parquet":
        # Decimals of one scale, in which no amount of the ledger loses anything but parts of a second.
        step = Decimal("0.000000001")
        return parquet(
            [
                {
                    name: value.quantize(step) if isinstance(value, Decimal) else value
                    for name, value in row.items()
                }
                for row in made
            ]
        )
    if form == "json":
        plain = [{name: _text(value) for name, value in row.items()} for row in made]
        return (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode()
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in made:
        writer.writerow(["" if row[name] is None else _text(row[name]) for name in names])
    return buffer.getvalue().encode()


def _text(value: str | Decimal | None) -> str | None:
    """Decimals in full: an exponent is not read by everybody."""
    return f"{value:f}" if isinstance(value, Decimal) else value
