"""Price books as files: YAML, with prices, energy tariffs, invoices and budgets."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import msgspec

from aliquot.accounting.budgets import Budget, Period
from aliquot.accounting.invoices import Invoice
from aliquot.accounting.prices import END_OF_TIME, Basis, Match, Price, PriceBook, Tariff, micros, spread
from aliquot.catalog.fleet_fields import Fields
from aliquot.catalog.fleet_yaml import parse_document

API_VERSION = "aliquot.dev/v1alpha1"
_CURRENCY = re.compile(r"[A-Z]{3}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONEY = "write an amount such as 98.32"
_LIST = "write a list, one item per `- `"


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says: the price book, the invoices to be met, the budgets to be kept."""

    book: PriceBook = PriceBook()
    invoices: tuple[Invoice, ...] = ()
    budgets: tuple[Budget, ...] = ()


def milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, rounded down. `time` must be aware."""
    if time.tzinfo is None:
        raise ValueError("accounting takes aware times only")
    return (time - _EPOCH) // timedelta(milliseconds=1)


def moment(time_ms: int) -> datetime:
    """The time of milliseconds since 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def parse_spending(text: str, source: str) -> Spending:
    """Read a file. Raises FleetError, which names the place and the fix."""
    document = parse_document(text, source)
    fields = Fields(document, "", document.value)
    if fields.text("apiVersion") != API_VERSION or fields.text("kind") != "PriceBook":
        raise fields.error(
            "kind", "is not a price book", f"begin with apiVersion: {API_VERSION}, kind: PriceBook"
        )
    currency = fields.text("currency") or "USD"
    if not _CURRENCY.fullmatch(currency):
        raise fields.error("currency", f"{currency!r} is no currency", "write its three letters, such as EUR")
    catalogue = fields.flag("catalogue") if fields.has("catalogue") else True
    found = Spending(
        book=PriceBook(
            currency=currency,
            prices=tuple(_price(item) for item in fields.each("prices", _LIST)),
            tariffs=tuple(_tariff(item) for item in fields.each("energy", _LIST)),
            catalogue=catalogue,
        ),
        invoices=tuple(_invoice(item) for item in fields.each("invoices", _LIST)),
        budgets=tuple(_budget(item) for item in fields.each("budgets", _LIST)),
    )
    fields.done()
    _distinct(fields, "invoices", [item.name for item in found.invoices])
    _distinct(fields, "budgets", [item.name for item in found.budgets])
    return found


