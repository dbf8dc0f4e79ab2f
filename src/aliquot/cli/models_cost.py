"""`aliquot models cost`: what tokens cost here, from the gateway's calls and the devices' ledger."""

import asyncio
import time
from pathlib import Path

import click

from aliquot.accounting.tokens import (
    DIMENSIONS,
    Amounts,
    Chain,
    Row,
    by,
    charged,
    join,
    rows,
    servers_by_model,
)
from aliquot.cli.failures import Failure
from aliquot.cli.gateway import configured
from aliquot.cli.output import FORMS, Column, Table, note, write
from aliquot.cli.output import Row as Line
from aliquot.cli.report_input import Source
from aliquot.gateway import reading
from aliquot.gateway.configuration import ConfigurationError
from aliquot.store.audit_uses import MAX_USES
from aliquot.store.budgets import BudgetStoreError
from aliquot.store.ledger_reading import entries

DAY_US = 86_400_000_000

_AMOUNTS = (
    Column(title="CALLS", key="calls", right=True),
    Column(title="INPUT", key="input", right=True),
    Column(title="CACHED", key="cached", right=True, wide=True),
    Column(title="OUTPUT", key="output", right=True),
    Column(title="DEVICE HOURS", key="deviceHours", right=True, wide=True),
    Column(title="COST", key="cost", right=True),
    Column(title="PER MILLION", key="perMillion", right=True),
    Column(title="IN", key="perMillionInput", right=True, wide=True),
    Column(title="OUT", key="perMillionOutput", right=True, wide=True),
    Column(title="KJ/MILLION", key="kilojoulesPerMillion", right=True, drop=1),
    Column(title="TOK/S/W", key="tokensPerJoule", right=True, drop=2),
)


@click.command(
    short_help="Show what tokens cost here.",
    epilog="Exit status: 0 shown, 1 nothing to show: nobody called, or the ledger knows no server that "
    "answered; 2 error.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The gateway's configuration.",
)
@click.option("--ledger", default="", help="The ledger of devices (as for aliquot report).")
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="The last days.")
@click.option(
    "--by",
    "dimensions",
    default="namespace,model",
    show_default=True,
    help=f"What to put together by, with commas: {', '.join(DIMENSIONS)}.",
)
@click.option("--idle", type=click.Choice(("apart", "charged")), default="apart", show_default=True)
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
def cost(config_file: Path, ledger: str, days: int, dimensions: str, idle: str, output: str) -> int:
    """Show what tokens cost here: device time, energy and money of the ledger, divided among calls.

    A server's idle time is shown apart, or charged to its calls. The parts add up to the ledger exactly.
    Models are joined by the label aliquot.dev/model of the pods that serve them.
    """
    names = [name.strip() for name in dimensions.split(",") if name.strip()]
    try:
        keys = by(*names)
    except KeyError as error:
        raise Failure(f"--by: there is no {error}; known are {', '.join(DIMENSIONS)}") from None
    configuration = configured(config_file)
    until = time.time_ns() // 1000
    since = until - days * DAY_US
    try:
        uses = asyncio.run(reading.uses(configuration, since, until))
    except (BudgetStoreError, ConfigurationError) as error:
        raise Failure(str(error)) from None
    if len(uses) == MAX_USES:
        note(f"note: only the last {MAX_USES} calls are looked at; give fewer --days")
    source = Source(ledger=ledger)
    with source.open() as book:
        found = entries(book, since // 1000, until // 1000)
        rest = source.rest(book)
        # What is shown is the ledger's money, whatever the prices of models are in.
        currency = book.currency or configuration.file.currency
    chain = join(servers_by_model((*found, *rest)), uses, lambda use: use.model)
    if idle == "charged":
        chain = charged(chain)
    shown = rows(chain, keys)
    write(_table(chain, shown, names, currency), output)
    if not uses:
        note(f"nobody called in the last {days} days; --days looks further back")
    if chain.elsewhere:
        note(
            f"{len(chain.elsewhere)} calls were answered by servers that the ledger does not know; label the "
            "pods that serve a model with aliquot.dev/model"
        )
    return 0 if shown else 1


def _table(chain: Chain, found: tuple[Row, ...], names: list[str], currency: str) -> Table:
    columns = tuple(Column(title=name.upper(), key=name, least=12) for name in names) + _AMOUNTS
    lines = [_line(row, names, currency) for row in found]
    for spare in chain.idle:
        if spare.amounts != Amounts():
            cells = [f"<idle: {spare.server}>", *[""] * (len(columns) - 1)]
            cells[columns.index(_AMOUNTS[4])] = _hours(spare.amounts)
            cells[columns.index(_AMOUNTS[5])] = _money(spare.amounts.cost_micros, currency)
            lines.append(Line(cells=tuple(cells), item={}, name=f"idle/{spare.server}", total=True))
    whole = chain.total()
    return Table(
        kind="TokenCostTable",
        columns=columns,
        rows=tuple(lines),
        summary={
            "currency": currency,
            "costMicros": whole.cost_micros,
            "deviceMilliseconds": whole.device_ms,
            "millijoules": whole.energy_mj,
            "elsewhere": len(chain.elsewhere),
            "idle": [
                {
                    "server": spare.server,
                    "costMicros": spare.amounts.cost_micros,
                    "deviceMilliseconds": spare.amounts.device_ms,
                    "weightsFrom": spare.source.value,
                }
                for spare in chain.idle
            ],
        },
    )


def _line(row: Row, names: list[str], currency: str) -> Line:
    per_joule = row.tokens_per_joule()
    energy = row.millijoules_per_million()
    return Line(
        name="/".join(row.keys),
        cells=(
            *row.keys,
            str(row.calls),
            f"{row.input_tokens:,}",
            f"{row.cached_tokens:,}",
            f"{row.output_tokens:,}",
            _hours(row.total),
            _money(row.total.cost_micros, currency),
            _money(row.micros_per_million(), ""),
            _money(row.micros_per_million_input(), ""),
            _money(row.micros_per_million_output(), ""),
            "" if energy is None else f"{energy / 1_000_000:,.1f}",
            "" if per_joule is None else f"{float(per_joule):.3f}",
        ),
        item={
            **dict(zip(names, row.keys, strict=True)),
            "calls": row.calls,
            "inputTokens": row.input_tokens,
            "cachedTokens": row.cached_tokens,
            "outputTokens": row.output_tokens,
            "costMicros": row.total.cost_micros,
            "deviceMilliseconds": row.total.device_ms,
            "millijoules": row.total.energy_mj,
            "microgramsCarbon": row.total.carbon_ug,
            "microsPerMillion": row.micros_per_million(),
            "microsPerMillionInput": row.micros_per_million_input(),
            "microsPerMillionOutput": row.micros_per_million_output(),
            "millijoulesPerMillion": energy,
            "tokensPerJoule": None if per_joule is None else str(per_joule),
        },
    )


def _hours(amounts: Amounts) -> str:
    return f"{amounts.device_ms / 3_600_000:,.2f}"


def _money(micros: int | None, currency: str) -> str:
    return "" if micros is None else f"{micros / 1_000_000:,.4f} {currency}".rstrip()
