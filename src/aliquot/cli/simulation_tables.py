"""What came of simulations: a row for each, how long who waited, and documents for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from aliquot.cli.output import Column, Row, Table
from aliquot.inventory.amounts import duration
from aliquot.simulation.results import ALL_SIZE_CLASSES, Outcome, Result, Waits, waits, waits_by
from aliquot.traces.results import hours
from aliquot.traces.tables import decimal

MICROS = 1_000_000

_COLUMNS = (
    Column(title="SIMULATION", key="simulation", least=14),
    Column(title="TIME", key="seconds", right=True, drop=1),
    Column(title="DONE", key="done", right=True),
    Column(title="RUNNING", key="running", right=True, drop=5),
    Column(title="WAITING", key="waiting", right=True),
    Column(title="WAIT P50", key="waitP50", right=True),
    Column(title="P90", key="waitP90", right=True, drop=6),
    Column(title="P99", key="waitP99", right=True),
    Column(title="ALLOCATED %", key="allocatedPercent", right=True),
    Column(title="LOST %", key="lostPercent", right=True, drop=8),
    Column(title="FRAGMENTED %", key="fragmentedPercent", right=True, drop=3),
    Column(title="EVICTED", key="evicted", right=True),
    Column(title="FAILED", key="failed", right=True, drop=2),
    Column(title="COST", key="cost", right=True, drop=7),
    Column(title="MWH", key="mwh", right=True, drop=4),
)


def summary_table(results: Mapping[str, Result]) -> Table:
    """One row for each simulation, by name."""
    return Table(
        kind="SimulationList",
        columns=_COLUMNS,
        rows=tuple(
            Row(cells=_cells(name, result), item=document(name, result), name=name)
            for name, result in results.items()
        ),
    )


def _cells(name: str, result: Result) -> tuple[str, ...]:
    totals = result.totals
    waited = waits(result.workloads, result.seconds)
    priced = totals.unpriced < totals.capacity
    metered = totals.unmetered < totals.capacity
    return (
        name,
        duration(result.seconds),
        str(totals.finished),
        str(totals.running),
        str(totals.waiting),
        duration(waited.p50),
        duration(waited.p90),
        duration(waited.p99),
        percent(totals.allocated, totals.capacity),
        percent(totals.lost, totals.allocated),
        percent(totals.fragmented, totals.capacity),
        str(totals.evictions),
        str(totals.failures),
        f"{totals.cost / MICROS:.2f}" if priced else "",
        f"{totals.joules / 3.6e9:.3f}" if metered else "",
    )


def document(name: str, result: Result) -> dict[str, Any]:
    """The simulation for programs: exact numbers, times in seconds, devices as decimal numbers."""
    totals = result.totals
    return {
        "name": name,
        "policy": result.label,
        "seed": result.seed,
        "start": result.start.isoformat(),
        "seconds": result.seconds,
        "complete": result.complete,
        "nodes": result.nodes,
        "devices": decimal(result.devices),
        "workloads": {
            "submitted": totals.submitted,
            "finished": totals.finished,
            "running": totals.running,
            "waiting": totals.waiting,
        },
        "deviceHours": {
            "capacity": float(hours(totals.capacity)),
            "allocated": float(hours(totals.allocated)),
            "useful": float(hours(totals.useful)),
            "lost": float(hours(totals.lost)),
            "fragmented": float(hours(totals.fragmented)),
        },
        "allocatedPercent": float(100 * totals.allocation),
        "evictions": totals.evictions,
        "failures": totals.failures,
        "joules": totals.joules,
        "costMicros": totals.cost,
        "unpricedDeviceHours": float(hours(totals.unpriced)),
        "unmeteredDeviceHours": float(hours(totals.unmetered)),
        "decisions": totals.decisions,
        "events": totals.events,
        "waits": {
            "all": _waits(waits(result.workloads, result.seconds)),
            "bySize": {name: _waits(found) for name, found in _by_size(result).items()},
            "byQueue": {
                name: _waits(found)
                for name, found in waits_by(result, lambda item: item.queue).items()
                if name
            },
        },
    }


def _waits(found: Waits) -> dict[str, Any]:
    return {
        "count": found.count,
        "open": found.open,
        "mean": float(found.mean),
        "p50": found.p50,
        "p90": found.p90,
        "p99": found.p99,
        "longest": found.longest,
    }


def _by_size(result: Result) -> dict[str, Waits]:
    found = waits_by(result, lambda item: item.size_class)
    return {name: found[name] for name in ALL_SIZE_CLASSES if name in found}


def wait_table(results: Mapping[str, Result]) -> Table:
    """How long workloads waited, by simulation and size: until they were first placed, or so far."""
    columns = (
        Column(title="SIMULATION", key="simulation", least=14),
        Column(title="DEVICES", key="size"),
        Column(title="WORKLOADS", key="count", right=True),
        Column(title="OPEN", key="open", right=True),
        Column(title="MEAN", key="mean", right=True),
        Column(title="P50", key="p50", right=True),
        Column(title="P90", key="p90", right=True),
        Column(title="P99", key="p99", right=True),
        Column(title="LONGEST", key="longest", right=True),
    )
    rows = [
        Row(
            cells=(
                name,
                size,
                str(found.count),
                str(found.open),
                *(
                    duration(value)
                    for value in (round(found.mean), found.p50, found.p90, found.p99, found.longest)
                ),
            ),
            item=_waits(found) | {"size": size},
            name=f"{name}/{size}",
        )
        for name, result in results.items()
        for size, found in _by_size(result).items()
    ]
    return Table(kind="WaitList", columns=columns, rows=tuple(rows))


def waiting_lines(results: Mapping[str, Result]) -> list[str]:
    """For every simulation in which something waits at the end: how many for which reason."""
    lines = []
    for name, result in results.items():
        reasons = Counter(
            item.reason or "not decided about yet"
            for item in result.workloads
            if item.outcome is Outcome.WAITING
        )
        if reasons:
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
            lines.append(f"{name}: {reasons.total()} wait at the end: {told}")
    return lines


def spread_lines(results: Sequence[Result]) -> list[str]:
    """For every policy with several seeds: its mean allocation and wait over them, with the range."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.label, []).append(result)
    lines = []
    width = max((len(label) for label in groups), default=0)
    for label, found in groups.items():
        if len(found) < 2:
            continue
        held = [100 * float(result.totals.allocation) for result in found]
        waited = [float(waits(result.workloads, result.seconds).mean) for result in found]
        lines.append(
            f"{label:<{width}}  {len(found)} seeds: allocated {sum(held) / len(held):.2f} %"
            f" ({min(held):.2f} to {max(held):.2f}), mean wait {duration(round(sum(waited) / len(waited)))}"
            f" ({duration(round(min(waited)))} to {duration(round(max(waited)))})"
        )
    return lines


def percent(part: int, whole: int) -> str:
    return f"{float(Fraction(100 * part, whole)):.2f}" if whole else ""
