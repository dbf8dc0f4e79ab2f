"""The controller's journal, where a command reads it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from aliquot.cli.cluster import Target
from aliquot.store.journal import JOURNAL

Command = TypeVar("Command", bound=Callable[..., object])


JOURNAL_HELP = "The controller's journal; beside the kubeconfig or in .aliquot if left out."


def journal_option(command: Command, told: str = JOURNAL_HELP) -> Command:
    """The option --journal. told: its help."""
    return click.option(
        "--journal",
        "journal_file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help=told,
    )(command)


def journal_beside(target: Target) -> Path | None:
    """The journal of `aliquot up`: beside the kubeconfig that it wrote, or in .aliquot here."""
    kubeconfig = target.kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    places = [Path(kubeconfig).parent] if kubeconfig else []
    for folder in (*places, Path(".aliquot")):
        if (folder / JOURNAL).is_file():
            return folder / JOURNAL
    return None
