"""What-if for `plan` and `simulate`: options, and one way from a scenario and changes to what is shown."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from aliquot.cli import difference_tables
from aliquot.cli.change_files import Reading
from aliquot.cli.failures import Failure
from aliquot.cli.manifests import InputError
from aliquot.cli.output import note, say, working, write, write_document
from aliquot.inventory.amounts import percent
from aliquot.queues import runtimes
from aliquot.scheduling.objectives import POWER_LABEL, PRICE_LABEL
from aliquot.simulation.adoption import RunTime, said
from aliquot.simulation.changes import ChangeError, Scenario, simulated
from aliquot.simulation.comparing import Comparison
from aliquot.simulation.conditions import Condition, ConditionError, parse
from aliquot.simulation.objects import FormError

MOST_SECONDS = 366 * 86_400
"""Nothing is simulated for longer."""

Command = TypeVar("Command", bound=Callable[..., object])


def whatif_options(command: Command) -> Command:
    """The options --change and --fail-on."""
    command = click.option(
        "--fail-on",
        "fail_on",
        multiple=True,
        metavar="CONDITION",
        help="With --change: exit status 1 if this holds, such as 'evictions>0', '+wait.p90>10m', "
        "'later>0', 'start.team/job>30m'. May be repeated.",
    )(command)
    return click.option(
        "--change",
        "change_texts",
        multiple=True,
        metavar="FILE|NAME=VALUE",
        help="Show what would be different: add=FLEET.yaml, submit=JOB.yaml, quota=QUEUE=16, limit=QUEUE=32, "
        "drain=rack/r1, remove=node/N, share=rack/r1:mig=dynamic, policy=kai, or a file of changes. "
        "May be repeated.",
    )(command)


def seconds(text: str, option: str) -> int:
    """Whole seconds of a duration such as 90s, 8h or 2d. Raises Failure."""
    days = re.fullmatch(r"([0-9]{1,4})d", text)
    try:
        found = int(days[1]) * 86_400 if days else round(runtimes.seconds(text))
    except runtimes.DurationError:
        raise Failure(f"{option}: {text!r} is no duration; write 90s, 8h or 2d") from None
    if text.startswith("-"):
        raise Failure(f"{option}: {text!r} is before now; write 90s, 8h or 2d")
    if found > MOST_SECONDS:
        raise Failure(f"{option}: {text!r} is too long; write {MOST_SECONDS // 86_400}d or less")
    return found


def conditions_of(texts: Sequence[str]) -> list[Condition]:
    """Raises Failure."""
    try:
        return [parse(text) for text in texts]
    except ConditionError as error:
        raise Failure(f"--fail-on {error}") from None


def compare(
    base: Scenario,
    change_texts: Sequence[str],
    *,
    submitted: Sequence[str] = (),
    fail_on: Sequence[str] = (),
    output: str = "table",
    run_time: RunTime = said,
) -> int:
    """Simulate a scenario without and with changes, show the difference, and give the exit status.

    submitted: manifests that come with the change.
    """
    conditions = conditions_of(fail_on)
    reading = Reading(base, base.settings.start)
    try:
        for text in change_texts:
            reading.argument(text)
        if submitted:
            reading.submit(submitted)
        for text in reading.notes:
            note(f"note: {text}")
        with working("Simulating without the change"):
            before = simulated(base, run_time)
        with working("Simulating with the change"):
            after = simulated(reading.scenario, run_time)
    except (InputError, ChangeError, FormError) as error:
        raise Failure(str(error)) from None
    comparison = Comparison.of(before, after)
    try:
        held = [(condition, condition.holds(comparison)) for condition in conditions]
    except ConditionError as error:
        raise Failure(f"--fail-on {error}") from None
    named = [*change_texts, *(f"submit={name}" for name in submitted)]
    if output in ("json", "yaml"):
        now = base.settings.start.isoformat()
        write_document(difference_tables.document(comparison, named, held, now), output)
    else:
        show(comparison, output)
    for condition, holds in held:
        if holds:
            note(f"fails: {condition.text}")
    return 1 if any(holds for _, holds in held) else 0


def show(comparison: Comparison, output: str) -> None:
    """The difference for people: who, who has to leave, and the figures."""
    wide = output in ("wide", "csv")
    notable = comparison.notable()
    shown = notable if wide else notable[: difference_tables.MOST_ROWS]
    if shown:
        write(difference_tables.difference_table(shown), output)
        if len(notable) > len(shown):
            click.echo(f"and {len(notable) - len(shown)} more (-o wide lists all)")
        click.echo()
    if output == "csv":
        return
    evicted = comparison.evicted()
    leaving = evicted if wide else evicted[: difference_tables.MOST_ROWS]
    if leaving:
        write(difference_tables.evicted_table(leaving), output)
        if len(evicted) > len(leaving):
            click.echo(f"and {len(evicted) - len(leaving)} more (-o wide lists all)")
        click.echo()
    write(difference_tables.metric_table(comparison), "table")
    click.echo()
    say(f"workloads  {difference_tables.count_line(comparison)}")
    unknown = sum(1 for item in comparison.after.workloads if item.run_seconds is None)
    if unknown:
        note(
            f"note: of {unknown} workload{'s' if unknown != 1 else ''} the run time is not known; "
            "they are taken to run on"
        )
    totals = comparison.after.totals
    for kind, missing, label in (
        ("price", totals.unpriced, PRICE_LABEL),
        ("power", totals.unmetered, POWER_LABEL),
    ):
        if missing:
            part = percent(missing, totals.capacity)
            note(f"note: of {part} of the device-time no {kind} is known; label the nodes with {label}")
