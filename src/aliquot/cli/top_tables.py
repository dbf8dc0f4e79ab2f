"""The tables of `aliquot top`, and what they are for programs."""

import textwrap
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from aliquot.cli.output import Column, Row, Table
from aliquot.cli.tables import TOTAL, joined
from aliquot.inventory import amounts
from aliquot.inventory.amounts import NONE
from aliquot.inventory.owners import workload_name
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.overview import Group, Overview
from aliquot.usage.provenance import Known, Provenance
from aliquot.usage.series import Owner
from aliquot.usage.waste import BoardUse, UnitUse, Waste
from aliquot.web.usage.items import board_item, group_item, state_name, summary

UNKNOWN = "?"
ESTIMATED = "~"
LEGEND = (
    "~ estimated, ? not measured\n"
    "SM/TC/BW: % of time at work of SMs (else the engine, else any kernel), tensor\ncores, memory bandwidth"
)

Keep = Callable[[BoardUse], bool]


def count(value: Fraction) -> str:
    """A number of devices with two places at most: 3, 0.13. (`~` means estimated here, not rounded.)"""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def ppm(value: Known[int]) -> str:
    """A share of time in whole percent, with its mark: 83, ~83, ?."""
    if value.value is None:
        return UNKNOWN
    shown = amounts.percent(value.value, WHOLE_PPM).removesuffix("%")
    return (ESTIMATED if value.provenance is Provenance.ESTIMATED else "") + shown


def triple(unit: UnitUse) -> str:
    """SMs, tensor cores and memory bandwidth at work: 83/41/60."""
    return "/".join(ppm(value) for value in (unit.busy, unit.tensor, unit.dram))


def peak(value: Known[int]) -> str:
    """A memory peak with its mark: 71Gi, ~20Gi, ?."""
    if value.value is None:
        return UNKNOWN
    return (ESTIMATED if value.provenance is Provenance.ESTIMATED else "") + size(value.value)


def size(value: int) -> str:
    """Bytes in GiB where there is at least one, else in MiB."""
    gib = value / (1 << 30)
    if gib >= 10:
        return f"{gib:.0f}Gi"
    return f"{gib:.1f}".removesuffix(".0") + "Gi" if gib >= 1 else f"{round(value / (1 << 20))}Mi"


def idle(unit: UnitUse, end: int) -> str:
    """For how long there has been no work; `>` where it may be longer."""
    if unit.state is Waste.UNKNOWN:
        return UNKNOWN
    if unit.idle_since is None or unit.state is Waste.UNOCCUPIED:
        return NONE
    seconds = max(0, end - unit.idle_since) // 1000
    if seconds < 60:
        return NONE
    return (">" if unit.idle_longer else "") + amounts.duration(seconds)


_DEVICES = (
    Column(title="DEVICE", key="device", least=14),
    Column(title="STATE", key="state"),
    Column(title="HELD", key="held", right=True),
    Column(title="SM/TC/BW", key="busy", right=True),
    Column(title="MEM PEAK", key="memoryPeak", right=True),
    Column(title="OF", key="memory", right=True, wide=True),
    Column(title="IDLE", key="idle", right=True),
    Column(title="QUEUE", key="queue", least=6),
    Column(title="WORKLOAD", key="workload", wide=True),
    Column(title="MODE", key="mode", wide=True),
    Column(title="PRODUCT", key="product", wide=True),
    Column(title="POWER", key="power", wide=True, right=True),
    Column(title="WHY", key="why", wide=True),
)