def _distinct(fields: Fields, section: str, names: list[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise fields.error(f"{section}[{place}].name", f"{name!r} is there twice", "give it another name")


def _money(fields: Fields, name: str, default: int | None = 0) -> int:
    value = fields.value(name)
    if value is None and default is not None:
        return default
    found = None if isinstance(value, (bool, dict, list)) or value is None else micros(str(value))
    if found is None:
        raise fields.error(name, "is not an amount of money", _MONEY)
    return found


def _ratio(fields: Fields, name: str, default: Fraction, low: int, high: int) -> Fraction:
    value = fields.value(name)
    if value is None:
        return default
    try:
        found = Fraction(Decimal(str(value)))
    except (InvalidOperation, ValueError, OverflowError):
        found = Fraction(low - 1)
    if not low <= found <= high:
        raise fields.error(name, f"{value} is not a number from {low} to {high}", "write one such as 1.3")
    return found


def _time(fields: Fields, name: str, default: int) -> int:
    value = fields.value(name)
    if value is None:
        return default
    try:
        text = str(value)
        found = datetime.fromisoformat(text) if "T" in text or " " in text else _midnight(text)
        return milliseconds(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
    except ValueError:
        problem = f"{value!r} is no date"
        raise fields.error(name, problem, "write 2026-01-31 or 2026-01-31T12:00:00Z") from None


def _midnight(text: str) -> datetime:
    day = date.fromisoformat(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _valid(fields: Fields) -> tuple[int, int]:
    start, end = _time(fields, "from", 0), _time(fields, "until", END_OF_TIME)
    if end <= start:
        raise fields.error("until", "is not after `from`", "make it the later of the two")
    return start, end


def _match(fields: Fields) -> Match:
    inner = fields.mapping("match")
    if inner is None:
        return Match()
    found = Match(
        node=inner.text("node"),
        pool=inner.text("pool"),
        driver=inner.text("driver"),
        model=inner.text("model"),
        instance_type=inner.text("instanceType"),
        region=inner.text("region"),
        capacity_type=inner.choice("capacityType", ("on-demand", "spot", "reserved")),
    )
    inner.done()
    return found


def _price(fields: Fields) -> Price:
    name = fields.text("name")
    if not name:
        raise fields.error("name", "is missing", "name the price, so that reports can cite it")
    basis = Basis(fields.choice("basis", [item.value for item in Basis][:-1], "on-demand"))
    start, end = _valid(fields)
    match = _match(fields)
    ways = [way for way in ("perNodeHour", "perDeviceHour", "perNode", "perDevice") if fields.has(way)]
    if len(ways) != 1:
        raise fields.error(
            "", "gives no price, or several", "write one of perNodeHour, perDeviceHour, perNode, perDevice"
        )
    per_device = ways[0].startswith("perDevice")
    rate = part = 0
    until = END_OF_TIME
    if ways[0].endswith("Hour"):
        rate = _money(fields, ways[0])
    else:
        inner = fields.mapping(ways[0])
        assert inner is not None
        paid, residual = _money(inner, "payment", None), _money(inner, "residual")
        if residual > paid:
            raise inner.error("residual", "is more than the payment", "write what it is worth at the end")
        if not inner.has("months"):
            raise inner.error("months", "is missing", "write over how many months the payment is spread")
        part, length = spread(paid - residual, inner.number("months", 1, 600, 36))
        if not start:
            raise fields.error("from", "is missing", "write when the payment began to be spread")
        until = start + length
        monthly, _ = spread(_money(inner, "perMonth"), 1)
        rate = _money(inner, "perHour") + monthly
        inner.done()
    fields.done()
    return Price(
        name=name,
        match=match,
        basis=basis,
        micros_per_hour=rate,
        per_device=per_device,
        start_ms=start,
        end_ms=end,
        spread_micros_per_hour=part,
        spread_until_ms=until,
    )


def _tariff(fields: Fields) -> Tariff:
    start, end = _valid(fields)
    found = Tariff(
        match=_match(fields),
        start_ms=start,
        end_ms=end,
        micros_per_kwh=_money(fields, "perKwh"),
        grams_per_kwh=fields.number("gramsPerKwh", 0, 5000, 0),
        overhead=_ratio(fields, "overhead", Fraction(1), 1, 10),
    )
    fields.done()
    return found


def _invoice(fields: Fields) -> Invoice:
    start, end = _valid(fields)
    if not fields.text("name") or not start or end == END_OF_TIME:
        raise fields.error("", "lacks name, from or until", "write what the invoice is called and covers")
    found = Invoice(
        name=fields.text("name"),
        match=_match(fields),
        start_ms=start,
        end_ms=end,
        amount_micros=_money(fields, "amount", None),
    )
    fields.done()
    return found


def _budget(fields: Fields) -> Budget:
    if not fields.text("name"):
        raise fields.error("name", "is missing", "name the budget")
    selects = fields.mapping("for")
    dimensions: list[tuple[str, str]] = []
    for key in selects.names() if selects is not None else ():
        value = selects.value(key) if selects is not None else None
        if key not in ("queue", "namespace", "owner", "model", "workload") and not key.startswith("label:"):
            fix = "use queue, namespace, owner, model, workload or label:NAME"
            raise fields.error(f"for.{key}", "cannot have a budget", fix)
        dimensions.append((key, str(value)))
    if not dimensions:
        raise fields.error("for", "is missing", "write whose budget it is, such as `for: {queue: research}`")
    alerts = []
    for path, value in fields.items("alertAt", "write a list of percentages, such as [50, 80, 100]"):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
            raise fields.error(path.rpartition(".")[2], f"{value!r} is no percentage", "write 1 to 1000")
        alerts.append(value)
    found = Budget(
        name=fields.text("name"),
        selects=tuple(dimensions),
        period=Period(fields.choice("period", [item.value for item in Period], "month")),
        amount_micros=_money(fields, "amount", None),
        alert_percent=tuple(sorted(set(alerts))) or (80, 100),
    )
    if not found.amount_micros:
        raise fields.error("amount", "is 0", "write how much may be spent in the period")
    fields.done()
    return found
