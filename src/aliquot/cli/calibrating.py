"""`aliquot simulate --calibrate`: how often expected starts hold on a trace."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import click

from aliquot.cli.output import Column, Row, Table, document, write, write_document
from aliquot.inventory.amounts import NONE, duration
from aliquot.simulation.calibration import Calibration, calibrated
from aliquot.simulation.changes import Scenario

Command = TypeVar("Command", bound=Callable[..., object])

_COLUMNS = (
    Column(title="SIMULATION", key="simulation"),
    Column(title="FORECASTS", key="forecasts", right=True),
    Column(title="HELD", key="held", right=True),
    Column(title="WIDTH P50", key="widthP50", right=True),
    Column(title="WAIT P50", key="waitP50", right=True),
    Column(title="LEFT P50", key="leftP50", right=True),
    Column(title="NO END", key="withoutEnd", right=True),
)


def calibrate_option(command: Command) -> Command:
    """The option --calibrate."""
    return click.option(
        "--calibrate",
        default=None,
        metavar="EVERY",
        help="Foretell the starts of what waits every so often (2h), and show how often that held.",
    )(command)


def run(scenarios: Mapping[str, Scenario], every: int, output: str) -> int:
    """Calibrate every scenario, by name, and show a table. Raises FormError."""
    found = {}
    for name, scenario in scenarios.items():
        last = scenario.settings.until
        if last is None:
            last = max((item.submitted for item in scenario.workloads), default=0) + every
        found[name] = calibrated(scenario, range(every, max(every + 1, last), every), observe=_told(name))
    shown = table(found)
    if output in ("json", "yaml"):
        write_document(document(shown), output)
    else:
        write(shown, output)
    return 0


def _told(name: str) -> Callable[[int], None] | None:
    if not sys.stderr.isatty():
        return None
    return lambda moment: click.echo(f"{name}: foretold at {duration(moment)}", err=True)


def table(found: Mapping[str, Calibration]) -> Table:
    """One row for each simulation: all forecasts, and the first one of each workload. The wait is that from
    the submission to the start; left is what was left of it when the range was given."""
    rows = []
    for name, whole in found.items():
        for label, part in ((name, whole), (f"{name}, first", whole.first())):
            rows.append(_row(label, part))
    return Table(kind="CalibrationList", columns=_COLUMNS, rows=tuple(rows))


def _row(name: str, part: Calibration) -> Row:
    known = part.known()
    width, wait, left = part.median_width(), part.median_wait(), part.median_left()
    endless = sum(1 for item in known if item.range.latest is None)
    cells = (
        name,
        str(len(known)),
        f"{100 * part.held:.0f} %" if known else NONE,
        "no end" if width is None else duration(width),
        duration(wait),
        duration(left),
        str(endless),
    )
    item = {
        "simulation": name,
        "forecasts": len(known),
        "unknown": len(part.forecasts) - len(known),
        "held": part.held,
        "widthSecondsP50": width,
        "waitSecondsP50": wait,
        "leftSecondsP50": left,
        "withoutEnd": endless,
    }
    return Row(cells=cells, item=item, name=name)
