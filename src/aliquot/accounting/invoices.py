"""Making the ledger agree with a supplier's invoice, to the last micro-unit."""

from collections.abc import Sequence

import msgspec

from aliquot.accounting.amounts import apportion
from aliquot.accounting.entries import Account, Category, Device, Entry, Kind
from aliquot.accounting.prices import Match


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """What a supplier asks for the devices of `match` from start_ms to before end_ms, taxes left out."""

    name: str
    match: Match
    start_ms: int
    end_ms: int
    amount_micros: int


class Charged(msgspec.Struct, frozen=True, gc=False):
    """What the ledger has charged so far for a device to an account, in a part of the time of an invoice."""

    device: Device
    account: Account
    category: Category
    start_ms: int
    end_ms: int
    device_ms: int
    cost_micros: int


def reconcile(invoice: Invoice, charged: Sequence[Charged]) -> tuple[Entry, ...]:
    """Entries after which the ledger has charged exactly what the invoice asks.

    The difference is divided in proportion to what each was charged, or to device time where nothing was; an
    invoice for which no device was accounted cannot be divided and raises ValueError. Posted twice, the
    second time finds no difference and gives no entries; a corrected invoice posts what it differs by.
    """
    total = sum(item.cost_micros for item in charged)
    difference = invoice.amount_micros - total
    if not difference:
        return ()
    weights = [max(item.cost_micros, 0) for item in charged]
    if not any(weights):
        weights = [max(item.device_ms, 0) for item in charged]
    if not any(weights):
        raise ValueError(
            f"invoice {invoice.name}: no device time was accounted that it could be divided over; correct "
            "its from and until, or post it with the ledger of that time"
        )
    parts = apportion(difference, weights)
    return tuple(
        Entry(
            device=item.device,
            account=item.account,
            category=item.category,
            start_ms=item.start_ms,
            end_ms=item.end_ms,
            kind=Kind.INVOICE,
            cost_micros=part,
        )
        for item, part in zip(charged, parts)
        if part
    )
