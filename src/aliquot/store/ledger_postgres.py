"""PostgreSQL as the ledger's database, for several controllers and for those who report with SQL."""

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aliquot.store.ledger_database import LedgerError, Row

if TYPE_CHECKING:
    import psycopg

_LOCK = 0x414C4951554F54
"""The advisory lock of whoever writes (the letters ALIQUOT)."""

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 600_000
_PASSWORD = re.compile(r"(://[^:/@]*):[^@]*@|password=\S+")


class PostgresDatabase:
    """A PostgreSQL database by its connection string (libpq's, `postgresql://...`). Needs psycopg.

    The password is better left to a service file, PGPASSFILE or a certificate; it is never shown.
    """

    def __init__(self, address: str, *, read_only: bool = False) -> None:
        self.place = _PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] else "password=...", address)
        try:
            import psycopg
        except ImportError:
            fix = "install aliquot[postgres]"
            raise LedgerError(self.place, "PostgreSQL needs the package psycopg", fix) from None
        self._psycopg = psycopg
        self._address = address
        self._read_only = read_only
        self._lock = threading.RLock()
        self._held: psycopg.Connection[Row] | None = None
        self._inside = False
        self._connection()

    def _connection(self) -> "psycopg.Connection[Row]":
        """The connection; a new one in place of one that broke, but never in the middle of a transaction."""
        if self._held is not None and not self._held.closed:
            return self._held
        if self._inside:
            raise LedgerError(self.place, "the connection broke", "it is made anew; nothing was written")
        try:
            made = self._psycopg.connect(
                self._address,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            )
            made.read_only = self._read_only
            # Sums of millions of rows in several workers are not worth their start-up for a page.
            made.execute("SET jit = off")
        except self._psycopg.Error as error:
            raise self._failure(error) from error
        self._held = made
        return made

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        try:
            with self._lock:
                text = _marked(statement) if values else statement
                cursor = self._connection().execute(text, tuple(values) or None)
                return cursor.fetchall() if cursor.description is not None else []
        except self._psycopg.Error as error:
            raise self._failure(error) from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        try:
            with self._lock, self._connection().cursor() as cursor:
                cursor.executemany(_marked(statement), [tuple(row) for row in rows])
        except self._psycopg.Error as error:
            raise self._failure(error) from error

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        try:
            with (
                self._lock,
                self._connection().cursor() as cursor,
                cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
        except self._psycopg.Error as error:
            raise self._failure(error) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._transaction():
            self.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._transaction():
            self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            connection = self._connection()
            self._inside = True
            try:
                with connection.transaction():
                    yield
            except self._psycopg.Error as error:
                raise self._failure(error) from error
            finally:
                self._inside = False

    def close(self) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()

    def _failure(self, error: "psycopg.Error") -> LedgerError:
        problem = _PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] else "password=...", str(error))
        if isinstance(error, self._psycopg.OperationalError):
            fix = "check that the server runs, its address, and what this user may do"
        elif isinstance(error, self._psycopg.errors.InsufficientPrivilege):
            fix = "grant this user CREATE on the schema, or let an administrator open the ledger once"
        else:
            fix = "see the server's log"
        return LedgerError(self.place, problem.strip().replace("\n", " "), fix)


def _marked(statement: str) -> str:
    """The statement with the driver's marks for parameters."""
    return statement.replace("%", "%%").replace("?", "%s")
