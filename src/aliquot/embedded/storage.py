"""Where the embedded cluster keeps its state: one SQLite file, or memory.

Every object is one row of JSON, and the resourceVersion counter is a row of its own written in the same
transaction, so a version is never handed out twice, over restarts too.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One stored object: ``document`` is its JSON, ``version`` its resourceVersion."""

    resource: str
    namespace: str
    name: str
    version: int
    document: bytes


class StoreFormatError(Exception):
    """The file was written by another version of this program."""

    def __init__(self, path: str, found: int) -> None:
        super().__init__(
            f"{path}: state in format {found}, this program reads {_FORMAT}; remove the file to start afresh"
        )
        self.path = path
        self.found = found


class Store:
    """Objects and the resourceVersion counter, durable after each call (or at the end of :meth:`bulk`).

    ``path`` None keeps everything in memory. A process that is killed loses nothing that was written; a
    machine that loses power may lose the last moments (SQLite WAL with synchronous=NORMAL).
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path if path is not None else ":memory:", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            self._connection.close()
            raise StoreFormatError(str(path), found)
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version={_FORMAT}")
        row = self._connection.execute("SELECT value FROM counter WHERE name='resourceVersion'").fetchone()
        self._version: int = row[0] if row else 0
        self._bulk = False

    @property
    def version(self) -> int:
        """The newest resourceVersion given out."""
        return self._version

    def rows(self) -> Iterator[Row]:
        query = "SELECT * FROM object ORDER BY resource, namespace, name"
        for resource, namespace, name, version, document in self._connection.execute(query):
            yield Row(resource, namespace, name, version, document)

    def next_version(self) -> int:
        """The version that the next :meth:`put` or :meth:`remove` takes; calling it changes nothing."""
        return self._version + 1

    def put(self, row: Row) -> None:
        """Write an object at ``row.version``, which must be :meth:`next_version`."""
        with self._transaction(row.version):
            self._connection.execute(
                "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)",
                (row.resource, row.namespace, row.name, row.version, row.document),
            )

    def remove(self, resource: str, namespace: str, name: str, version: int) -> None:
        with self._transaction(version):
            self._connection.execute(
                "DELETE FROM object WHERE resource=? AND namespace=? AND name=?", (resource, namespace, name)
            )

    @contextlib.contextmanager
    def _transaction(self, version: int) -> Iterator[None]:
        if self._bulk:
            yield
            self._version = version
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._write_counter(version)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        self._version = version

    def _write_counter(self, version: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO counter VALUES ('resourceVersion', ?)", (version,))

    @contextlib.contextmanager
    def bulk(self) -> Iterator[None]:
        """Many writes in one transaction, durable at the end, also after an error.

        The registry's memory already shows each write, so a failed one must not undo the others.
        """
        if self._bulk:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._bulk = True
        try:
            yield
        finally:
            self._bulk = False
            self._write_counter(self._version)
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
