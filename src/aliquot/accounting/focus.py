"""The ledger as FOCUS 1.3 rows (FinOps Open Cost and Usage Specification, cost and usage dataset).

One row per day, place, account and category. A device's cost is split over those who hold parts of it, and
FOCUS 1.3 has the Allocated* columns for that: ResourceId is what was split (a node's devices of one kind),
AllocatedResourceId who got the part (a claim, else a pod). Columns beginning with x_ are ours, as the
specification wants it.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TypeAlias

import msgspec

from aliquot.accounting.amounts import DAY_MS, HOUR_MS, MILLION
from aliquot.accounting.entries import Account, Category, Place
from aliquot.accounting.price_files import moment
from aliquot.accounting.reports import Tally
from aliquot.catalog.prices import prices_of

Value: TypeAlias = str | Decimal | None
Row: TypeAlias = dict[str, Value]

COLUMNS = (
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "AvailabilityZone",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "CapacityReservationId",
    "CapacityReservationStatus",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractApplied",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
)
"""The columns of the dataset in FOCUS 1.3, in alphabetical order: the 57 of 1.2 and 8 new ones. ProviderName
and PublisherName are deprecated in favour of ServiceProviderName and HostProviderName, and still there."""

CUSTOM = (
    "x_CarbonGrams",
    "x_Category",
    "x_DecisionId",
    "x_DeviceModel",
    "x_EnergyMeasuredJoules",
    "x_GpuSeconds",
    "x_Joules",
    "x_Mode",
    "x_Model",
    "x_Profile",
    "x_Queue",
    "x_Reason",
    "x_UsedGpuSeconds",
    "x_UseKnownGpuSeconds",
    "x_Workload",
)

METHOD = "aliquot-share-of-device"
UNIT = "GPU-Hours"
_HOSTS = {"aws": "AWS", "azure": "Microsoft", "gcp": "Google Cloud"}


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What an account had in a place on a day, in one category."""

    day_ms: int
    place: Place
    account: Account
    category: Category
    amounts: Tally


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who bills: account_id and account_name of whoever pays for the cluster; name: of the platform."""

    account_id: str
    account_name: str
    currency: str
    name: str = "Aliquot"


def rows(charges: Iterable[Charge], issuer: Issuer) -> Iterable[Row]:
    """The rows of charges, each with all columns."""
    for charge in charges:
        yield _row(charge, issuer)


def _row(charge: Charge, issuer: Issuer) -> Row:
    place, account, amounts = charge.place, charge.account, charge.amounts
    start = moment(charge.day_ms)
    month = start.replace(day=1)
    after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    cost = Decimal(amounts.cost_micros) / MILLION
    hours = Decimal(amounts.device_ms) / HOUR_MS
    tags = json.dumps(dict(account.labels), ensure_ascii=False, sort_keys=True)
    held = charge.category.held
    corrected = amounts.device_ms < 0
    row: Row = dict.fromkeys((*COLUMNS, *CUSTOM))
    row.update(
        BilledCost=cost,
        EffectiveCost=cost,
        ListCost=cost,
        ContractedCost=cost,
        BillingAccountId=issuer.account_id,
        BillingAccountName=issuer.account_name,
        BillingAccountType="Cluster",
        BillingCurrency=issuer.currency,
        BillingPeriodStart=_time(month),
        BillingPeriodEnd=_time(after),
        ChargePeriodStart=_time(start),
        ChargePeriodEnd=_time(moment(charge.day_ms + DAY_MS)),
        ChargeCategory="Usage" if amounts.device_ms else "Adjustment",
        ChargeClass="Correction" if corrected else None,
        ChargeDescription=_description(charge),
        ChargeFrequency="Usage-Based",
        PricingCategory="Dynamic" if place.capacity_type == "spot" else "Standard",
        HostProviderName=_host(place.instance_type) or issuer.name,
        ServiceProviderName=issuer.name,
        ProviderName=issuer.name,
        PublisherName=issuer.name,
        InvoiceIssuerName=issuer.name,
        ResourceId=f"{place.node or place.pool}/{place.driver}",
        ResourceName=place.node or place.pool,
        ResourceType="Accelerator",
        RegionId=place.region or None,
        RegionName=place.region or None,
        ServiceCategory="Compute",
        ServiceSubcategory="Containers",
        ServiceName="Accelerators",
        SkuId=place.model or place.driver,
        SkuPriceId=f"{place.model or place.driver} {place.capacity_type or 'standard'}",
        SkuMeter="Device time",
        SubAccountId=account.namespace or None,
        SubAccountName=account.namespace or None,
        SubAccountType="Namespace" if account.namespace else None,
        Tags=tags,
        x_CarbonGrams=Decimal(amounts.carbon_ug) / MILLION,
        x_Category=charge.category.word,
        x_DecisionId=account.decision or None,
        x_DeviceModel=place.model or None,
        x_EnergyMeasuredJoules=Decimal(amounts.measured_mj) / 1000,
        x_GpuSeconds=Decimal(amounts.device_ms) / 1000,
        x_Joules=Decimal(amounts.energy_mj) / 1000,
        x_Mode=account.mode or None,
        x_Model=account.model or None,
        x_Profile=account.profile or None,
        x_Queue=account.queue or None,
        x_Reason=account.reason or None,
        x_UsedGpuSeconds=Decimal(amounts.used_ms) / 1000,
        x_UseKnownGpuSeconds=Decimal(amounts.known_ms) / 1000,
        x_Workload=account.workload or None,
    )
    if amounts.device_ms:
        row.update(PricingQuantity=hours, PricingUnit=UNIT, ConsumedQuantity=hours, ConsumedUnit=UNIT)
        # The day's price of an hour, electricity included; FOCUS wants price x quantity to be the cost.
        row.update(ListUnitPrice=cost / hours, ContractedUnitPrice=cost / hours)
    if held:
        name = account.claim or (account.pods[0].name if account.pods else account.workload)
        row.update(
            AllocatedMethodId=METHOD,
            AllocatedMethodDetails=json.dumps(
                {"Basis": "share of the device held x time", "Mode": account.mode, "Profile": account.profile}
            ),
            AllocatedResourceId=account.claim_uid or account.workload_uid or f"{account.namespace}/{name}",
            AllocatedResourceName=f"{account.namespace}/{name}" if account.namespace else name,
            AllocatedTags=tags,
        )
    return row


@cache
def _host(instance_type: str) -> str:
    """Who runs the machine, by its instance type; "" where that is nobody's that is known."""
    known = prices_of(instance_type) if instance_type else ()
    return _HOSTS.get(known[0].provider, known[0].provider) if known else ""


def _description(charge: Charge) -> str:
    account = charge.account
    if charge.category.held:
        what = account.profile or charge.place.model or "accelerator"
        return f"{what} held by {account.workload or account.claim} ({charge.category.word})"
    return f"{charge.place.model or 'accelerator'}, {charge.category.word}: {account.reason}"


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