def devices(seen: Overview, keep: Keep = lambda board: True) -> Table:
    """A row for each device, below it one for each part used by itself; then the fleet."""
    rows: list[Row] = []
    for item in seen.boards:
        if not keep(item):
            continue
        place = item.board.subject
        # A device plugin's resource has the vendor's domain before its name.
        name = f"{place.node or '<several>'}/{place.device.rpartition('/')[2]}"
        rows.append(_device_row(item.board, name, seen, board_item(item)))
        # Of a device that is free altogether its parts say nothing more.
        parts = item.parts if item.board.held else ()
        rows.extend(_device_row(part, f"  {_part_name(part)}", seen, {}, total=True) for part in parts)
    if seen.boards:
        rows.append(_total_row(seen.fleet, _DEVICES))
    return Table(kind="DeviceUsageTable", columns=_DEVICES, rows=tuple(rows), summary=summary(seen))


def _part_name(part: UnitUse) -> str:
    return part.subject.part.removeprefix(f"{part.subject.device}-")


def _device_row(
    unit: UnitUse, name: str, seen: Overview, item: Mapping[str, Any], *, total: bool = False
) -> Row:
    queues = joined(dict.fromkeys(owner.queue for owner in unit.owners if owner.queue), 1)
    workloads = joined(dict.fromkeys(_workload(owner) for owner in unit.owners), 2)
    cells = (
        name,
        state_name(unit),
        count(unit.held),
        triple(unit),
        peak(unit.memory_peak),
        size(unit.memory) if unit.memory is not None else NONE,
        idle(unit, seen.end),
        queues,
        workloads,
        unit.mode,
        unit.product,
        f"{unit.power.value / 1000:.0f}W" if unit.power.value is not None else UNKNOWN,
        _why(unit),
    )
    place = unit.subject
    return Row(cells=cells, item=item, name=f"device/{place.pool}/{place.part or place.device}", total=total)


def _why(unit: UnitUse) -> str:
    parts = [unit.stranded or unit.why, f"last XID {unit.xid}" if unit.xid else ""]
    return ", ".join(part for part in parts if part)


def _workload(owner: Owner) -> str:
    ref = owner.workload or owner.pod or owner.claim
    return f"{ref.namespace}/{workload_name(ref)}" if ref is not None else NONE


_GROUP = (
    Column(title="NAME", key="name", least=14),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="UTIL", key="utilisation", right=True),
    Column(title="IDLE", key="idle", right=True),
    Column(title="INEFF", key="inefficient", right=True),
    Column(title="MEM PEAK", key="memoryPeak", right=True),
    Column(title="LAST WORK", key="lastWork", right=True),
    Column(title="UNKNOWN", key="unknown", right=True, wide=True),
    Column(title="MEASURED", key="measured", right=True, wide=True),
    Column(title="RULE", key="rule", wide=True),
)

_WORKLOADS = (
    Column(title="NAMESPACE", key="namespace", least=9),
    *_GROUP[:1],
    Column(title="QUEUE", key="queue", least=6),
    *_GROUP[1:5],
    Column(title="MEM PEAK", key="memoryPeak", right=True, wide=True),
    *_GROUP[6:],
)

_NODES = (
    Column(title="NODE", key="node", least=14),
    Column(title="TOTAL", key="devices", right=True),
    Column(title="HELD", key="held", right=True),
    Column(title="UTIL", key="utilisation", right=True),
    Column(title="BROKEN", key="broken", right=True),
    Column(title="FREE", key="unoccupied", right=True),
    Column(title="IDLE", key="idle", right=True),
    Column(title="INEFF", key="inefficient", right=True),
    Column(title="WORK", key="productive", right=True),
    Column(title="UNK", key="unknown", right=True),
    Column(title="MEM PEAK", key="memoryPeak", right=True, wide=True),
    Column(title="MEASURED", key="measured", right=True, wide=True),
)


