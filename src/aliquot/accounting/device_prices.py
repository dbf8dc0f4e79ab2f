"""What one device of a model costs by the hour: by the price book, as the ledger has it, else by published
prices."""

import statistics
from collections.abc import Iterable, Mapping
from functools import cache

import msgspec

from aliquot.accounting.entries import Place
from aliquot.accounting.prices import Basis, PriceBook
from aliquot.catalog.accelerators import accelerators
from aliquot.catalog.prices import prices

MEMORY_TOLERANCE = 0.15
"""Instance types of one model are told from those with more memory by it; sources round differently."""

ASSUMED = "list price, assumed"
"""The name of a price that nobody has said this cluster pays."""


class DevicePrice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """micros_per_hour: millionths of a unit of money. name: the line of the price book, `node label`,
    `catalogue` (the node's instance type), or ASSUMED."""

    micros_per_hour: int
    name: str

    @property
    def assumed(self) -> bool:
        """Nobody has said that this is what is paid."""
        return self.name == ASSUMED


def quoted(book: PriceBook, place: Place, devices: int, time_ms: int) -> DevicePrice | None:
    """The price of one of so many devices of a node, exactly as the ledger divides it; None without one."""
    quote = book.quote(place, time_ms)
    if quote.basis is Basis.UNPRICED:
        return None
    each = quote.micros_per_hour if quote.per_device else quote.micros_per_hour // max(devices, 1)
    return DevicePrice(micros_per_hour=each, name=quote.name)


def device_prices(
    book: PriceBook, devices: Iterable[tuple[str, Place, int]], time_ms: int
) -> Mapping[str, DevicePrice]:
    """The median price of the devices of each model; models without any price are left out.

    devices: each with its model, its place, and how many its node has.
    """
    found: dict[str, list[DevicePrice]] = {}
    for model, place, count in devices:
        price = quoted(book, place, count, time_ms)
        if price is not None:
            found.setdefault(model, []).append(price)
    return {
        model: sorted(own, key=lambda item: (item.micros_per_hour, item.name))[(len(own) - 1) // 2]
        for model, own in found.items()
    }


def model_price(book: PriceBook, model: str, time_ms: int) -> DevicePrice | None:
    """The price of a device of a model of the catalogue that no node is known of: by a line of the book for
    one device, else what providers ask; None where neither is known.

    Published prices are in US dollars, and only used where that is the currency.
    """
    place = Place(node="", pool="", driver="", model=accelerators()[model].product_name)
    quote = book.quote(place, time_ms)
    if quote.basis is not Basis.UNPRICED and quote.per_device:
        return DevicePrice(micros_per_hour=quote.micros_per_hour, name=quote.name)
    listed = list_price(model) if book.catalogue and book.currency == "USD" else None
    return None if listed is None else DevicePrice(micros_per_hour=listed, name=ASSUMED)


@cache
def list_price(model: str) -> int | None:
    """The median of what providers ask on demand for one device of a model, over their regions and instance
    types, in micro-dollars per hour; None where the catalogue has none."""
    wanted = accelerators()[model]
    family = wanted.id.partition("-")[0]
    found = [
        price.on_demand_micros / price.gpus
        for price in prices()
        if price.on_demand_micros
        and price.gpus
        and price.gpus >= 1
        and price.gpu_model.replace("-", " ").split()[:1] == [family]
        and price.gpu_memory_mib
        and abs(price.gpu_memory_mib - wanted.memory_mib) <= MEMORY_TOLERANCE * wanted.memory_mib
    ]
    return round(statistics.median(found)) if found else None
