"""`aliquot doctor`."""

import asyncio
import time
from collections import Counter

import click

from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, note, say, write
from aliquot.cli.printable import printable
from aliquot.install.cluster import Cluster
from aliquot.install.doctor import GROUPS, examine
from aliquot.install.findings import Finding, Level
from aliquot.kube.client import Client
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError

LOOK_AGAIN_SECONDS = 3.0
"""How long an API server may take until a policy that was written counts, generously."""

_COLUMNS = (
    Column(title="LEVEL", key="level"),
    Column(title="CHECK", key="check"),
    Column(title="FINDING", key="problem"),
    Column(title="FIX", key="fix"),
)


@click.command(
    short_help="Check a cluster, and name what is missing and its fix.",
    epilog="Exit status: 0 nothing wrong, 1 warnings or errors were found, 2 the cluster does not answer.",
)
@target_options
@click.option("--only", "only", multiple=True, type=click.Choice(tuple(GROUPS)), help="Only this group.")
@click.option(
    "--wait",
    "seconds",
    default=0,
    type=click.IntRange(0, 3600),
    help="Look again for so many seconds until there is no error.",
)
@click.option(
    "--fail-on",
    type=click.Choice(("warning", "error")),
    default="warning",
    show_default=True,
    help="From which level on the exit status is 1.",
)
@click.option(
    "--output",
    "-o",
    "form",
    type=click.Choice(("table", "wide", "json", "yaml")),
    default="table",
    help="Form of the output; wide shows tables with fixes beside findings.",
)
def doctor(
    kubeconfig: str, context: str, only: tuple[str, ...], seconds: int, fail_on: str, form: str
) -> None:
    """Check whether a cluster can run Aliquot, and whether Aliquot runs: each finding with its fix.

    Nothing is changed: what policies do is tried with dry runs.
    """
    found = asyncio.run(_examine(Target(kubeconfig, context), only or tuple(GROUPS), seconds))
    if form == "table":
        _print(found)
    else:
        write(_table(found), form)
    failing = (Level.ERROR,) if fail_on == "error" else (Level.WARNING, Level.ERROR)
    if any(one.level in failing for one in found):
        raise click.exceptions.Exit(1)


async def _examine(target: Target, groups: tuple[str, ...], seconds: int) -> list[Finding]:
    connection = target.connection()
    end = time.monotonic() + seconds
    clean = 0
    async with Client(connection) as client:
        while True:
            left = end - time.monotonic()
            try:
                found = await examine(Cluster(client), groups)
            except (ApiError, TransportError, CredentialError) as error:
                if left <= 0:
                    raise Failure(f"{connection.server}: {error}; is the cluster up?") from None
                found, clean = [], 0
            else:
                bad = any(one.level is Level.ERROR for one in found)
                clean = 0 if bad else clean + 1
                if not seconds or left <= 0 or clean > 1:
                    return found
            if clean == 0:
                note("Not yet as it should be; looking again.")
            await asyncio.sleep(max(0.1, min(LOOK_AGAIN_SECONDS, left)))


def _print(found: list[Finding]) -> None:
    """Findings as lines, fixes below them: fixes are too long for a column of a terminal."""
    colours = {Level.ERROR: "red", Level.WARNING: "yellow", Level.OK: "green"}
    for one in found:
        mark = click.style(f"{one.level.value:<8}", fg=colours.get(one.level))
        click.echo(mark + printable(f"{one.check}: {one.problem}"))
        if one.fix:
            say(f"        fix: {one.fix}")
    counts = Counter(one.level for one in found)
    shown = ", ".join(f"{counts[level]} {level.value}" for level in Level if counts[level])
    click.echo(f"{len(found)} findings: {shown}")


def _table(found: list[Finding]) -> Table:
    return Table(
        kind="FindingList",
        columns=_COLUMNS,
        rows=tuple(
            Row(
                cells=(one.level.value, one.check, one.problem, one.fix),
                item={
                    "check": one.check,
                    "level": one.level.value,
                    "problem": one.problem,
                    "fix": one.fix,
                    "facts": one.facts,
                },
                name=one.check,
            )
            for one in found
        ),
        summary={level.value: sum(1 for one in found if one.level is level) for level in Level},
    )
