"""Tables of reports: cost, usage, energy and carbon, with what everything adds up to."""

from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec

from aliquot.accounting.amounts import HOUR_MS, MILLION, MJ_PER_KWH
from aliquot.accounting.entries import AMOUNTS, Category
from aliquot.accounting.reports import Group, Tally
from aliquot.cli.output import Column, Row, Table
from aliquot.inventory.amounts import NONE, percent


class Topic(msgspec.Struct, frozen=True):
    """What a report is about. amount: of it in a Tally; unit: of what is shown; size: what one of it is."""

    name: str
    amount: str
    unit: str
    size: int


TOPICS = {
    "cost": Topic("cost", "cost_micros", "", MILLION),
    "usage": Topic("usage", "device_ms", "GPU-hours", HOUR_MS),
    "energy": Topic("energy", "energy_mj", "kWh", MJ_PER_KWH),
    "carbon": Topic("carbon", "carbon_ug", "kg CO2e", 10**9),
}

UNKNOWN = "unknown"
"""What stands where nothing is known; it is not 0. A sum that is known in part is at least that: >=1.21."""

_CATEGORIES = tuple(Category)


def decimal(amount: int | Fraction, size: int, places: int) -> str:
    """An amount in its unit with so many decimals, exactly rounded: 1,234.50."""
    scaled = round(Fraction(amount) * 10**places / size)
    sign, scaled = ("-" if scaled < 0 else ""), abs(scaled)
    whole, rest = divmod(scaled, 10**places)
    return f"{sign}{whole:,}" + (f".{rest:0{places}d}" if places else "")


def least(amount: int, size: int, places: int) -> str:
    """As `decimal`, but what is there is never shown as nothing: 0.004 is <0.01, and 0 is 0."""
    text = decimal(amount, size, places)
    if not amount or any(digit in text for digit in "123456789"):
        return text if amount else "0"
    return f"<{decimal(size, size * 10**places, places)}" if amount > 0 else text


def places_for(largest: int, size: int) -> int:
    """Decimals that keep numbers readable: two below ten thousand, none from there on."""
    return 2 if abs(largest) < 10_000 * size else 0


def report_table(
    topic: Topic, by: Sequence[str], shown: Sequence[Group], currency: str, summary: dict[str, Any]
) -> Table:
    """Groups by category, the most expensive first, and a row that adds up everything."""
    total = _sum(shown)
    places = places_for(getattr(total.total, topic.amount), topic.size)

    def cell(amounts: Tally) -> str:
        text = least(getattr(amounts, topic.amount), topic.size, places)
        if topic.name not in ("energy", "carbon") or not amounts.device_ms:
            return text
        no_grid = topic.name == "carbon" and amounts.energy_mj and not amounts.carbon_ug
        if not amounts.metered_ms or no_grid:
            return UNKNOWN
        return f">={text}" if amounts.metered_ms < amounts.device_ms else text

    extra = _extra_columns(topic, currency)
    columns = (
        *(Column(title=name.upper(), key=name, least=12) for name in by),
        *(Column(title=category.name, key=category.word, right=True) for category in _CATEGORIES),
        Column(title="TOTAL", key="total", right=True),
        *(column for column, _ in extra),
    )

    def cells(group: Group) -> tuple[str, ...]:
        values = [cell(group.of(category)) for category in _CATEGORIES]
        return (*values, cell(group.total), *(make(group) for _, make in extra))

    ordered = _ordered(shown, by, topic.amount)
    rows = [
        Row(
            cells=(*(key or NONE for key in group.keys), *cells(group)),
            item=item(by, group),
            name="/".join(group.keys),
        )
        for group in ordered
    ]
    names = ("*", *("" for _ in by[1:])) if by else ()
    rows.append(Row(cells=(*names, *cells(total)), item={}, name="", total=True))
    return Table(
        kind=f"{topic.name.capitalize()}Report",
        columns=columns,
        rows=tuple(rows),
        summary={**summary, "unit": topic.unit or currency, "total": amounts_of(total)},
    )


