"""`aliquot budgets`: what is left of token budgets, and the keys of callers."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from aliquot.budgets.holding import Gauge
from aliquot.cli.budgets_keys import keys
from aliquot.cli.budgets_tables import budget_table, of_budget
from aliquot.cli.failures import Failure
from aliquot.cli.gateway import configured
from aliquot.cli.output import FORMS, note, write
from aliquot.gateway import reading
from aliquot.gateway.configuration import Configuration, ConfigurationError
from aliquot.store.budgets import BudgetStoreError

CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The gateway's configuration.",
)


@click.group(short_help="Show token budgets and what is left of them.")
def budgets() -> None:
    """Show what is spent, held and left of token budgets, and make and revoke keys."""


budgets.add_command(keys)


@budgets.command(
    "list", short_help="Show all budgets.", epilog="Exit status: 0 shown, 1 a limit is used up, 2 error."
)
@CONFIG
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("--no-headers", is_flag=True, help="Leave out the line of titles.")
def list_budgets(config_file: Path, output: str, no_headers: bool) -> int:
    """Show every limit of every budget as a tree; `-o wide` adds what is held and who is meant."""
    configuration = configured(config_file)
    table, used_up = budget_table(configuration.tree, gauges(configuration), configuration.file.currency)
    if not configuration.tree.budgets:
        note("no budgets are configured")
    write(table, output, headers=not no_headers)
    return 1 if used_up else 0


@budgets.command(
    short_help="Show one budget.", epilog="Exit status: 0 shown, 1 no budget of that name, 2 error."
)
@CONFIG
@click.argument("name")
@click.option("-o", "--output", type=click.Choice(FORMS), default="wide", show_default=True)
def show(config_file: Path, name: str, output: str) -> int:
    """Show one budget with all members that have counters of their own."""
    configuration = configured(config_file)
    if name not in configuration.tree.budgets:
        note(f"no budget {name!r} found")
        return 1
    found = of_budget(configuration.tree, name)
    table, _ = budget_table(found, gauges(configuration), configuration.file.currency, only=name)
    write(table, output)
    return 0


def gauges(configuration: Configuration) -> Mapping[str, Gauge]:
    """What all counters of the configuration's store say. Raises Failure."""
    try:
        return asyncio.run(reading.gauges(configuration))
    except (BudgetStoreError, ConfigurationError) as error:
        raise Failure(str(error)) from None
