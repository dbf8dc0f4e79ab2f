"""`aliquot version`."""

import platform
from importlib.util import find_spec

import click

from aliquot import __version__
from aliquot.cli.output import write_document

DECIDING = "aliquot.scheduling.decide"


def core() -> str:
    """How the packages that decide run: "native" where they are compiled, else "interpreted"."""
    found = find_spec(DECIDING)
    return "interpreted" if found is None or (found.origin or "").endswith(".py") else "native"


@click.command(short_help="Show the version.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text")
def version(output: str) -> None:
    """Show the version of Aliquot and what it runs on."""
    if output == "text":
        click.echo(f"aliquot {__version__} ({core()} core)")
        return
    write_document(
        {
            "version": __version__,
            "core": core(),
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "kubernetes": ["1.34", "1.35", "1.36", "1.37"],
        },
        output,
    )
