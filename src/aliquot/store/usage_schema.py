"""The tables of the history of usage, and opening its SQLite file."""

import sqlite3
from pathlib import Path

from aliquot.store.reading import read_only_address

BUSY_TIMEOUT_S = 10.0
VERSION = 1
APPLICATION_ID = 0x616C7175
"""Marks the file as a history of usage, so that a journal is not taken for one."""

_SCHEMA = """
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  metric TEXT NOT NULL,
  node TEXT NOT NULL,
  driver TEXT NOT NULL,
  pool TEXT NOT NULL,
  device TEXT NOT NULL,
  part TEXT NOT NULL,
  owner TEXT NOT NULL,       -- JSON, '' for the device itself whoever holds it
  provenance TEXT NOT NULL,
  rule TEXT NOT NULL,
  share TEXT NOT NULL,       -- of the board, as a fraction
  until INTEGER NOT NULL,    -- ms; what ended before was written
  UNIQUE (metric, node, driver, pool, device, part, owner, provenance, rule, share)
) STRICT;
-- Written at the end and pruned at the start: rows lie in the order of time.
CREATE TABLE buckets_0 (
  start INTEGER NOT NULL, series INTEGER NOT NULL, covered INTEGER NOT NULL, total INTEGER NOT NULL,
  maximum INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE buckets_1 (
  start INTEGER NOT NULL, series INTEGER NOT NULL, covered INTEGER NOT NULL, total INTEGER NOT NULL,
  maximum INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE buckets_2 (
  start INTEGER NOT NULL, series INTEGER NOT NULL, covered INTEGER NOT NULL, total INTEGER NOT NULL,
  maximum INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID;
-- From when on each resolution is complete, ms.
CREATE TABLE kept (level INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT;
INSERT INTO kept VALUES (0, 0), (1, 0), (2, 0);
"""


class HistoryError(Exception):
    """The history at `path` cannot be used: `problem`, and `fix`, what to do about it."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f"history {path}: {problem}; {fix}")
        self.path = path
        self.problem = problem
        self.fix = fix


def open_history(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the file, made if it is not there (unless `read_only`). Raises HistoryError."""
    if read_only and not path.exists():
        raise HistoryError(path, "does not exist", "name a history that is kept")
    try:
        connection = sqlite3.connect(
            read_only_address(path) if read_only else f"{path.absolute().as_uri()}?mode=rwc",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,
        )
    except sqlite3.Error as error:
        raise HistoryError(path, f"cannot be opened: {error}", "check the folder's permissions") from error
    try:
        _prepare(connection, path, read_only)
    except sqlite3.OperationalError as error:
        connection.close()
        raise HistoryError(path, str(error), "check permissions, disk space and other processes") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise HistoryError(path, f"is damaged: {error}", "move it away, and a new one is started") from error
    except HistoryError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, read_only: bool) -> None:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application != APPLICATION_ID and tables:
        raise HistoryError(path, "is a database of something else", "name another file")
    if version > VERSION:
        raise HistoryError(
            path,
            f"has schema {version}, this version of aliquot knows up to {VERSION}",
            "use the aliquot that wrote it, or a newer one",
        )
    if read_only:
        if not tables:
            raise HistoryError(path, "is empty", "wait until something was written to it")
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{_SCHEMA}\nPRAGMA application_id = {APPLICATION_ID};"
            f"\nPRAGMA user_version = {VERSION};\nCOMMIT;"
        )
