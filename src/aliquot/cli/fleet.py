"""`aliquot fleet`."""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from aliquot.catalog.fleet import FleetError, expand, parse_fleet
from aliquot.cli.failures import Failure
from aliquot.cli.output import note, write_document, yaml_text

MAX_BYTES = 1 << 20


@click.group(short_help="Work with fleet files.")
def fleet() -> None:
    """Fleet files describe a cluster's hardware in a few lines: nodes by type and count."""


@fleet.command(epilog="Exit status: 0 rendered, 2 error.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option("--kubernetes", default="1.36", show_default=True, help="Version of the API server, from 1.34.")
def render(file: Path, output: str, kubernetes: str) -> None:
    """Print the Nodes, ResourceSlices and DeviceClasses that the hardware of a fleet FILE stands for."""
    objects = fleet_objects(file, kubernetes_version(kubernetes))
    if output == "json":
        write_document({"apiVersion": "v1", "kind": "List", "items": objects}, "json")
    else:
        for number, item in enumerate(objects):
            click.echo(("---\n" if number else "") + yaml_text(item), nl=False)
    counts = Counter(item["kind"] for item in objects)
    note(", ".join(f"{count} {kind if count == 1 else _plural(kind)}" for kind, count in counts.items()))


def _plural(kind: str) -> str:
    return kind + ("es" if kind.endswith("s") else "s")


def kubernetes_version(text: str) -> tuple[int, int]:
    """(1, 36) of "1.36" or "v1.36.2". Raises Failure."""
    found = re.fullmatch(r"v?1\.(\d{1,2})(\.\d+)?", text)
    if found is None or int(found[1]) < 34:
        raise Failure(
            f"--kubernetes: {text!r} is not a version that is supported; write 1.34, 1.35, 1.36 or 1.37"
        )
    return (1, int(found[1]))


def fleet_objects(file: Path, kubernetes: tuple[int, int]) -> list[dict[str, Any]]:
    """The objects of a fleet file. Raises Failure."""
    try:
        if str(file) == "-":
            text = sys.stdin.read(MAX_BYTES + 1)
        else:
            with file.open(encoding="utf-8") as stream:
                text = stream.read(MAX_BYTES + 1)
        return list(expand(parse_fleet(text, str(file)), kubernetes))
    except OSError as error:
        raise Failure(
            f"{file}: cannot be read: {error.strerror}; check the path and its permissions"
        ) from None
    except UnicodeDecodeError:
        raise Failure(f"{file}: is not UTF-8 text; save the file as UTF-8") from None
    except FleetError as error:
        raise Failure(str(error)) from None
