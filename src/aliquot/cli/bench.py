"""`aliquot bench`."""

import click

from aliquot.cli.bench_departures import departures
from aliquot.cli.bench_openb import openb


@click.group(short_help="Measure placement on published benchmarks.")
def bench() -> None:
    """Benchmarks whose results others have published."""


bench.add_command(openb)
bench.add_command(departures)
