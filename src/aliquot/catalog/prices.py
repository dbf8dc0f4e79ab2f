"""Prices of cloud instances with accelerators: on demand and spot, by region, in micro-dollars per hour."""

import csv
import io
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from types import MappingProxyType

import msgspec

from aliquot.catalog.data_files import CatalogError, data_text

FILE = "prices.csv"
SOURCES_FILE = "price_sources.csv"

MICROS = 1_000_000
"""Micro-dollars in a dollar."""


class PriceSource(msgspec.Struct, frozen=True):
    """Where prices or specifications are from. data_date: as the source gives it."""

    key: str
    what: str
    where: str
    data_date: str


class InstancePrice(msgspec.Struct, frozen=True, kw_only=True):
    """One instance type in one region ("(any)" where only the specification is known).

    Money in micro-dollars per hour of the whole instance; None where there is no price. gpus: how many, or
    which part of one. spot_basis: how the spot price was found. unverified: names of fields without a
    public source.
    """

    provider: str
    region: str
    instance_type: str
    gpu_model: str
    gpus: Fraction | None = None
    gpu_memory_mib: int | None = None
    vcpus: int | None = None
    ram_gib: Fraction | None = None
    network_mbps: int | None = None
    fast_nics: int | None = None
    on_demand_micros: int | None = None
    spot_micros: int | None = None
    spot_basis: str = ""
    spot_savings_percent: int | None = None
    interruption_band: str = ""
    price_date: str = ""
    source: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()


class _Cells:
    """One line of the file; every reading names the column it fails on."""

    def __init__(self, number: int, cells: Mapping[str, str]) -> None:
        self._number = number
        self._cells = cells

    def text(self, column: str) -> str:
        return (self._cells.get(column) or "").strip()

    def exact(self, column: str) -> Decimal | None:
        text = self.text(column)
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal(-1)
        if not value.is_finite() or value < 0:
            raise CatalogError(FILE, f"line {self._number}, {column}", f"{text!r} is not an amount")
        return value

    def fraction(self, column: str) -> Fraction | None:
        value = self.exact(column)
        return None if value is None else Fraction(value).limit_denominator(64)

    def whole(self, column: str) -> int | None:
        value = self.exact(column)
        if value is not None and value != int(value):
            raise CatalogError(FILE, f"line {self._number}, {column}", f"{value} is not a whole number")
        return None if value is None else int(value)

    def micros(self, column: str) -> int | None:
        value = self.exact(column)
        return None if value is None else int((value * MICROS).to_integral_value())

    def keys(self, column: str) -> tuple[str, ...]:
        return tuple(key for key in self.text(column).split(";") if key)


@cache
def prices() -> tuple[InstancePrice, ...]:
    """All prices, in file order. Raises CatalogError with line and column."""
    found = []
    for number, row in enumerate(csv.DictReader(io.StringIO(data_text(FILE))), 2):
        cells = _Cells(number, row)
        found.append(
            InstancePrice(
                provider=cells.text("provider"),
                region=cells.text("region"),
                instance_type=cells.text("instance_type"),
                gpu_model=cells.text("gpu_model"),
                gpus=cells.fraction("gpu_count"),
                gpu_memory_mib=cells.whole("gpu_memory_mib_each"),
                vcpus=cells.whole("vcpus"),
                ram_gib=cells.fraction("ram_gib"),
                network_mbps=cells.whole("network_mbps"),
                fast_nics=cells.whole("efa_or_ib_nics"),
                on_demand_micros=cells.micros("on_demand_usd_hr"),
                spot_micros=cells.micros("spot_usd_hr"),
                spot_basis=cells.text("spot_basis"),
                spot_savings_percent=cells.whole("spot_savings_pct"),
                interruption_band=cells.text("interruption_band"),
                price_date=cells.text("price_date"),
                source=cells.keys("source"),
                unverified=cells.keys("unverified"),
            )
        )
    return tuple(found)


@cache
def price_sources() -> Mapping[str, PriceSource]:
    """What each source key stands for."""
    rows = csv.DictReader(io.StringIO(data_text(SOURCES_FILE)))
    return MappingProxyType(
        {
            row["source_key"]: PriceSource(row["source_key"], row["what"], row["where"], row["data_date"])
            for row in rows
        }
    )


def prices_of(instance_type: str, region: str = "") -> tuple[InstancePrice, ...]:
    """Prices of one instance type, in one region or in all."""
    return tuple(
        price for price in prices() if price.instance_type == instance_type and region in ("", price.region)
    )
