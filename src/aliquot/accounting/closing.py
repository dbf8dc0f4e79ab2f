"""From a settled stretch of time to the lines of the ledger."""

from collections.abc import Callable, Iterable
from fractions import Fraction

from aliquot.accounting.amounts import MILLION, apportion
from aliquot.accounting.energy import NO_USE, Power, Use, carbon, energy_cost, split_energy
from aliquot.accounting.entries import Account, Category, Device, Entry, Occupancy, Span
from aliquot.accounting.power import power_of
from aliquot.accounting.prices import Basis, PriceBook
from aliquot.usage.provenance import Provenance

UseOf = Callable[[Span], Use]
"""What is known of the use of a span's device: telemetry's answer."""

PowerOf = Callable[[Device], Power | None]


def nothing_known(span: Span) -> Use:
    return NO_USE


def entries_of(
    spans: Iterable[Span],
    book: PriceBook,
    use_of: UseOf = nothing_known,
    power: PowerOf = power_of,
) -> tuple[Entry, ...]:
    """The entries of all spans."""
    return tuple(entry for span in spans for entry in settle(span, book, use_of(span), power))


def settle(span: Span, book: PriceBook, use: Use = NO_USE, power: PowerOf = power_of) -> tuple[Entry, ...]:
    """The entries of one span: one for each part held, and one for each that is free or out of order.

    Their device time adds up to the length of the span, their energy to the device's, their money to what the
    device costs, all to the last unit: each is divided by the shares with the largest remainder.
    """
    occupancy, length = span.occupancy, span.length_ms
    if length <= 0:
        return ()
    parts = _parts(occupancy)
    shares = [share for _, _, share, _ in parts]
    activity = [use.activity.get(key) if key else 0 for _, _, _, key in parts]
    times = apportion(span.capacity_ms, shares)
    energies = split_energy(
        length,
        shares,
        activity,
        measured_mj=use.energy_mj,
        power=power(occupancy.device),
        idle_mw=use.idle_mw,
        counted=use.energy_measured,
    )
    cost, quote = book.capacity_cost(occupancy, span.start_ms, span.end_ms)
    costs = apportion(cost, shares)
    tariff = book.tariff(occupancy.device.place, span.start_ms)
    joules = [item.energy_mj for item in energies]
    # A cloud's price holds the electricity; one's own hardware pays for it by the kilowatt-hour.
    bill = energy_cost(sum(joules), tariff.micros_per_kwh, tariff.overhead) if quote.basis is Basis.OWN else 0
    bills = apportion(bill, joules or shares) if bill else [0] * len(parts)
    emitted = carbon(sum(joules), tariff.grams_per_kwh, tariff.overhead)
    carbons = apportion(emitted, joules) if emitted else [0] * len(parts)
    found = []
    for place, (category, account, _, key) in enumerate(parts):
        busy = activity[place]
        known = busy is not None
        measured = not key or use.provenance.get(key) is Provenance.MEASURED
        share = energies[place]
        found.append(
            Entry(
                device=occupancy.device,
                account=account,
                category=category,
                start_ms=span.start_ms,
                end_ms=span.end_ms,
                device_ms=times[place],
                used_ms=times[place] * min(busy or 0, MILLION) // MILLION,
                known_ms=times[place] if known else 0,
                use_measured_ms=times[place] if known and measured else 0,
                energy_mj=share.energy_mj,
                metered_ms=times[place] if share.known else 0,
                measured_mj=share.energy_mj if share.measured else 0,
                cost_micros=costs[place] + bills[place],
                carbon_ug=carbons[place],
            )
        )
    return tuple(found)


def _parts(occupancy: Occupancy) -> list[tuple[Category, Account, Fraction, str]]:
    """Category, account, share and the holding's key ("" for what nobody holds) of every part."""
    held = Category.EXCLUSIVE if occupancy.whole else Category.SHARED
    found = [(held, item.account, item.share, item.key) for item in occupancy.holdings]
    found += [(item.category, Account(reason=item.reason), item.share, "") for item in occupancy.spare]
    return found
