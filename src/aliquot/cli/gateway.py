"""`aliquot gateway`."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click
import uvloop

from aliquot.cli.failures import Failure
from aliquot.cli.output import note
from aliquot.gateway.configuration import Configuration, ConfigurationError, load
from aliquot.gateway.server import running
from aliquot.store.budgets import BudgetStoreError


@click.command(
    short_help="Run the gateway that holds model calls to their budgets.",
    epilog="Exit status: 0 stopped (or the configuration is good, with --check), 2 error.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The gateway's configuration (YAML); docs/gateway.md describes it.",
)
@click.option("--check", is_flag=True, help="Only read and check the configuration.")
def gateway(config_file: Path, check: bool) -> None:
    """Answer calls of the OpenAI API for the upstreams of a configuration, within token budgets.

    Runs until it is told to stop (Ctrl-C, SIGTERM); calls under way then get 30 s to end.
    """
    configuration = configured(config_file)
    if check:
        file = configuration.file
        note(
            f"{config_file}: good; {len(file.upstreams)} upstreams, {len(configuration.terms)} models, "
            f"{len(configuration.tree.budgets)} budgets"
        )
        # Others may be below it where a cluster has budgets, too.
        for name in [] if file.cluster is not None else configuration.tree.about_nobody():
            note(f"note: budget {name} is about nobody: give it a subject (everyone: true), or children")
        return
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        uvloop.run(_run(configuration))
    except (BudgetStoreError, ConfigurationError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{config_file}: {error}") from None


def configured(path: Path) -> Configuration:
    """The configuration of a file. Raises Failure."""
    try:
        return load(path)
    except ConfigurationError as error:
        raise Failure(str(error)) from None


async def _run(configuration: Configuration) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(configuration) as found:
        scheme = "https" if configuration.file.listen.tls else "http"
        host, port = found.address
        place = f"[{host}]" if ":" in host else host
        click.echo(f"{scheme}://{place}:{port}/v1")
        if found.admin is not None:
            note(f"metrics: http://{found.admin[0]}:{found.admin[1]}/metrics")
        sys.stdout.flush()
        await stop.wait()
        note("stopping; calls under way get 30 s to end")
