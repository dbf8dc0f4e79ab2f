"""`aliquot version`."""

import platform

import click

from aliquot import __version__
from aliquot.cli.output import write_document


@click.command(short_help="Show the version.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text")
def version(output: str) -> None:
    """Show the version of Aliquot and what it runs on."""
    if output == "text":
        click.echo(f"aliquot {__version__}")
        return
    write_document(
        {
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "kubernetes": ["1.34", "1.35", "1.36", "1.37"],
        },
        output,
    )