def groups(kind: str, seen: Overview, keep: Callable[[Group], bool] = lambda group: True) -> Table:
    """A row for each queue, team, workload or node: what it has, and how much of that is wasted."""
    found = {"queues": seen.queues, "teams": seen.teams, "workloads": seen.workloads, "nodes": seen.nodes}[
        kind
    ]
    columns = {"workloads": _WORKLOADS, "nodes": _NODES}.get(kind, _GROUP)
    kept = [group for group in found if keep(group)]
    if kind != "nodes":
        kept.sort(key=lambda group: (-group.wasted, -group.devices, group.name))
    rows = [
        Row(
            cells=_group_cells(kind, group, seen.end),
            item=group_item(group),
            name=f"{kind.removesuffix('s')}/{group.name}",
        )
        for group in kept
    ]
    if kind == "nodes" and kept:
        cells = list(_group_cells(kind, seen.fleet, seen.end))
        cells[0] = TOTAL
        rows.append(Row(cells=tuple(cells), item={}, name=TOTAL, total=True))
    title = {"queues": "Queue", "teams": "Team", "workloads": "Workload", "nodes": "Node"}[kind]
    return Table(kind=f"{title}UsageTable", columns=columns, rows=tuple(rows), summary=summary(seen))


def ratio(value: Fraction | None, provenance: Provenance) -> str:
    """A ratio in percent with its mark."""
    if value is None:
        return UNKNOWN
    return (ESTIMATED if provenance is Provenance.ESTIMATED else "") + amounts.percent(value, 1)


def _group_cells(kind: str, group: Group, end: int) -> tuple[str, ...]:
    share = group.share

    util = ratio(share.utilisation, share.provenance)
    most = peak(share.memory_peak)
    known = share.measured + share.unmeasured
    measured = amounts.percent(share.measured, known) if known else "0%"
    if kind == "nodes":
        return (
            group.name or "<several>",
            count(group.devices),
            count(share.allocated),
            util,
            *(count(group.states.get(state, Fraction(0))) for state in Waste),
            most,
            measured,
        )
    last = NONE if share.last_work is None else _ago(end - share.last_work)
    if share.utilisation is None:
        last = UNKNOWN
    cells = (
        group.name or NONE,
        count(group.devices),
        util,
        count(group.states.get(Waste.IDLE, Fraction(0))),
        count(group.states.get(Waste.INEFFICIENT, Fraction(0))),
        most,
        last,
        count(group.states.get(Waste.UNKNOWN, Fraction(0))),
        measured,
        share.rule or NONE,
    )
    if kind == "workloads":
        namespace = group.workload.namespace if group.workload is not None else ""
        return (namespace, cells[0], group.queue or NONE, *cells[1:])
    return cells


def _ago(ms: int) -> str:
    return "now" if ms < 120_000 else amounts.duration(ms // 1000)


def _total_row(fleet: Group, columns: tuple[Column, ...]) -> Row:
    cells = [TOTAL] + [""] * (len(columns) - 1)
    cells[1] = count(fleet.devices)
    cells[2] = count(fleet.share.allocated)
    return Row(cells=tuple(cells), item={}, name=TOTAL, total=True)


def headline(seen: Overview, width: int) -> tuple[str, ...]:
    """The fleet in a few lines, with the definitions of its figures."""
    fleet = seen.fleet
    words = []
    for state in Waste:
        if fleet.states.get(state):
            words.append(f"{count(fleet.states[state])} {state}")
            if state is Waste.UNOCCUPIED and seen.stranded:
                words[-1] += f" ({count(seen.stranded)} of them stranded)"
    states = ", ".join(words)
    time = amounts.duration((seen.end - seen.start) // 1000)
    parts = [f"{amounts.percent(seen.utilisation, 1)} of all device-time"]
    of_held = seen.utilisation_of_held
    if of_held is not None:
        parts.append(f"{ratio(of_held, seen.held_provenance)} of what is held")
    parts.append(f"{amounts.percent(seen.coverage, 1)} of it measured")
    if not seen.coverage:
        parts = ["unknown, nothing was measured"]
    return tuple(
        line
        for text in (
            f"{count(fleet.devices)} devices: {states or 'none'}",
            f"utilisation over {time}: {', '.join(parts)}",
        )
        for line in textwrap.wrap(text, width, subsequent_indent="  ")
    )
