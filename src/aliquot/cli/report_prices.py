"""`aliquot report prices`: which price applies to which devices, and a price book to begin with."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.accounting.amounts import MILLION
from aliquot.accounting.device_prices import list_price, quoted
from aliquot.accounting.price_files import API_VERSION, milliseconds
from aliquot.accounting.prices import PriceBook
from aliquot.cli import cluster, cluster_input
from aliquot.cli.cluster import Target, files_option, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.fleet_prices import places
from aliquot.cli.manifests import InputError
from aliquot.cli.output import Column, Row, Table, note, write
from aliquot.cli.report_input import read_spending
from aliquot.cli.report_tables import decimal
from aliquot.inventory.amounts import NONE
from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.cluster import fleet_report

_COLUMNS = (
    Column(title="MODEL", key="model"),
    Column(title="NODES", key="nodes", right=True),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="PER HOUR", key="perHour", right=True),
    Column(title="BY", key="by"),
    Column(title="CLOUDS", key="list", right=True),
)


@dataclass(frozen=True, slots=True)
class Priced:
    """Devices of one product at one price. micros: per device and hour, None without a price; by: what says
    so; listed: the median of what clouds ask, None where nobody offers the model."""

    product: str
    micros: int | None
    by: str
    listed: int | None
    nodes: int
    devices: int


@click.command(
    short_help="Show which price applies to which devices.",
    epilog="Exit status: 0 every device has a price, 1 some have none, 2 error.",
)
@files_option
@click.option(
    "--prices",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    envvar="ALIQUOT_PRICES",
    help="Price book (or ALIQUOT_PRICES); node labels and the catalogue without.",
)
@click.option("--starter", is_flag=True, help="Write a price book for what has no price, to be corrected.")
@click.option(
    "-o", "--output", type=click.Choice(("table", "json", "yaml", "csv")), default="table", show_default=True
)
@target_options
def prices(
    files: tuple[str, ...], prices: Path | None, starter: bool, output: str, kubeconfig: str, context: str
) -> int:
    """Show what a device costs by the price book, by node labels (aliquot.dev/price-per-hour) or by what the
    cloud asks for the node's instance type, as the ledger counts it. What has no price counts as 0 there.
    CLOUDS is the median of what clouds ask on demand for one device of the model.
    """
    book = read_spending(prices).book if prices is not None else PriceBook()
    report = fleet_report(_cluster(files, Target(kubeconfig, context)))
    found = priced(report, book, milliseconds(datetime.now(UTC)))
    if starter:
        click.echo(starter_book([item for item in found if item.micros is None]), nl=False)
        return 0
    write(_table(found, book.currency), output)
    missing = [item for item in found if item.micros is None]
    if missing:
        note(
            "note: devices without a price cost 0 in the ledger; `aliquot report prices --starter` writes a "
            "price book to correct, for `aliquot controller --prices`"
        )
    return 1 if missing else 0


def _cluster(files: Sequence[str], target: Target) -> Snapshot:
    if not files:
        return asyncio.run(cluster.snapshot(target))
    try:
        return cluster_input.load(files, datetime.now(UTC)).snapshot
    except InputError as error:
        raise Failure(str(error)) from None


def priced(report: Report, book: PriceBook, now_ms: int) -> tuple[Priced, ...]:
    """Devices by product and price."""
    groups: dict[tuple[str, int, str], tuple[set[str], list[str]]] = {}
    for model, place, count in places(report):
        price = quoted(book, place, count, now_ms)
        key = (place.model, price.micros_per_hour if price else -1, price.name if price else "")
        nodes, models = groups.setdefault(key, (set(), []))
        nodes.add(place.node or place.pool)
        models.append(model)
    return tuple(
        Priced(
            product=product,
            micros=None if micros < 0 else micros,
            by=by,
            listed=list_price(models[0]) if models[0] else None,
            nodes=len(nodes),
            devices=len(models),
        )
        for (product, micros, by), (nodes, models) in sorted(groups.items())
    )


def _table(found: Sequence[Priced], currency: str) -> Table:
    rows = []
    for item in found:
        each = NONE if item.micros is None else decimal(item.micros, MILLION, 2)
        listed = NONE if item.listed is None else decimal(item.listed, MILLION, 2)
        cells = (item.product, str(item.nodes), str(item.devices), each, item.by or "no price", listed)
        document = {
            "model": item.product,
            "nodes": item.nodes,
            "devices": item.devices,
            "microsPerHour": item.micros,
            "by": item.by,
            "listMicrosPerHour": item.listed,
        }
        rows.append(Row(cells=cells, item=document, name=item.product))
    return Table(kind="PriceList", columns=_COLUMNS, rows=tuple(rows), summary={"currency": currency})


def starter_book(found: Sequence[Priced]) -> str:
    """A price book in YAML with a line for each of these products."""
    lines = [
        "# Medians of what clouds ask on demand for one device and hour. Nobody says that this is what you",
        "# pay: correct the amounts. docs/ledger.md has other ways, such as hardware that is written off.",
        f"apiVersion: {API_VERSION}",
        "kind: PriceBook",
        "currency: USD",
        "prices:" if found else "prices: []",
    ]
    for item in found:
        listed = "0  # nobody offers it" if item.listed is None else decimal(item.listed, MILLION, 2)
        lines.append(
            f"- name: assumed\n  match: {{model: {json.dumps(item.product)}}}\n  perDeviceHour: {listed}"
        )
    return "\n".join(lines) + "\n"
