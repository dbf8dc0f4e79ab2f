"""What queues hold, measured against their fair shares."""

from collections.abc import Callable, Sequence

import msgspec

from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import QueueSample, Result, Sample
from aliquot.web.report import curves
from aliquot.web.report.curves import Curve
from aliquot.web.report.plots import Layer, Plot, plot
from aliquot.web.report.scales import number_text

MOST = 24
"""So many queues have a plot, those that were due most."""

STEPS = 110


class QueueUse(msgspec.Struct, frozen=True, kw_only=True):
    """A queue over time. held, share, due: devices in the mean. served: what it held of what it was due, in
    per cent and as text; "" where it was due nothing. low: it was served less than nine tenths."""

    name: str
    plot: Plot
    held: str
    share: str
    waiting: str
    served: str
    low: bool


def due(sample: QueueSample) -> int:
    """Devices that a queue could ask for by right: its fair share, or what its work wants if that is less."""
    return min(sample.share, sample.allocated + sample.waiting)


def own_queues(results: Sequence[Result]) -> list[str]:
    """The queues that workloads are in, by name."""
    return sorted({item.queue for result in results for item in result.workloads if item.queue})


def worst_served(results: Sequence[Result]) -> Curve | None:
    """Per cent that the queue served worst holds of what it is due, over time.

    None with fewer than two queues. Where nobody is due anything, all are served.
    """
    names = set(own_queues(results))
    if len(names) < 2:
        return None

    def served(sample: Sample) -> float:
        parts = [
            min(1.0, item.allocated / due(item))
            for item in sample.queues
            if item.queue in names and due(item) > 0
        ]
        return 100 * min(parts, default=1.0)

    return curves.curve(results, served)


def queues(results: Sequence[Result], tone: str, end: int) -> tuple[tuple[QueueUse, ...], int]:
    """The queues of these simulations, those that were due most; and how many are left out."""
    names = own_queues(results)
    if not any(sample.queues for result in results for sample in result.samples):
        return (), 0
    found = [(_due(results, name), name) for name in names]
    kept = {name for _, name in sorted(found, key=lambda item: (-item[0], item[1]))[:MOST]}
    return tuple(_queue(results, name, tone, end) for name in names if name in kept), len(names) - len(kept)


def _values(results: Sequence[Result], name: str) -> list[list[tuple[int, QueueSample]]]:
    return [
        [(sample.time, item) for sample in result.samples for item in sample.queues if item.queue == name]
        for result in results
    ]


def _due(results: Sequence[Result], name: str) -> int:
    return sum(due(item) for run in _values(results, name) for _, item in run)


def _queue(results: Sequence[Result], name: str, tone: str, end: int) -> QueueUse:
    runs = _values(results, name)
    held = _curve(runs, lambda item: item.allocated)
    share = _curve(runs, lambda item: item.share)
    wanted = _curve(runs, lambda item: item.allocated + item.waiting)
    whole = sum(due(item) for run in runs for _, item in run)
    got = sum(min(item.allocated, due(item)) for run in runs for _, item in run)
    part = 100 * got / whole if whole else 100.0
    return QueueUse(
        name=name,
        plot=plot(
            name,
            "",
            "devices",
            (
                Layer(name="held", curve=held, tone=tone, kind="area"),
                Layer(name="wanted", curve=wanted, tone="muted", kind="dotted"),
                Layer(name="fair share", curve=share, tone="ink", kind="line"),
            ),
            end,
            most=max(held.most, share.most) * 1.15,
            legend=False,
        ),
        held=number_text(held.mean),
        share=number_text(share.mean),
        waiting=number_text(wanted.mean - held.mean),
        served=f"{part:.0f} %" if whole else "",
        low=part < 90,
    )


def _curve(runs: Sequence[Sequence[tuple[int, QueueSample]]], value: Callable[[QueueSample], int]) -> Curve:
    return curves.of_values(
        [[(time, value(item) / UNIT) for time, item in run] for run in runs], STEPS
    ).mean_only()
