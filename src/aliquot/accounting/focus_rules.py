"""Whether rows keep the rules of FOCUS 1.3: columns, types, values that are allowed, and how columns agree.

Rules are those of the specification for the columns that an allocation of shared devices fills; it is read
from the published column definitions (focus.finops.org, cost and usage, 1.3).
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from aliquot.accounting.focus import COLUMNS, CUSTOM, Row, Value

NOT_NULL = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
)
NUMERIC = (
    "BilledCost",
    "CommitmentDiscountQuantity",
    "ConsumedQuantity",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
)
TIMES = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
OBJECTS = ("AllocatedMethodDetails", "AllocatedTags", "SkuPriceDetails", "Tags")
ALLOWED: Mapping[str, tuple[str | None, ...]] = {
    "ChargeCategory": ("Usage", "Purchase", "Tax", "Credit", "Adjustment"),
    "ChargeClass": ("Correction", None),
    "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
    "PricingCategory": ("Standard", "Dynamic", "Committed", "Other", None),
    "CapacityReservationStatus": ("Used", "Unused", None),
    "CommitmentDiscountStatus": ("Used", "Unused", None),
    "ServiceCategory": (
        "AI and Machine Learning",
        "Analytics",
        "Business Applications",
        "Compute",
        "Databases",
        "Developer Tools",
        "Identity",
        "Integration",
        "Internet of Things",
        "Management and Governance",
        "Media",
        "Migration",
        "Mobile",
        "Multicloud",
        "Networking",
        "Other",
        "Security",
        "Storage",
        "Web",
    ),
}
TOGETHER = (
    ("ConsumedQuantity", "ConsumedUnit"),
    ("PricingQuantity", "PricingUnit"),
    ("SubAccountId", "SubAccountName"),
    ("AllocatedResourceId", "AllocatedMethodId"),
    ("CommitmentDiscountId", "CommitmentDiscountCategory"),
    ("CapacityReservationId", "CapacityReservationStatus"),
)
"""Columns that are both null or both not null."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_CURRENCY = re.compile(r"[A-Z]{3}")
_UNIT = re.compile(r"[A-Z][A-Za-z]*(-[A-Z][a-z]+)*( per [A-Z][a-z]+)?")
MOST = 50


def violations(rows: Iterable[Row]) -> tuple[str, ...]:
    """What rows break, as "row 3, ChargeClass: ..."; the first MOST of them."""
    found: list[str] = []
    for number, row in enumerate(rows, 1):
        found += (f"row {number}, {problem}" for problem in _row(row))
        if len(found) >= MOST:
            break
    return tuple(found[:MOST])


def _row(row: Row) -> Iterable[str]:
    for name in COLUMNS:
        if name not in row:
            yield f"{name}: the column is missing"
    for name in row:
        if name not in COLUMNS and not name.startswith("x_"):
            yield f"{name}: a column of one's own begins with x_"
    for name in (*COLUMNS, *CUSTOM):
        value = row.get(name)
        if value == "":
            yield f"{name}: is empty; a missing value is null"
    for name in NOT_NULL:
        if row.get(name) is None:
            yield f"{name}: must not be null"
    for name in NUMERIC:
        value = row.get(name)
        if value is not None and (not isinstance(value, Decimal) or not value.is_finite()):
            yield f"{name}: {value!r} is no number"
    for name, values in ALLOWED.items():
        if row.get(name) not in values:
            yield f"{name}: {row.get(name)!r} is not allowed"
    for name in OBJECTS:
        if not _is_object(row.get(name)):
            yield f"{name}: is no JSON object"
    yield from _times(row)
    yield from _agreements(row)


def _times(row: Row) -> Iterable[str]:
    read: dict[str, datetime] = {}
    for name in TIMES:
        value = row.get(name)
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            yield f"{name}: {value!r} is no time in UTC such as 2026-01-31T00:00:00Z"
        else:
            read[name] = datetime.fromisoformat(value)
    if len(read) == len(TIMES):
        if read["ChargePeriodStart"] >= read["ChargePeriodEnd"]:
            yield "ChargePeriodEnd: is not after ChargePeriodStart"
        if not read["BillingPeriodStart"] <= read["ChargePeriodStart"] < read["BillingPeriodEnd"]:
            yield "ChargePeriodStart: is outside the billing period"


def _agreements(row: Row) -> Iterable[str]:
    for first, second in TOGETHER:
        if (row.get(first) is None) != (row.get(second) is None):
            yield f"{second}: must be null exactly when {first} is"
    currency = row.get("BillingCurrency")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        yield f"BillingCurrency: {currency!r} is no currency (ISO 4217)"
    for name in ("PricingUnit", "ConsumedUnit"):
        unit = row.get(name)
        if unit is not None and (not isinstance(unit, str) or not _UNIT.fullmatch(unit)):
            yield f"{name}: {unit!r} is not written like GB-Hours"
    usage = row.get("ChargeCategory") in ("Usage", "Purchase")
    if usage and row.get("ChargeClass") is None:
        for name in ("PricingQuantity", "ListUnitPrice", "ContractedUnitPrice"):
            if row.get(name) is None:
                yield f"{name}: must not be null for usage"
    if row.get("ChargeCategory") == "Usage" and row.get("ChargeFrequency") != "Usage-Based":
        yield "ChargeFrequency: usage is Usage-Based"
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        each, quantity, whole = row.get(price), row.get("PricingQuantity"), row.get(cost)
        if (
            isinstance(each, Decimal)
            and isinstance(quantity, Decimal)
            and isinstance(whole, Decimal)
            and abs(each * quantity - whole) > Decimal("0.000001")
        ):
            yield f"{cost}: is not {price} x PricingQuantity"


def _is_object(value: Value) -> bool:
    if value is None:
        return True
    try:
        return isinstance(json.loads(str(value)), dict)
    except ValueError:
        return False
