"""Use and energy that became known after their time was settled: corrections of what was written."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from aliquot.accounting.amounts import MILLION, apportion
from aliquot.accounting.closing import PowerOf
from aliquot.accounting.energy import Use, carbon, energy_cost, split_energy
from aliquot.accounting.entries import AMOUNTS, Account, Category, Device, Entry, Kind
from aliquot.accounting.power import power_of
from aliquot.accounting.prices import Basis, PriceBook
from aliquot.usage.provenance import Provenance

Stretch = tuple[Device, int, int]
"""A device, from when, to when."""


def net(entries: Iterable[Entry]) -> dict[Stretch, tuple[Entry, ...]]:
    """What stands of entries after all corrections, by the stretch of time that they are about."""
    found: dict[Stretch, dict[tuple[Account, Category], Entry]] = {}
    for entry in entries:
        if entry.kind is Kind.INVOICE:
            continue
        own = found.setdefault((entry.device, entry.start_ms, entry.end_ms), {})
        key = (entry.account, entry.category)
        known = own.get(key)
        if known is not None:
            amounts = {name: getattr(known, name) + getattr(entry, name) for name in AMOUNTS}
            entry = msgspec.structs.replace(known, **amounts)
        own[key] = entry
    return {
        stretch: tuple(entry for entry in own.values() if entry.device_ms > 0)
        for stretch, own in found.items()
    }


def holding_key(account: Account) -> str:
    """What a holding is called in a Use that is made for entries."""
    return account.claim_uid or "/".join((account.namespace, *(pod.uid or pod.name for pod in account.pods)))


def revised(
    standing: Sequence[Entry], use: Use, book: PriceBook, power: PowerOf = power_of
) -> tuple[Entry, ...]:
    """The corrections by which the entries of one stretch say what is known now; () if they say it already.

    standing: all that stands of the stretch (`net`). use: by `holding_key`. Time held and what it cost stay
    as they are; what was known before and is not known now (forgotten samples) stays too. Of hardware of
    one's own, the electricity is charged anew.
    """
    if not standing or not _better(standing, use):
        return ()
    first = standing[0]
    length = first.end_ms - first.start_ms
    whole = sum(entry.device_ms for entry in standing)
    shares = [Fraction(entry.device_ms, whole) for entry in standing]
    keys = [holding_key(entry.account) if entry.category.held else "" for entry in standing]
    activity = [use.activity.get(key) if key else 0 for key in keys]
    energies = split_energy(
        length,
        shares,
        activity,
        measured_mj=use.energy_mj,
        power=power(first.device),
        idle_mw=use.idle_mw,
        counted=use.energy_measured,
    )
    old, new = [entry.energy_mj for entry in standing], [item.energy_mj for item in energies]
    quote = book.quote(first.device.place, first.start_ms)
    tariff = book.tariff(first.device.place, first.start_ms)

    def bills(joules: Sequence[int]) -> Sequence[int]:
        total = energy_cost(sum(joules), tariff.micros_per_kwh, tariff.overhead)
        return apportion(total, joules) if quote.basis is Basis.OWN and total else [0] * len(joules)

    emitted = carbon(sum(new), tariff.grams_per_kwh, tariff.overhead)
    carbons = apportion(emitted, new) if emitted else [0] * len(new)
    before, after = bills(old), bills(new)
    found: list[Entry] = []
    for place, entry in enumerate(standing):
        busy, share = activity[place], energies[place]
        measured = not keys[place] or use.provenance.get(keys[place]) is Provenance.MEASURED
        corrected = msgspec.structs.replace(
            entry,
            kind=Kind.CORRECTION,
            used_ms=entry.device_ms * min(busy or 0, MILLION) // MILLION,
            known_ms=0 if busy is None else entry.device_ms,
            use_measured_ms=entry.device_ms if busy is not None and measured else 0,
            energy_mj=share.energy_mj,
            metered_ms=entry.device_ms if share.known else 0,
            measured_mj=share.energy_mj if share.measured else 0,
            cost_micros=entry.cost_micros - before[place] + after[place],
            carbon_ug=carbons[place],
        )
        if any(getattr(corrected, name) != getattr(entry, name) for name in AMOUNTS):
            found += (entry.negated(), corrected)
    return tuple(found)


def _better(standing: Sequence[Entry], use: Use) -> bool:
    """Something is known now that was not known when the entries were written."""
    for entry in standing:
        key = holding_key(entry.account) if entry.category.held else ""
        if key and entry.known_ms < entry.device_ms and key in use.activity:
            return True
    if use.energy_mj is None:
        return False
    metered = all(entry.metered_ms == entry.device_ms for entry in standing)
    measured = all(entry.measured_mj == entry.energy_mj for entry in standing)
    return not metered or (use.energy_measured and not measured)
