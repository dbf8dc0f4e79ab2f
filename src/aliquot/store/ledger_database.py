"""What the ledger asks of a database, and SQLite, which answers it by default."""

import contextlib
import importlib.resources
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from aliquot.store.reading import read_only_address

Row = tuple[Any, ...]

_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process that writes."""


class LedgerError(Exception):
    """The ledger at `place` cannot be used: `problem`, and `fix`, what to do about it."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"ledger {place}: {problem}; {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class Database(Protocol):
    """SQL as SQLite and PostgreSQL both have it, with `?` for parameters.

    Every error of the database is a LedgerError; after one in a transaction nothing of it remains.
    """

    place: str

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; its rows, if it has any."""
        ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None: ...

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows at once."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """A transaction that writes; one at a time, in all processes. On disk when it ends."""
        ...

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """A transaction that sees one state of the database."""
        ...

    def close(self) -> None: ...


def migrations() -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The migrations of this version, numbered from 1 without gaps, each as statements."""
    folder = importlib.resources.files("aliquot.store") / "ledger_migrations"
    found = []
    for entry in folder.iterdir():
        if match := _MIGRATION.match(entry.name):
            text = re.sub(r"--[^\n]*", "", entry.read_text("utf-8"))
            statements = tuple(part.strip() for part in text.split(";") if part.strip())
            found.append((int(match.group(1)), statements))
    return tuple(sorted(found))


class SqliteDatabase:
    """A SQLite file. Safe to use from several threads; several processes may read while one writes."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """path: None keeps it in memory. Raises LedgerError."""
        self.place = str(path) if path is not None else "in memory"
        self._lock = threading.RLock()
        if path is not None and read_only and not path.exists():
            raise LedgerError(self.place, "does not exist", "name the ledger of a controller that has run")
        try:
            target = ":memory:" if path is None else str(path)
            if path is not None and read_only:
                target = read_only_address(path)
            self._connection = sqlite3.connect(
                target,
                uri=path is not None and read_only,
                timeout=BUSY_TIMEOUT_S,
                check_same_thread=False,
                isolation_level=None,
            )
            if not read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
                # A batch that was reported as written must not be lost with the machine's power.
                self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA cache_size = -65536")
            self._connection.execute("PRAGMA temp_store = MEMORY")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        if statement.startswith("CREATE TABLE"):
            statement = _for_sqlite(statement)
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            with self._lock:
                self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._transaction("BEGIN"):
            yield

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock:
            self.execute(begin)
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _failure(self, error: sqlite3.Error) -> LedgerError:
        if isinstance(error, sqlite3.OperationalError):
            return LedgerError(self.place, str(error), "check permissions, disk space and other processes")
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
            return LedgerError(
                self.place, f"is damaged: {error}", "restore it from a backup, or move it away"
            )
        return LedgerError(self.place, str(error), "report this as a fault of aliquot")


def _for_sqlite(statement: str) -> str:
    """The table as SQLite keeps it best: by an INTEGER primary key, which is the row's own number, or in the
    order of a key of several columns, instead of beside an index of it. Halves size and time."""
    if "PRIMARY KEY (" in statement:
        return f"{statement} WITHOUT ROWID"
    return statement.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY")
