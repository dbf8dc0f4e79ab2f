"""Checking a ledger: its batches, its sums by day, and that the time of each device is there once."""

import numpy as np

from aliquot.accounting.columns import NUMBERS
from aliquot.accounting.entries import AMOUNTS, Kind
from aliquot.accounting.price_files import moment
from aliquot.store.ledger import DAY_TABLES, Ledger, batch_digest, chained

MOST_PROBLEMS = 20


def problems(ledger: Ledger) -> tuple[str, ...]:
    """What is wrong with a ledger, in words; empty: it is sound.

    Entries that were changed, added or taken away break the digest of their batch, batches that were break
    the chain. The sums by day must be those of the entries, and no time of a device may be settled twice.
    """
    found: list[str] = []
    with ledger.database.reading():
        found += _batches(ledger)
        found += _days(ledger)
        found += _overlaps(ledger)
    return tuple(found[:MOST_PROBLEMS])


def _batches(ledger: Ledger) -> list[str]:
    found = []
    chain, expected, next_id = "", 1, 1
    database = ledger.database
    batches = database.execute(
        "SELECT sequence, origin, first_id, last_id, digest, chain FROM ledger_batches ORDER BY sequence"
    )
    for sequence, origin, first, last, digest, stored in batches:
        if sequence != expected or first != next_id:
            found.append(f"batch {expected} is not there, or not where it was")
            return found
        rows = database.execute(
            f"SELECT {', '.join(NUMBERS)} FROM ledger_entries WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, last),
        )
        table = np.array(rows, np.int64).reshape(len(rows), len(NUMBERS))
        if batch_digest([table[:, place] for place in range(len(NUMBERS))], origin) != digest:
            found.append(f"batch {sequence}: its entries are not those that were written")
        chain = chained(chain, digest)
        if chain != stored:
            found.append(f"batch {sequence} does not continue the chain of those before it")
            return found
        expected, next_id = sequence + 1, last + 1
    state = database.execute("SELECT sequence, chain FROM ledger_state WHERE id = 1")[0]
    if (state[0], state[1]) != (expected - 1, chain):
        found.append(f"the newest batch is {expected - 1}, the ledger says {state[0]}")
    beyond = database.execute("SELECT count(*) FROM ledger_entries WHERE id >= ?", (next_id,))[0][0]
    if beyond:
        found.append(f"{beyond} entries belong to no batch")
    return found


def _days(ledger: Ledger) -> list[str]:
    sums = ", ".join(f"CAST(sum(e.{name}) AS BIGINT) AS {name}" for name in AMOUNTS)
    signed = ", ".join(f"-{name}" for name in AMOUNTS)
    differs = " OR ".join(f"sum({name}) <> 0" for name in AMOUNTS)
    source = {
        "day_ms": "e.start_ms - e.start_ms % 86400000",
        "place": "d.place",
        "kind": "p.kind",
        "account": "e.account",
        "category": "e.category",
    }
    days: set[int] = set()
    for table, keys in DAY_TABLES.items():
        names = ", ".join(keys)
        rows = ledger.database.execute(
            f"SELECT day_ms FROM (SELECT {names}, {', '.join(AMOUNTS)} FROM {table} UNION ALL"
            f" SELECT {names}, {signed} FROM ("
            f"SELECT {', '.join(f'{source[key]} AS {key}' for key in keys)}, {sums} FROM ledger_entries e"
            " JOIN ledger_devices d ON d.id = e.device JOIN ledger_places p ON p.id = d.place"
            f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}) s"
            f") x GROUP BY {names} HAVING {differs}"
        )
        days |= {row[0] for row in rows}
    return [f"the sums of day {moment(day):%Y-%m-%d} are not those of its entries" for day in sorted(days)]


def _overlaps(ledger: Ledger) -> list[str]:
    """Two different stretches of time of one device that both count."""
    rows = ledger.database.execute(
        "SELECT device, start_ms, end_ms, before FROM ("
        "SELECT device, start_ms, end_ms,"
        " max(end_ms) OVER (PARTITION BY device ORDER BY start_ms, end_ms"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM ("
        f"SELECT DISTINCT device, start_ms, end_ms FROM ledger_entries WHERE kind = {int(Kind.ACCRUAL)}) e"
        ") x WHERE before > start_ms LIMIT 20"
    )
    return [
        f"device {device}: {moment(start):%Y-%m-%d %H:%M:%S} to {moment(end):%H:%M:%S} is there twice"
        for device, start, end, _ in rows
    ]
