"""The page: what came of simulations, policies beside each other, as one HTML text."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

import jinja2
import msgspec

from aliquot import __version__
from aliquot.inventory.amounts import duration
from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import Result
from aliquot.web.report import evictions, fairness, figures, plots, waiting
from aliquot.web.report.curves import Curve, counted, curve
from aliquot.web.report.evictions import Interrupted
from aliquot.web.report.fairness import QueueUse
from aliquot.web.report.figures import Figure
from aliquot.web.report.plots import Layer, Plot, tone
from aliquot.web.report.scales import number_text

MICROS = 1_000_000

Made = Callable[[Sequence[Result]], Curve | None]

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("aliquot.web.report", "page"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of the comparison. low, middle, high: where it lies between the least and the most of all
    policies, 0 to 100. best: no other policy's median is better, and some are worse."""

    figure: Figure
    low: float
    middle: float
    high: float
    best: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A metric and its cell for every policy."""

    title: str
    help: str
    cells: tuple[Cell, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One policy. number: from 0."""

    number: int
    name: str
    tone: str
    seeds: str
    devices: Plot | None
    queues: tuple[QueueUse, ...]
    queues_left_out: int
    interrupted: Interrupted
    waiting: waiting.Waiting


def render(results: Mapping[str, Result]) -> str:
    """The page of these simulations; equal ones give equal pages. Simulations with the same label are of one
    policy with several seeds. At least one."""
    groups: dict[str, list[Result]] = {}
    for result in results.values():
        groups.setdefault(result.label, []).append(result)
    every = list(results.values())
    end = max(result.seconds for result in every)
    script = _read("page.js")
    parts = [_part(number, label, found) for number, (label, found) in enumerate(groups.items())]
    return _TEMPLATES.get_template("page.html").render(
        title=_title(every),
        facts=_facts(every, end),
        version=__version__,
        style=_read("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        policies=[(part.name, part.tone) for part in parts],
        several=len(groups) > 1,
        seeds=max(len(found) for found in groups.values()),
        rows=_rows(groups),
        plots=_plots(groups, end),
        waits=waiting.charts(groups),
        parts=parts,
        notes=_notes(every),
        bands=plots.MOST_BANDS,
    )


def _read(name: str) -> str:
    return resources.files("aliquot.web.report").joinpath("page", name).read_text("utf-8")


def _title(results: Sequence[Result]) -> str:
    first = results[0]
    most = max(result.totals.submitted for result in results)
    counts = ((most, "workload"), (first.nodes, "node"), (first.devices // UNIT, "device"))
    workloads, nodes, devices = (f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)
    return f"{workloads} on {nodes} with {devices}"


def _facts(results: Sequence[Result], end: int) -> list[tuple[str, str]]:
    seeds = sorted({result.seed for result in results})
    whole = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 2
    named = f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds[:12]))
    return [
        ("Virtual time", duration(end)),
        ("From", results[0].start.strftime("%Y-%m-%d %H:%M UTC")),
        ("Policies", str(len({result.label for result in results}))),
        ("Seeds" if len(seeds) > 1 else "Seed", named),
        ("Decisions", f"{sum(result.totals.decisions for result in results):,}"),
        ("Events", f"{sum(result.totals.events for result in results):,}"),
    ]


def _notes(results: Sequence[Result]) -> list[str]:
    """What the reader has to know about these results."""
    notes = []
    if not all(result.complete for result in results):
        notes.append("Not all of these simulations went on to their end.")
    if not any(result.samples for result in results):
        notes.append("Nothing was noted on the way (--sample 0), so that nothing is drawn over time.")
    for part, what in (("unpriced", "price"), ("unmetered", "power")):
        unknown = [getattr(result.totals, part) / max(1, result.totals.capacity) for result in results]
        if 0 < max(unknown) < 1:
            notes.append(
                f"The {what} of {100 * max(unknown):.0f} % of the device-time is not known and not counted."
            )
    if min(result.totals.unpriced for result in results) and all(
        result.totals.unpriced == result.totals.capacity for result in results
    ):
        notes.append(
            "No prices are known: label nodes with aliquot.dev/price-per-hour, or with an instance type that "
            "the catalogue has, to see what this costs."
        )
    return notes


def _rows(groups: Mapping[str, Sequence[Result]]) -> list[Row]:
    rows = []
    for metric in figures.shown_metrics([result for found in groups.values() for result in found]):
        cells = [figures.figure(metric, found) for found in groups.values()]
        low, high = min(cell.low for cell in cells), max(cell.high for cell in cells)
        middles = [cell.middle for cell in cells]
        best = min(middles) if metric.less else max(middles)
        room = high - low
        rows.append(
            Row(
                title=figures.SHOWN[metric.name],
                help=metric.help,
                cells=tuple(
                    Cell(
                        figure=cell,
                        low=round(float(100 * (cell.low - low) / room), 1) if room else 50.0,
                        middle=round(float(100 * (cell.middle - low) / room), 1) if room else 50.0,
                        high=round(float(100 * (cell.high - low) / room), 1) if room else 50.0,
                        best=metric.name not in figures.TOLD
                        and cell.middle == best
                        and max(middles) != min(middles),
                    )
                    for cell in cells
                ),
            )
        )
    return rows


def _plots(groups: Mapping[str, Sequence[Result]], end: int) -> list[Plot]:
    """The plots on which all policies are."""
    every = [result for found in groups.values() for result in found]
    if not any(result.samples for result in every):
        return []
    alone = len(groups) == 1

    def layers(value: Made) -> list[Layer]:
        found = []
        for number, (name, results) in enumerate(groups.items()):
            made = value(results)
            if made is not None:
                found.append(Layer(name=name, curve=made, tone=tone(number), fills=alone))
        return found

    def add(
        title: str, note: str, unit: str, value: Made, least: float = 0.0, most: float | None = None
    ) -> None:
        drawn = layers(value)
        if drawn:
            found.append(plots.plot(title, note, unit, drawn, end, least=least, most=most, legend=False))

    found: list[Plot] = []
    add(
        "Allocated",
        "Devices that pods hold, of all devices of nodes in order.",
        "%",
        lambda results: curve(
            results, lambda item: 100 * item.allocated / item.capacity if item.capacity else 0.0
        ),
        most=100,
    )
    add(
        "Waited for",
        "Devices that waiting workloads ask for.",
        "devices",
        lambda results: curve(results, lambda item: item.waiting / UNIT),
        least=4,
    )
    add(
        "Longest wait",
        "Of the workloads that wait at that moment, how long the first has waited.",
        "hours",
        lambda results: curve(results, lambda item: item.longest_wait / 3600),
    )
    add(
        "Fairness: the queue served worst",
        "What it holds of what it is due: its fair share, or all that its work asks for if that is less.",
        "%",
        fairness.worst_served,
        most=100,
    )
    add(
        "Fragmented",
        "Free devices that work as it comes cannot use, of all devices.",
        "%",
        lambda results: curve(
            results, lambda item: 100 * item.fragmented / item.capacity if item.capacity else 0.0
        ),
        least=1,
    )
    add(
        "Evictions so far",
        "Times that a workload had to leave because a decision said so.",
        "evictions",
        lambda results: counted(
            results, lambda result: [item.time for item in result.interruptions if item.cause.decided]
        ),
        least=4,
    )
    if any(result.totals.failures for result in every):
        add(
            "Failures so far",
            "Times that machines took a workload down.",
            "failures",
            lambda results: counted(
                results, lambda result: [item.time for item in result.interruptions if not item.cause.decided]
            ),
            least=4,
        )
    if any(result.totals.joules for result in every):
        add(
            "Power",
            "What the devices draw, estimated from the catalogue.",
            "kW",
            lambda results: curve(results, lambda item: item.watts / 1000),
        )
    if any(result.totals.cost for result in every):
        add(
            "Cost",
            "Of the nodes in order that have a known price.",
            f"{every[0].currency} per hour",
            lambda results: curve(results, lambda item: item.cost / MICROS),
        )
    return found


def _part(number: int, label: str, results: Sequence[Result]) -> Part:
    colour = tone(number)
    end = max(result.seconds for result in results)
    queues, left_out = fairness.queues(results, colour, end)
    seeds = f"the mean of {len(results)} seeds" if len(results) > 1 else f"seed {results[0].seed}"
    return Part(
        number=number,
        name=label,
        tone=colour,
        seeds=seeds,
        devices=_devices(results, colour, end),
        queues=queues,
        queues_left_out=left_out,
        interrupted=evictions.interrupted(results, end),
        waiting=waiting.waiting(results, lambda amount: number_text(amount / UNIT)),
    )


def _devices(results: Sequence[Result], colour: str, end: int) -> Plot | None:
    if not any(result.samples for result in results):
        return None
    held = curve(results, lambda item: item.allocated / UNIT).mean_only()
    useless = curve(results, lambda item: item.fragmented / UNIT).mean_only()
    free = curve(
        results, lambda item: max(0, item.capacity - item.allocated - item.fragmented) / UNIT
    ).mean_only()
    whole = max(result.devices for result in results) / UNIT
    return plots.plot(
        "All devices",
        "Where the sum is lower, nodes or devices are out of order.",
        "devices",
        (
            Layer(name="held", curve=held, tone=colour, kind="area", stacked=True),
            Layer(
                name="free, of no use to work as it comes",
                curve=useless,
                tone="warn",
                kind="area",
                stacked=True,
            ),
            Layer(name="free", curve=free, tone="free", kind="area", stacked=True),
        ),
        end,
        most=whole,
    )
