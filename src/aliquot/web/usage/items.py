"""Usage and waste for programs: what `aliquot top -o json` prints and the page asks for."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from aliquot.model.meta import ObjectRef
from aliquot.usage.overview import Group, Overview
from aliquot.usage.provenance import Known
from aliquot.usage.series import Owner
from aliquot.usage.utilisation import DEFINITION, HELD_DEFINITION
from aliquot.usage.waste import BoardUse, UnitUse, Waste

STRANDED = "stranded"
"""How something unoccupied is called that can be given to nobody."""


def state_name(unit: UnitUse) -> str:
    """The state, with what is stranded told apart."""
    return STRANDED if unit.stranded and unit.state is Waste.UNOCCUPIED else unit.state.value


def summary(seen: Overview) -> dict[str, Any]:
    """The fleet: amounts of devices as exact fractions, ratios beside their definitions."""
    fleet = seen.fleet
    of_held = seen.utilisation_of_held
    return {
        "start": seen.start,
        "end": seen.end,
        "devices": str(fleet.devices),
        "held": str(fleet.share.allocated),
        "states": states(fleet),
        "stranded": str(seen.stranded),
        "utilisation": round(float(seen.utilisation), 6),
        "utilisationDefinition": DEFINITION,
        "utilisationOfHeld": round(float(of_held), 6) if of_held is not None else None,
        "utilisationOfHeldProvenance": seen.held_provenance.value,
        "utilisationOfHeldDefinition": HELD_DEFINITION,
        "measured": round(float(seen.coverage), 6),
        "provenance": fleet.share.provenance.value,
        "rule": fleet.share.rule,
    }


def states(group: Group) -> dict[str, str]:
    """How many devices are in each state."""
    return {state.value: str(group.states.get(state, Fraction(0))) for state in Waste}


def known_item(value: Known[int], unit: str) -> dict[str, Any]:
    """A figure: value, unit, provenance and rule."""
    found: dict[str, Any] = {"value": value.value, "unit": unit, "provenance": value.provenance.value}
    return {**found, "rule": value.rule} if value.rule else found


def board_item(item: BoardUse) -> dict[str, Any]:
    """A device with the parts of it that are used by themselves."""
    return {
        **unit_item(item.board),
        "parts": [{**unit_item(part), "part": part.subject.part} for part in item.parts],
    }


def unit_item(unit: UnitUse) -> dict[str, Any]:
    """A device or part."""
    place = unit.subject
    return {
        "node": place.node,
        "driver": place.driver,
        "pool": place.pool,
        "device": place.device,
        "product": unit.product,
        "mode": unit.mode,
        "share": str(unit.share),
        "held": str(unit.held),
        "state": unit.state.value,
        "why": unit.why,
        "stranded": unit.stranded,
        "xid": unit.xid,
        "busy": known_item(unit.busy, "ppm"),
        "busyMetric": unit.busy_metric.value if unit.busy_metric is not None else None,
        "tensor": known_item(unit.tensor, "ppm"),
        "memoryBandwidth": known_item(unit.dram, "ppm"),
        "memoryPeak": known_item(unit.memory_peak, "B"),
        "memory": unit.memory,
        "power": known_item(unit.power, "mW"),
        "idleSince": unit.idle_since,
        "idleLonger": unit.idle_longer,
        "owners": [owner_item(owner) for owner in unit.owners],
    }


def owner_item(owner: Owner) -> dict[str, Any]:
    """Who holds something."""
    return {
        "queue": owner.queue,
        "workload": reference(owner.workload),
        "pod": reference(owner.pod),
        "claim": reference(owner.claim),
    }


def reference(ref: ObjectRef | None) -> dict[str, str] | None:
    """An object by kind, namespace and name."""
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name} if ref is not None else None


def group_item(group: Group) -> dict[str, Any]:
    """A workload, queue, team or node."""
    share = group.share
    found: dict[str, Any] = {"name": group.name}
    if group.workload is not None:
        found["workload"] = reference(group.workload)
        found["queue"] = group.queue
    util = share.utilisation
    return {
        **found,
        "devices": str(group.devices),
        "held": str(share.allocated),
        "states": states(group),
        "utilisation": round(float(util), 6) if util is not None else None,
        "provenance": share.provenance.value,
        "rule": share.rule,
        "deviceSecondsHeld": float(share.held / 1000),
        "deviceSecondsMeasured": float(share.measured / 1000),
        "deviceSecondsUsed": float(share.used / 1000),
        "memoryPeak": known_item(share.memory_peak, "B"),
        "lastWork": share.last_work,
    }


_WORST_FIRST = (
    Waste.BROKEN,
    Waste.IDLE,
    Waste.INEFFICIENT,
    Waste.UNKNOWN,
    Waste.UNOCCUPIED,
    Waste.PRODUCTIVE,
)


def worst_first(boards: Sequence[BoardUse]) -> list[BoardUse]:
    """Devices with the most wasteful first; what is stranded before what is merely free."""

    def rank(item: BoardUse) -> tuple[int, bool, str, str]:
        worst = min(_WORST_FIRST.index(unit.state) for unit in item.units)
        place = item.board.subject
        return (worst, not item.board.stranded, place.node, place.device)

    return sorted(boards, key=rank)
