"""Reading single entries of the ledger, and what is made from them: pods, invoices, charges by day."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from aliquot.accounting.amounts import DAY_MS, apportion
from aliquot.accounting.entries import AMOUNTS, Account, Category, Device, Entry, Kind, Place
from aliquot.accounting.focus import Charge
from aliquot.accounting.invoices import Charged, Invoice
from aliquot.accounting.reports import Tally
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_database import Row


@dataclass(frozen=True, slots=True)
class PodSums:
    """What one pod had in a time: its part of what its claims had, where several pods share a claim."""

    namespace: str
    name: str
    uid: str
    amounts: Tally


def pod_sums(
    ledger: Ledger, since_ms: int, until_ms: int, *, namespace: str = "", extra: Iterable[Entry] = ()
) -> tuple[PodSums, ...]:
    """What each pod had from since_ms to before until_ms; of entries that reach out of it, by time.

    What pods have together is divided evenly, without rest. For joining with tokens served. extra: entries
    that are not in the ledger (yet).
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for entry in (*entries(ledger, since_ms, until_ms, namespace=namespace), *extra):
        pods = entry.account.pods
        if not pods or namespace not in ("", entry.account.namespace):
            continue
        length = entry.end_ms - entry.start_ms
        inside = min(entry.end_ms, until_ms) - max(entry.start_ms, since_ms)
        if inside <= 0:
            continue
        for place, name in enumerate(AMOUNTS):
            amount = apportion(getattr(entry, name), (inside, length - inside))[0]
            for pod, part in zip(pods, apportion(amount, [1] * len(pods))):
                key = (entry.account.namespace, pod.name, pod.uid)
                found.setdefault(key, [0] * len(AMOUNTS))[place] += part
    return tuple(PodSums(*key, Tally(*amounts)) for key, amounts in sorted(found.items()))


def entries(
    ledger: Ledger, since_ms: int, until_ms: int, *, namespace: str = "", limit: int = 5_000_000
) -> tuple[Entry, ...]:
    """The entries that reach into a time, in the order in which they were written."""
    condition, values = "", []
    if namespace:
        condition, values = " AND a.namespace = ?", [namespace]
    with ledger.database.reading():
        rows = ledger.database.execute(
            f"SELECT e.device, e.account, e.category, e.kind, e.start_ms, e.end_ms,"
            f" {', '.join(f'e.{name}' for name in AMOUNTS)}"
            " FROM ledger_batches b JOIN ledger_entries e ON e.id BETWEEN b.first_id AND b.last_id"
            f"{' JOIN ledger_accounts a ON a.id = e.account' if namespace else ''}"
            f" WHERE b.end_ms > {since_ms} AND b.start_ms < {until_ms}"
            f" AND e.end_ms > {since_ms} AND e.start_ms < {until_ms}{condition} ORDER BY e.id LIMIT {limit}",
            values,
        )
        devices = _devices(ledger, {row[0] for row in rows})
        accounts = _accounts(ledger, {row[1] for row in rows})
    return tuple(
        Entry(
            device=devices[row[0]],
            account=accounts[row[1]],
            category=Category(row[2]),
            kind=Kind(row[3]),
            start_ms=row[4],
            end_ms=row[5],
            **dict(zip(AMOUNTS, row[6:])),
        )
        for row in rows
    )


def _devices(ledger: Ledger, numbers: set[int]) -> dict[int, Device]:
    places: dict[str, Place] = {}
    found = {}
    for number, name, body in _by_number(
        ledger,
        "SELECT d.id, d.name, p.body FROM ledger_devices d JOIN ledger_places p ON p.id = d.place",
        "d.id",
        numbers,
    ):
        if body not in places:
            places[body] = msgspec.json.decode(body, type=Place)
        found[number] = Device(place=places[body], name=name)
    return found


def _accounts(ledger: Ledger, numbers: set[int]) -> dict[int, Account]:
    rows = _by_number(ledger, "SELECT id, body FROM ledger_accounts", "id", numbers)
    return {number: msgspec.json.decode(body, type=Account) for number, body in rows}


def _by_number(ledger: Ledger, statement: str, column: str, numbers: set[int]) -> list[Row]:
    """The rows of these numbers; all of them in several statements, since one has a largest length."""
    found: list[Row] = []
    ordered = sorted(numbers)
    for start in range(0, len(ordered), 10_000):
        chosen = ", ".join(str(number) for number in ordered[start : start + 10_000])
        found += ledger.database.execute(f"{statement} WHERE {column} IN ({chosen})")
    return found


def charged(ledger: Ledger, invoice: Invoice) -> tuple[Charged, ...]:
    """What was charged so far for the devices and the time of an invoice: by day, device and account."""
    found: dict[tuple[int, Device, Account, Category], list[int]] = {}
    for entry in entries(ledger, invoice.start_ms, invoice.end_ms):
        if invoice.match.fits(entry.device.place) and entry.start_ms >= invoice.start_ms:
            key = (entry.start_ms // DAY_MS * DAY_MS, entry.device, entry.account, entry.category)
            held = found.setdefault(key, [0, 0])
            held[0] += entry.device_ms
            held[1] += entry.cost_micros
    return tuple(
        Charged(
            device=device,
            account=account,
            category=category,
            start_ms=max(day, invoice.start_ms),
            end_ms=min(day + DAY_MS, invoice.end_ms),
            device_ms=amounts[0],
            cost_micros=amounts[1],
        )
        for (day, device, account, category), amounts in found.items()
    )


def charges(ledger: Ledger, since_ms: int, until_ms: int) -> tuple[Charge, ...]:
    """What every account had in every place, by whole days in UTC that begin in a time, in order."""
    with ledger.database.reading():
        rows = ledger.database.execute(
            f"SELECT day_ms, place, account, category, {', '.join(AMOUNTS)} FROM ledger_days"
            " WHERE day_ms >= ? AND day_ms < ? ORDER BY day_ms, place, account, category",
            (since_ms, until_ms),
        )
        accounts = _accounts(ledger, {row[2] for row in rows})
        found = _by_number(ledger, "SELECT id, body FROM ledger_places", "id", {row[1] for row in rows})
    places = {number: msgspec.json.decode(body, type=Place) for number, body in found}
    return tuple(
        Charge(
            day_ms=row[0],
            place=places[row[1]],
            account=accounts[row[2]],
            category=Category(row[3]),
            amounts=Tally(*row[4:]),
        )
        for row in rows
        if any(row[4:])
    )
