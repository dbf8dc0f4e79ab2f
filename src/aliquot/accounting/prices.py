"""The price book: what a device costs by the hour, what energy costs, and how clean it is, over time."""

import fnmatch
import itertools
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from functools import cache

import msgspec

from aliquot.accounting.amounts import HOUR_MS, MILLION, accrued_share
from aliquot.accounting.entries import Occupancy, Place
from aliquot.catalog.prices import prices_of

HOURS_PER_MONTH = Fraction(8766, 12)
"""The twelfth part of a year of 365.25 days."""

END_OF_TIME = 1 << 62
_MOST = 10**12


class Basis(StrEnum):
    """How a device is paid for."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    RESERVED = "reserved"
    OWN = "own"
    UNPRICED = "unpriced"
    """Nobody said what it costs. It counts as 0, and reports say for how much device time."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices a line of the book is about; patterns with * and ?, "" matches everything."""

    node: str = ""
    pool: str = ""
    driver: str = ""
    model: str = ""
    instance_type: str = ""
    region: str = ""
    capacity_type: str = ""

    def fits(self, place: Place) -> bool:
        return all(
            not pattern or fnmatch.fnmatchcase(getattr(place, name), pattern)
            for name in self.__struct_fields__
            for pattern in (getattr(self, name),)
        )


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price per hour, valid from start_ms to before end_ms.

    per_device: of one device, else of a whole node with all its devices. spread_micros_per_hour: what was
    paid at once (own hardware: purchase less residual value; reserved: payment in advance), spread evenly
    from start_ms to spread_until_ms; after that only micros_per_hour is left to pay.
    """

    name: str
    match: Match
    basis: Basis
    micros_per_hour: int = 0
    per_device: bool = False
    start_ms: int = 0
    end_ms: int = END_OF_TIME
    spread_micros_per_hour: int = 0
    spread_until_ms: int = END_OF_TIME

    def rate(self, time_ms: int) -> int:
        """Micro-units per hour at a time."""
        spread = self.spread_micros_per_hour if time_ms < self.spread_until_ms else 0
        return self.micros_per_hour + spread


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """What a kilowatt-hour costs and emits. overhead: power usage effectiveness of the site, at least 1."""

    match: Match = Match()
    start_ms: int = 0
    end_ms: int = END_OF_TIME
    micros_per_kwh: int = 0
    grams_per_kwh: int = 0
    overhead: Fraction = Fraction(1)


NO_TARIFF = Tariff()


class Quote(msgspec.Struct, frozen=True):
    """The price that applies to a device. name: the line of the book, or where else it is from."""

    name: str
    basis: Basis
    micros_per_hour: int
    per_device: bool = False


UNPRICED = Quote("", Basis.UNPRICED, 0)


class PriceBook(msgspec.Struct, frozen=True, kw_only=True):
    """Prices and tariffs, of each the first that matches and is valid applies.

    currency: ISO 4217. catalogue: where no line matches and the node's label aliquot.dev/price-per-hour does
    not say either, take what the provider asks for the instance type (in US dollars; only used when that is
    the currency).
    """

    currency: str = "USD"
    prices: tuple[Price, ...] = ()
    tariffs: tuple[Tariff, ...] = ()
    catalogue: bool = True

    def quote(self, place: Place, time_ms: int) -> Quote:
        """What a device in that place costs: by the book, else the node's label, else the catalogue."""
        for price in self.prices:
            if price.start_ms <= time_ms < price.end_ms and price.match.fits(place):
                return Quote(price.name, price.basis, price.rate(time_ms), price.per_device)
        if place.price_label:
            said = micros(place.price_label)
            if said is not None:
                return Quote("node label", _basis(place.capacity_type), said)
        if self.catalogue and self.currency == "USD" and place.instance_type:
            spot = place.capacity_type == "spot"
            known = _catalogue_price(place.instance_type, place.region, spot)
            if known is not None:
                return Quote("catalogue", Basis.SPOT if spot else Basis.ON_DEMAND, known)
        return UNPRICED

    def tariff(self, place: Place, time_ms: int) -> Tariff:
        for tariff in self.tariffs:
            if tariff.start_ms <= time_ms < tariff.end_ms and tariff.match.fits(place):
                return tariff
        return NO_TARIFF

    def cuts(self, start_ms: int, end_ms: int) -> tuple[int, ...]:
        """The times between the two at which a price or tariff begins or ends, in order."""
        times = {
            time for price in self.prices for time in (price.start_ms, price.end_ms, price.spread_until_ms)
        }
        times |= {time for tariff in self.tariffs for time in (tariff.start_ms, tariff.end_ms)}
        return tuple(sorted(time for time in times if start_ms < time < end_ms))

    def capacity_cost(self, occupancy: Occupancy, start_ms: int, end_ms: int) -> tuple[int, Quote]:
        """What having the device costs from start to end, without energy; and the price at the end of it.

        Cut at each change of price; exact to the micro-unit however the time is cut further.
        """
        found, quote = 0, UNPRICED
        bounds = (start_ms, *self.cuts(start_ms, end_ms), end_ms)
        for first, last in itertools.pairwise(bounds):
            quote = self.quote(occupancy.device.place, first)
            rate, capacity = quote.micros_per_hour, occupancy.capacity
            if quote.per_device:
                over, under = capacity.numerator, capacity.denominator
                found += accrued_share(rate, 0, under, first, last, width=over)
            else:
                place, width, of = occupancy.index, occupancy.width, occupancy.of
                found += accrued_share(rate, place, of, first, last, width=width)
        return found, quote


@cache
def _catalogue_price(instance_type: str, region: str, spot: bool) -> int | None:
    """The lowest published price of an instance type in a region, in any region if none is given."""
    found = prices_of(instance_type, region)
    known = [price.spot_micros if spot else price.on_demand_micros for price in found]
    return min((amount for amount in known if amount is not None), default=None)


def _basis(capacity_type: str) -> Basis:
    try:
        return Basis(capacity_type)
    except ValueError:
        return Basis.ON_DEMAND


def micros(text: str) -> int | None:
    """An amount of money such as "98.32" in millionths, half to even; None if it is none."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount < _MOST:
        return None
    return int((amount * MILLION).to_integral_value(ROUND_HALF_EVEN))


def spread(total_micros: int, months: int) -> tuple[int, int]:
    """A payment spread evenly: micro-units per hour, and the milliseconds it lasts.

    An hour's part is rounded to the micro-unit, so over four years it may differ from the payment by some
    hundredths of a unit of money.
    """
    hours = months * HOURS_PER_MONTH
    return round(total_micros / hours), int(hours * HOUR_MS)
