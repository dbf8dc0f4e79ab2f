"""The ledger: what every device's time, energy and money went to, appended and never changed afterwards.

What is written together is a *batch*: entries, the sums by day that follow from them, and the marks from
which accounting goes on. All of it is on disk or nothing, whatever happens to the process or the machine.
Batches are numbered without gaps and each is written once: whoever writes names the number it expects to
write, and a repeated batch is recognised by its content. So nothing is lost and nothing counts twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from aliquot.accounting.columns import NUMBERS, Columns, days_of, sums_by
from aliquot.accounting.entries import AMOUNTS, Occupancy
from aliquot.accounting.progress import Key, Open, Progress
from aliquot.store.ledger_database import Database, LedgerError, SqliteDatabase, migrations
from aliquot.store.ledger_names import Names
from aliquot.store.ledger_postgres import PostgresDatabase

DAY_TABLES = {
    "ledger_days": ("day_ms", "place", "account", "category"),
    "ledger_account_days": ("day_ms", "kind", "account", "category"),
    "ledger_place_days": ("day_ms", "place", "category"),
}
"""The tables of sums by day, with what they are by."""


def _add(table: str, keys: Sequence[str]) -> str:
    """The statement that adds a row to sums."""
    columns = (*keys, *AMOUNTS)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET "
        + ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in AMOUNTS)
    )


class StaleWriterError(Exception):
    """Another process has written since: the ledger is at batch `found`, not right before `wanted`."""

    def __init__(self, wanted: int, found: int) -> None:
        super().__init__(f"the ledger is at batch {found}, so batch {wanted} is not the next")
        self.wanted = wanted
        self.found = found


class Ledger:
    """A ledger in a database. `aliquot.store.ledger_reports` reads it."""

    def __init__(self, database: Database, *, read_only: bool = False) -> None:
        self.database = database
        self._names = Names(database)
        if not read_only:
            self._migrate()
        state = self._state() if self._exists() else None
        if state is None:
            fix = "start the controller once with it, or check its name"
            raise LedgerError(database.place, "holds no ledger", fix)
        newest = migrations()[-1][0]
        if state[0] != newest:
            problem = f"has schema {state[0]}, this version of aliquot knows {newest}"
            raise LedgerError(database.place, problem, "use the newer aliquot of the two")

    @staticmethod
    def open(place: Path | str | None, *, read_only: bool = False) -> "Ledger":
        """Open a ledger: a SQLite file by its path, PostgreSQL by its address (`postgresql://...`), or, with
        None, one in memory. Created unless read_only. Raises LedgerError."""
        text = str(place) if place is not None else ""
        if text.startswith(("postgresql://", "postgres://")):
            return Ledger(PostgresDatabase(text, read_only=read_only), read_only=read_only)
        path = Path(text) if place is not None else None
        return Ledger(SqliteDatabase(path, read_only=read_only), read_only=read_only)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exists(self) -> bool:
        try:
            self.database.execute("SELECT version FROM ledger_state WHERE id = 1")
        except LedgerError:
            return False
        return True

    def _state(self) -> tuple[int, str, int, int, str] | None:
        rows = self.database.execute(
            "SELECT version, currency, sequence, seen_ms, chain FROM ledger_state WHERE id = 1"
        )
        return rows[0] if rows else None

    def _migrate(self) -> None:
        if self._exists():
            state = self._state()
            version = state[0] if state is not None else 0
        else:
            version = 0
        steps = [(number, statements) for number, statements in migrations() if number > version]
        if not steps:
            return
        with self.database.writing():
            for number, statements in steps:
                for statement in statements:
                    self.database.execute(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
                if number == 1:
                    columns = ("id", "version", "currency", "sequence", "seen_ms", "chain")
                    if self._state() is None:
                        self.database.insert("ledger_state", columns, [(1, number, "", 0, 0, "")])
                self.database.execute("UPDATE ledger_state SET version = ? WHERE id = 1", (number,))

    @property
    def currency(self) -> str:
        """The currency of all amounts, "" before the first batch."""
        return self._known()[1]

    @property
    def sequence(self) -> int:
        """The number of the newest batch, 0 before the first."""
        return self._known()[2]

    def _known(self) -> tuple[int, str, int, int, str]:
        state = self._state()
        assert state is not None
        return state

    def append(
        self,
        columns: Columns,
        *,
        sequence: int,
        currency: str,
        seen_ms: int = 0,
        opened: Mapping[Key, Open | None] | None = None,
        origin: str = "",
    ) -> bool:
        """Write batch number `sequence` with these entries; False if that very batch is there already.

        seen_ms: up to when somebody has looked. opened: devices with another Open than before, None for those
        that are gone. origin: what the batch is written for, where it is not time that passed; an origin is
        written once. Raises StaleWriterError when the batch is not the next one, and LedgerError, after which
        the ledger is as it was.
        """
        try:
            with self.database.writing():
                return self._append(columns, sequence, currency, seen_ms, opened or {}, origin)
        except BaseException:
            self._names = Names(self.database)
            raise

    def _append(
        self,
        columns: Columns,
        sequence: int,
        currency: str,
        seen_ms: int,
        opened: Mapping[Key, Open | None],
        origin: str,
    ) -> bool:
        _, known_currency, newest, known_seen, chain = self._known()
        if known_currency not in ("", currency):
            raise LedgerError(
                self.database.place,
                f"is kept in {known_currency}, the price book is in {currency}",
                f"give prices in {known_currency}, or begin another ledger",
            )
        if sequence > newest + 1:
            raise StaleWriterError(sequence, newest)
        devices = np.array(self._names.devices(columns.devices), np.int64)
        places = np.array(self._names.places(columns.devices), np.int64)
        accounts = np.array(self._names.accounts(columns.accounts), np.int64)
        account = accounts[columns.account] if len(columns) else columns.account
        numbers = [devices[columns.device] if len(columns) else columns.device, account]
        numbers += [getattr(columns, name) for name in NUMBERS[2:]]
        digest = batch_digest(numbers, origin)
        if sequence <= newest:
            found = self.database.execute("SELECT digest FROM ledger_batches WHERE sequence = ?", (sequence,))
            if found and found[0][0] == digest:
                return False
            raise StaleWriterError(sequence, newest)
        if origin and self.database.execute("SELECT 1 FROM ledger_batches WHERE origin = ?", (origin,)):
            return False
        first = self._first_id()
        count = len(columns)
        self.database.insert(
            "ledger_entries",
            ("id", *NUMBERS),
            zip(range(first, first + count), *(column.tolist() for column in numbers)),
        )
        if count:
            kinds = np.array(self._names.kinds(columns.devices), np.int64)
            by = {
                "day_ms": days_of(columns),
                "place": places[columns.device],
                "kind": kinds[columns.device],
                "account": account,
                "category": columns.category,
            }
            for table, keys in DAY_TABLES.items():
                rows = sums_by(columns, [by[key] for key in keys]).tolist()
                self.database.executemany(_add(table, keys), rows)
        chain = chained(chain, digest)
        bounds = (int(columns.start_ms.min()), int(columns.end_ms.max())) if count else (seen_ms, seen_ms)
        self.database.insert(
            "ledger_batches",
            ("sequence", "origin", "start_ms", "end_ms", "first_id", "last_id", "digest", "chain"),
            [(sequence, origin, *bounds, first, first + count - 1, digest, chain)],
        )
        self._keep_open(opened)
        self.database.execute(
            "UPDATE ledger_state SET currency = ?, sequence = ?, seen_ms = ?, chain = ? WHERE id = 1",
            (currency, sequence, max(seen_ms, known_seen), chain),
        )
        return True

    def _first_id(self) -> int:
        return int(self.database.execute("SELECT coalesce(max(last_id), 0) FROM ledger_batches")[0][0]) + 1

    def _keep_open(self, opened: Mapping[Key, Open | None]) -> None:
        delete = "DELETE FROM ledger_open WHERE driver = ? AND pool = ? AND name = ?"
        self.database.executemany(delete, list(opened))
        self.database.insert(
            "ledger_open",
            ("driver", "pool", "name", "since_ms", "body"),
            [
                (*key, item.since_ms, _ENCODER.encode(item.occupancy).decode())
                for key, item in opened.items()
                if item is not None
            ],
        )

    def look(self, seen_ms: int, sequence: int) -> None:
        """Note that somebody looked and found everything as at batch `sequence`. Raises StaleWriterError."""
        with self.database.writing():
            newest = self._known()[2]
            if newest != sequence:
                raise StaleWriterError(sequence + 1, newest)
            self.database.execute(
                "UPDATE ledger_state SET seen_ms = ? WHERE id = 1 AND seen_ms < ?", (seen_ms, seen_ms)
            )

    def progress(self) -> tuple[Progress, int]:
        """From where accounting goes on, and the number of the newest batch."""
        with self.database.reading():
            state = self._known()
            rows = self.database.execute("SELECT driver, pool, name, since_ms, body FROM ledger_open")
        opened = {}
        for driver, pool, name, since_ms, body in rows:
            try:
                opened[(driver, pool, name)] = Open(_DECODER.decode(body), since_ms)
            except (msgspec.MsgspecError, ValueError) as error:
                problem = f"what it says of device {driver}/{pool}/{name} cannot be read: {error}"
                raise LedgerError(self.database.place, problem, "restore it from a backup") from None
        return Progress(open=opened, seen_ms=state[3]), state[2]


def batch_digest(numbers: Sequence[Any], origin: str) -> str:
    """The digest of a batch's entries: all columns as 64-bit integers, little-endian, and its origin."""
    found = hashlib.blake2b(origin.encode(), digest_size=16)
    for column in numbers:
        found.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    return found.hexdigest()


def chained(chain: str, digest: str) -> str:
    return hashlib.blake2b(f"{chain} {digest}".encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    raise NotImplementedError(type(value))


def _typed(kind: type, value: Any) -> Any:
    if kind is Fraction and isinstance(value, str) and len(value) < 100:
        return Fraction(value)
    raise NotImplementedError(kind)


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER: msgspec.json.Decoder[Occupancy] = msgspec.json.Decoder(Occupancy, dec_hook=_typed)
