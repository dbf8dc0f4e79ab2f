"""Back-tests and repartition plans as tables and as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from aliquot.cli.output import Column, Row, Table
from aliquot.cli.recommend_tables import part_text
from aliquot.inventory.amounts import NONE, percent
from aliquot.sizing.backtest import Backtest, Pooled
from aliquot.sizing.choosing import Offer
from aliquot.sizing.repartition import Change, Repartition

_BACKTEST = (
    Column(title="FLEET", key="fleet"),
    Column(title="SIZED", key="sized", right=True),
    Column(title="UNSERVED", key="unserved", right=True),
    Column(title="WHOLE", key="whole", right=True),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="HINDSIGHT", key="hindsight", right=True),
    Column(title="SAVED", key="saved", right=True),
    Column(title="OVER TIME", key="over", right=True),
    Column(title="OVER HOURS", key="overHours", right=True),
)


def backtest_table(results: Sequence[tuple[str, Sequence[Offer], Backtest]]) -> Table:
    """One row for each fleet, and one for its containers together on devices."""
    rows: list[Row] = []
    short = 0
    for name, fleet, found in results:
        short = max(short, found.short)
        rows.append(
            Row(
                cells=(
                    name,
                    str(len(found.outcomes)),
                    str(found.unserved),
                    str(found.whole),
                    str(found.packed),
                    str(found.hindsight_packed),
                    percent(found.whole - found.packed, found.whole or 1),
                    f"{found.over:.4%}",
                    f"{found.over_hours}/{found.hours}",
                ),
                item=backtest_item(name, fleet, found),
                name=f"fleet/{name}",
            )
        )
        rows += [_pooled_row(name, item) for item in found.pooled]
    return Table(
        kind="SizingBacktest",
        columns=_BACKTEST,
        rows=tuple(rows),
        summary={"tooShortToSize": short},
    )


def _pooled_row(name: str, item: Pooled) -> Row:
    over = item.over_ms / item.covered_ms if item.covered_ms else 0.0
    label = f"{item.device.accelerator.id}, together"
    return Row(
        cells=(
            label,
            str(item.containers),
            "0",
            str(item.containers),
            str(item.devices),
            str(item.hindsight),
            percent(item.containers - item.devices, item.containers or 1),
            f"{over:.4%}",
            f"{item.over_hours}/{item.hours}",
        ),
        item={
            "fleet": name,
            "together": item.device.accelerator.id,
            "containers": item.containers,
            "devices": item.devices,
            "devicesWithHindsight": item.hindsight,
            "overMs": item.over_ms,
            "coveredMs": item.covered_ms,
            "overHours": item.over_hours,
            "hours": item.hours,
        },
        name=f"fleet/{label}",
    )


def backtest_item(name: str, fleet: Sequence[Offer], found: Backtest) -> dict[str, Any]:
    """A back-test for programs."""
    counts = Counter(part_text(item.part) for item in found.outcomes)
    return {
        "fleet": name,
        "models": [offer.accelerator.id for offer in fleet],
        "sized": len(found.outcomes),
        "tooShortToSize": found.short,
        "unserved": found.unserved,
        "wholeDevices": found.whole,
        "deviceParts": str(found.devices),
        "devices": found.packed,
        "devicePartsWithHindsight": str(found.hindsight),
        "devicesWithHindsight": found.hindsight_packed,
        "overMs": found.over_ms,
        "coveredMs": found.covered_ms,
        "overHours": found.over_hours,
        "hours": found.hours,
        "containersOver": found.containers,
        "parts": dict(counts.most_common()),
    }


_CHANGES = (
    Column(title="NODE", key="node", least=12),
    Column(title="GPU", key="gpu"),
    Column(title="BOARD", key="board", wide=True),
    Column(title="LAYOUT", key="layout", drop=1),
    Column(title="MAKE", key="make"),
    Column(title="REMOVE", key="remove"),
    Column(title="LEAVE", key="leave", drop=2),
    Column(title="NEEDS", key="needs"),
)


def repartition_table(plan: Repartition) -> Table:
    """One row for each GPU that changes."""
    changes = [item for item in plan.changes if not item.quiet]
    rows = tuple(
        Row(cells=_change_cells(item), item=_change_item(item), name=item.gpu.name) for item in changes
    )
    return Table(
        kind="RepartitionPlan",
        columns=_CHANGES,
        rows=rows,
        summary={
            "podsLeave": plan.pods,
            "gpusUsed": plan.used,
            "unserved": dict(plan.unserved),
            "proven": plan.proven,
        },
    )


def _change_cells(item: Change) -> tuple[str, ...]:
    needs = "GPU reset" if item.reset else "MIG mode on" if item.switch else ""
    return (
        item.gpu.node,
        item.gpu.name,
        item.gpu.board,
        _profiles(one.profile for one in item.layout),
        _profiles(one.profile for one in item.create),
        _profiles(one.profile for one in item.remove),
        ",".join(held.holder.name for held in item.empty) or NONE,
        needs or NONE,
    )


def _profiles(names: Iterable[str]) -> str:
    counts = Counter(names)
    shown = (name if count == 1 else f"{count}x{name}" for name, count in sorted(counts.items()))
    return "+".join(shown) or NONE


def _change_item(item: Change) -> dict[str, Any]:
    return {
        "node": item.gpu.node,
        "gpu": item.gpu.name,
        "board": item.gpu.board,
        "layout": [{"profile": one.profile, "start": one.start} for one in item.layout],
        "make": [{"profile": one.profile, "start": one.start} for one in item.create],
        "remove": [{"profile": one.profile, "start": one.start} for one in item.remove],
        "leave": [
            {
                "kind": held.holder.kind,
                "namespace": held.holder.namespace,
                "name": held.holder.name,
                "pods": held.pods,
            }
            for held in item.empty
        ],
        "switchMigMode": item.switch,
        "resetGpu": item.reset,
    }