def chargeback_table(
    by: Sequence[str], shown: Sequence[Group], currency: str, summary: dict[str, Any]
) -> Table:
    """What everybody pays, the part of what nobody held included; it adds up to everything."""
    charges = sum(group.charge_micros for group in shown)
    places = places_for(charges, MILLION)
    rows = []
    for group in sorted(shown, key=lambda item: (-item.charge_micros, item.keys)):
        found = {
            **item(by, group),
            "overheadMicros": group.overhead_micros,
            "chargeMicros": group.charge_micros,
        }
        cells = (
            decimal(group.held.cost_micros, MILLION, places),
            decimal(group.overhead_micros, MILLION, places),
            decimal(group.charge_micros, MILLION, places),
            percent(group.charge_micros, charges),
            _money(group.micros_per_held_hour()),
            _money(group.micros_per_used_hour()),
        )
        rows.append(
            Row(cells=(*(key or NONE for key in group.keys), *cells), item=found, name="/".join(group.keys))
        )
    total = _sum(shown)
    names = ("*", *("" for _ in by[1:])) if by else ()
    overhead = sum(group.overhead_micros for group in shown)
    cells = (
        decimal(total.held.cost_micros, MILLION, places),
        decimal(overhead, MILLION, places),
        decimal(charges, MILLION, places),
        "100%" if charges else "0%",
        "",
        "",
    )
    rows.append(Row(cells=(*names, *cells), item={}, name="", total=True))
    return Table(
        kind="ChargebackReport",
        columns=(
            *(Column(title=name.upper(), key=name, least=12) for name in by),
            Column(title="HELD", key="held", right=True),
            Column(title="OVERHEAD", key="overhead", right=True),
            Column(title="CHARGE", key="charge", right=True),
            Column(title="SHARE", key="share", right=True),
            Column(title="PER GPU-HOUR", key="perGpuHour", wide=True, right=True),
            Column(title="PER USED GPU-HOUR", key="perUsedGpuHour", wide=True, right=True),
        ),
        rows=tuple(rows),
        summary={**summary, "unit": currency, "chargeMicros": charges},
    )


def _ordered(shown: Sequence[Group], by: Sequence[str], amount: str) -> list[Group]:
    """In the order of time where a report is by time first, else the largest first."""
    if by and by[0] in ("day", "month", "hour"):
        return sorted(shown, key=lambda group: group.keys)
    return sorted(shown, key=lambda group: (-getattr(group.total, amount), group.keys))


def _sum(shown: Sequence[Group]) -> Group:
    found: dict[Category, Tally] = {}
    for group in shown:
        for category, amounts in group.by_category.items():
            found[category] = found.get(category, Tally()) + amounts
    return Group(keys=(), by_category=found)


def _extra_columns(topic: Topic, currency: str) -> list[tuple[Column, Callable[[Group], str]]]:
    """What is shown beside the amounts, which depends on the topic."""
    match topic.name:
        case "cost":
            return [
                (
                    Column(title="PER GPU-HOUR", key="perGpuHour", wide=True, right=True),
                    lambda group: _money(group.micros_per_held_hour()),
                ),
                (
                    Column(title="PER USED GPU-HOUR", key="perUsedGpuHour", wide=True, right=True),
                    lambda group: _money(group.micros_per_used_hour()),
                ),
            ]
        case "usage":
            return [
                (Column(title="USED", key="used", right=True), _used),
                (Column(title="USE KNOWN", key="useKnown", wide=True, right=True), _use_known),
            ]
        case "energy":
            return [
                (Column(title="MEASURED", key="measured", right=True), _measured),
                (Column(title="ENERGY KNOWN", key="energyKnown", wide=True, right=True), _metered),
            ]
    return []


def _money(micros: int | None) -> str:
    return NONE if micros is None else decimal(micros, MILLION, 2)


def _used(group: Group) -> str:
    """Use as a part of what was held and of which use is known."""
    known = group.held.known_ms
    return percent(group.held.used_ms, known) if known else UNKNOWN


def _use_known(group: Group) -> str:
    return percent(group.held.known_ms, group.held.device_ms) if group.held.device_ms else NONE


def _measured(group: Group) -> str:
    total = group.total
    return percent(total.measured_mj, total.energy_mj) if total.energy_mj else NONE


def _metered(group: Group) -> str:
    total = group.total
    return percent(total.metered_ms, total.device_ms) if total.device_ms else NONE


def item(by: Sequence[str], group: Group) -> dict[str, Any]:
    """A group for programs: exact integers in the ledger's units."""
    return {**dict(zip(by, group.keys)), **amounts_of(group)}


def amounts_of(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {
        category.word: _plain(group.of(category)) for category in _CATEGORIES if category in group.by_category
    }
    found["total"] = _plain(group.total)
    found["perGpuHourMicros"] = group.micros_per_held_hour()
    found["perUsedGpuHourMicros"] = group.micros_per_used_hour()
    return found


_NAMES = {
    "device_ms": "deviceMilliseconds",
    "used_ms": "usedMilliseconds",
    "known_ms": "useKnownMilliseconds",
    "use_measured_ms": "useMeasuredMilliseconds",
    "energy_mj": "energyMillijoules",
    "metered_ms": "energyKnownMilliseconds",
    "measured_mj": "energyMeasuredMillijoules",
    "cost_micros": "costMicros",
    "carbon_ug": "carbonMicrograms",
}


def _plain(amounts: Tally) -> dict[str, int]:
    return {_NAMES[name]: getattr(amounts, name) for name in AMOUNTS}


def stamped(since: datetime, until: datetime, currency: str) -> dict[str, Any]:
    """What a report says about itself."""
    return {"since": since.isoformat(), "until": until.isoformat(), "currency": currency}
