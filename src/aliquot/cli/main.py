"""The `aliquot` command. Sub-commands are imported when they run, so that help comes at once."""

import codecs
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path, PurePath
from typing import TextIO

import click

from aliquot import __version__
from aliquot.cli.failures import Failure
from aliquot.cli.garbage import collect_seldom
from aliquot.cli.printable import escape_unwritable

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("aliquot.cli.up:up", "Run a GPU control plane on this machine: cluster, controller, page."),
    "controller": ("aliquot.cli.controller:controller", "Run Aliquot's controller against a cluster."),
    "get": ("aliquot.cli.get:get", "Show devices, workloads or queues."),
    "explain": ("aliquot.cli.explain:explain", "Say why a workload waits, or why it runs where it runs."),
    "plan": ("aliquot.cli.plan:plan", "Say what would run where, offline; nothing is touched."),
    "snapshot": ("aliquot.cli.snapshot:snapshot", "Save a cluster as a file, and show what one holds."),
    "simulate": (
        "aliquot.cli.simulate:simulate",
        "Run workloads in virtual time, through the real decisions.",
    ),
    "replay": ("aliquot.cli.replay:replay", "Make recorded decisions again and compare."),
    "dra": ("aliquot.cli.dra:dra", "Allocate devices and test selectors offline."),
    "bench": ("aliquot.cli.bench:bench", "Measure placement on published benchmarks."),
    "fleet": ("aliquot.cli.fleet:fleet", "Work with fleet files."),
    "install": (
        "aliquot.cli.install:install",
        "Install Aliquot on a cluster, or print what that would apply.",
    ),
    "uninstall": (
        "aliquot.cli.uninstall:uninstall",
        "Take Aliquot off a cluster; no pod stays behind a gate.",
    ),
    "doctor": ("aliquot.cli.doctor:doctor", "Check a cluster, and name what is missing and its fix."),
    "gate": ("aliquot.cli.gate:gate", "Add the scheduling gate to the pod templates of manifests."),
    "top": ("aliquot.cli.top:top", "Show how devices are used, and what is wasted."),
    "recommend": ("aliquot.cli.recommend:recommend", "Say which part of a device each workload needs."),
    "report": ("aliquot.cli.report:report", "Report cost, usage, energy and carbon from the ledger."),
    "gateway": ("aliquot.cli.gateway:gateway", "Run the gateway that holds model calls to their budgets."),
    "budgets": ("aliquot.cli.budgets:budgets", "Show token budgets and what is left of them."),
    "models": ("aliquot.cli.models:models", "List, approve and revoke models."),
    "agents": ("aliquot.cli.agents:agents", "List agents, contain them, and stop one at once."),
    "audit": ("aliquot.cli.audit:audit", "Verify, search and export the audit record."),
    "version": ("aliquot.cli.version:version", "Show the version."),
}
"""Each command with the object that implements it and one line of help, in the order of the help text."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class ReaderLeftError(Exception):
    """The reader of a pipe (head, less) left early. Click would make exit status 1 of it: findings."""


class LazyGroup(click.Group):
    """A group that imports a sub-command only when it is called; its help needs none of them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise ReaderLeftError from None
        except OSError as error:
            # Files that a command opens have names, and it tells of them itself.
            if error.filename is None and error.errno in _FULL:
                sys.stdout = None
                place = "standard output cannot be written"
                raise Failure(f"{place}: {os.strerror(error.errno)}; write it elsewhere") from None
            raise

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Aliquot decides which GPU, or which exact part of one, each AI workload on Kubernetes gets.\n\n"
    "Data goes to stdout, notes to stderr. `kubectl aliquot` is the same command.",
)
@click.version_option(__version__, prog_name="aliquot", message="%(prog)s %(version)s")
def cli() -> None:
    """Everything is done by the sub-commands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit status.

    0: done, nothing to report. 1: done, with findings. 2: an error, nothing was changed. 130: Ctrl-C. 141:
    the reader of a pipe left.
    """
    collect_seldom()
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    codecs.register_error("escape", escape_unwritable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="escape")
    name = "kubectl aliquot" if PurePath(sys.argv[0]).name.startswith("kubectl-") else "aliquot"
    try:
        status = cli.main(list(arguments) if arguments is not None else None, name, standalone_mode=False)
    except Failure as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(max(error.exit_code, 2))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (ReaderLeftError, BrokenPipeError):
        # Nothing is wrong; stdout must not be flushed.
        sys.stdout = None
        sys.exit(141)
    sys.exit(status if isinstance(status, int) else 0)


def _nowhere() -> TextIO:
    """In place of a stream that whoever started this closed."""
    return Path(os.devnull).open("w", encoding="utf-8")
