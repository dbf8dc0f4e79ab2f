"""Budgets of one process in a SQLite file: decided in memory, written in groups before they are told.

Everything that is decided within one turn of the event loop is written by one transaction, and results are
handed out after it. The file has one writer (a lock file says so); it may be read while it is written.

durability "process": what was handed out survives the death of the process (the operating system has it).
"power": also that of the machine; each group waits for the disk, in a thread.
"""

import asyncio
import contextlib
import fcntl
import sqlite3
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from aliquot.budgets.accounts import Accounts, Changes
from aliquot.budgets.counting import Counter
from aliquot.budgets.holding import Gauge, OpenHold, Operation, Result, Short
from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.windows import WINDOWS, Window
from aliquot.store.budgets import BudgetStoreError, Clock, system_clock
from aliquot.store.reading import read_only_address

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
"""How long a write waits for the command line, which may write keys to the same file."""

_SCHEMA = """
CREATE TABLE counters (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, window TEXT NOT NULL);
CREATE TABLE buckets (
  counter INTEGER NOT NULL REFERENCES counters (id), bucket INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (counter, bucket)
) WITHOUT ROWID;
CREATE TABLE holds (request TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE uses (
  number INTEGER PRIMARY KEY AUTOINCREMENT, ended INTEGER NOT NULL, request TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL
);
CREATE INDEX uses_by_time ON uses (ended);
CREATE TABLE keys (identity TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""

_json = msgspec.json.Encoder()
_pack = msgspec.msgpack.Encoder()
_use = msgspec.json.Decoder(TokenUse)
_hold = msgspec.msgpack.Decoder(OpenHold)
_key = msgspec.msgpack.Decoder(KeyRecord)

Durability = Literal["process", "power"]


class SqliteBudgets:
    """The budgets in one file. Make one with `open`, inside of a running event loop."""

    def __init__(self, path: Path, clock: Clock, durability: Durability) -> None:
        self.path = path
        self._clock = clock
        self._lock_file = _locked(path)
        try:
            self._connection = connect(path)
            level = "FULL" if durability == "power" else "NORMAL"
            self._connection.execute(f"PRAGMA synchronous = {level}")
            # The write-ahead log is folded into the file by a thread (see tidy), never by a decision.
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            self._lock_file.close()
            raise
        self._thread = ThreadPoolExecutor(1, "budgets")
        self._in_thread = durability == "power"
        self._accounts, self._numbers = load(self._connection)
        self._expire_all()
        self._waiting: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._scheduled = False
        self._keys: tuple[int, list[KeyRecord]] | None = None

    @classmethod
    async def open(
        cls, path: Path, *, clock: Clock = system_clock, durability: Durability = "process"
    ) -> "SqliteBudgets":
        """Open or make the file. Holds that it has are of a process that died: `settle_lapsed` tells."""
        return cls(path, clock, durability)

    def _expire_all(self) -> None:
        # One process writes the file, and it is this one: whoever took these holds is gone.
        for request, hold in self._accounts.holds.items():
            self._accounts.holds[request] = msgspec.structs.replace(hold, expires_us=0)

    async def apply(self, operation: Operation) -> Result:
        result = self._accounts.apply(operation, self._clock())
        if isinstance(result, Short) and not self._accounts.changes:
            return result
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._waiting.append(stored)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        await stored
        return result

    def _flush(self) -> None:
        if self._in_thread:
            if self._flushing is None or self._flushing.done():
                self._flushing = asyncio.get_running_loop().create_task(self._flush_in_thread())
            return
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        self._report(waiting, self._write(self._accounts.changes))

    async def _flush_in_thread(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            changes, self._accounts.changes = self._accounts.changes, Changes()
            self._report(waiting, await loop.run_in_executor(self._thread, self._write, changes))
        self._scheduled = False

    def _report(self, waiting: list["asyncio.Future[None]"], error: BudgetStoreError | None) -> None:
        if error is not None:
            # What memory says was not stored, so it does not count: the file is the truth.
            with contextlib.suppress(sqlite3.Error):
                self._accounts, self._numbers = load(self._connection)
            waiting = waiting + self._waiting
            self._waiting = []
        for future in waiting:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    def _write(self, changes: Changes) -> BudgetStoreError | None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for key, window in changes.windows.items():
                self._numbers[key] = int(
                    connection.execute(
                        "INSERT INTO counters (key, window) VALUES (?, ?) "
                        "ON CONFLICT (key) DO UPDATE SET window = excluded.window RETURNING id",
                        (key, window.value),
                    ).fetchone()[0]
                )
            if changes.buckets:
                connection.executemany(
                    "INSERT INTO buckets (counter, bucket, amount) VALUES (?, ?, ?) "
                    "ON CONFLICT (counter, bucket) DO UPDATE SET amount = amount + excluded.amount",
                    [
                        (self._numbers[key], bucket, amount)
                        for (key, bucket), amount in changes.buckets.items()
                    ],
                )
            if changes.opened:
                connection.executemany(
                    "INSERT OR REPLACE INTO holds (request, body) VALUES (?, ?)",
                    [(request, _pack.encode(hold)) for request, hold in changes.opened.items()],
                )
            if changes.closed:
                connection.executemany(
                    "DELETE FROM holds WHERE request = ?", [(request,) for request in changes.closed]
                )
            if changes.uses:
                connection.executemany(
                    "INSERT INTO uses (ended, request, body) VALUES (?, ?, ?)",
                    [(use.ended_us, use.request, _json.encode(use).decode()) for use in changes.uses],
                )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return BudgetStoreError(str(self.path), f"cannot be written: {error}", "check the disk")
        finally:
            changes.clear()
        return None

    async def lapsed(self) -> list[OpenHold]:
        return self._accounts.lapsed(self._clock())

    async def gauges(self, counters: Iterable[tuple[str, Window]] | None = None) -> Mapping[str, Gauge]:
        now = self._clock()
        wanted = list(self._accounts.counters) if counters is None else [key for key, _ in counters]
        return {key: self._accounts.gauge(key, now) for key in wanted}

    async def uses(self, after: int = 0, limit: int = 1000) -> list[tuple[int, TokenUse]]:
        rows = self._connection.execute(
            "SELECT number, body FROM uses WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        )
        return [(number, _use.decode(body)) for number, body in rows]

    async def tidy(self, keep_uses_us: int) -> None:
        """Also folds the write-ahead log into the file, in a thread and with a connection of its own."""
        now = self._clock()
        connection = self._connection
        try:
            for window, buckets in WINDOWS.items():
                connection.execute(
                    "DELETE FROM buckets WHERE bucket < ? "
                    "AND counter IN (SELECT id FROM counters WHERE window = ?)",
                    (now // buckets.width - buckets.count - 1, window.value),
                )
            connection.execute("DELETE FROM uses WHERE ended < ?", (now - keep_uses_us,))
            self._accounts.forget_idle(now)
            await asyncio.get_running_loop().run_in_executor(self._thread, _checkpoint, self.path)
        except sqlite3.Error as error:
            raise BudgetStoreError(str(self.path), f"cannot be tidied: {error}", "check the disk") from error

    async def keys(self) -> list[KeyRecord]:
        # SQLite's number changes when another connection, the command line's, has written.
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if self._keys is None or self._keys[0] != version:
            self._keys = (version, read_keys(self._connection))
        return self._keys[1]

    async def add_key(self, key: KeyRecord) -> None:
        self._keys = None
        add_key(self._connection, key)

    async def revoke_key(self, identity: str) -> bool:
        self._keys = None
        return revoke_key(self._connection, identity, self._clock())

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        if self._accounts.changes:
            self._write(self._accounts.changes)
        self._thread.shutdown()
        self._connection.close()
        self._lock_file.close()


def read_gauges(path: Path, now: int) -> Mapping[str, Gauge]:
    """What all counters of a file say, while its gateway runs or not. Raises BudgetStoreError."""
    with contextlib.closing(connect(path, read_only=True)) as connection:
        try:
            accounts, _ = load(connection)
        except sqlite3.Error as error:
            raise BudgetStoreError(str(path), str(error), "check the file") from error
    return {key: accounts.gauge(key, now) for key in list(accounts.counters)}


def read_keys(connection: sqlite3.Connection) -> list[KeyRecord]:
    """All keys of a budget file."""
    return [_key.decode(body) for (body,) in connection.execute("SELECT body FROM keys ORDER BY identity")]


def add_key(connection: sqlite3.Connection, key: KeyRecord) -> None:
    """Store a new key; a gateway that has the file open sees it with its next look."""
    connection.execute("INSERT INTO keys (identity, body) VALUES (?, ?)", (key.identity, _pack.encode(key)))


def revoke_key(connection: sqlite3.Connection, identity: str, now: int) -> bool:
    """Revoke a key; False if there is none of that identity."""
    row = connection.execute("SELECT body FROM keys WHERE identity = ?", (identity,)).fetchone()
    if row is None:
        return False
    key = _key.decode(row[0])
    if not key.revoked_us:
        revoked = msgspec.structs.replace(key, revoked_us=now)
        connection.execute("UPDATE keys SET body = ? WHERE identity = ?", (_pack.encode(revoked), identity))
    return True


def load(connection: sqlite3.Connection) -> tuple[Accounts, dict[str, int]]:
    """The accounts that a file holds, and the numbers of its counters."""
    booked: dict[int, deque[tuple[int, int]]] = defaultdict(deque)
    for counter, bucket, amount in connection.execute(
        "SELECT counter, bucket, amount FROM buckets ORDER BY counter, bucket"
    ):
        booked[counter].append((bucket, amount))
    counters: dict[str, Counter] = {}
    numbers: dict[str, int] = {}
    for number, key, window in connection.execute("SELECT id, key, window FROM counters"):
        counters[key] = Counter(Window(window), booked[number])
        numbers[key] = number
    holds = [_hold.decode(body) for (body,) in connection.execute("SELECT body FROM holds")]
    accounts = Accounts(counters, holds)
    accounts.changes.clear()
    return accounts, numbers


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the budget file, made if there is none. Raises BudgetStoreError."""
    connection: sqlite3.Connection | None = None
    try:
        if read_only:
            uri = read_only_address(path)
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        else:
            connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version == 0 and not read_only:
            connection.executescript(
                f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
            )
        elif version != SCHEMA_VERSION:
            connection.close()
            raise BudgetStoreError(
                str(path), f"has schema {version}, not {SCHEMA_VERSION}", "use the aliquot that wrote it"
            )
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise BudgetStoreError(
            str(path), str(error), "check that it is a budget file, permissions and disk space"
        ) from error
    return connection


def _checkpoint(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _locked(path: Path) -> BinaryIO:
    """The lock file beside the budget file, locked for as long as it is open."""
    file = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise BudgetStoreError(
            str(path), "is in use by another gateway", "stop that one, or share budgets through PostgreSQL"
        ) from None
    return file
