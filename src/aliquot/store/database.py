"""Opening the journal's SQLite file: settings, numbered migrations, one clear error if it cannot be used."""

import importlib.resources
import re
import sqlite3
from pathlib import Path

from aliquot.store.reading import read_only_address

_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process that writes."""


class JournalError(Exception):
    """The journal at `path` cannot be used: `problem`, and `fix`, what to do about it."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f"journal {path}: {problem}; {fix}")
        self.path = path
        self.problem = problem
        self.fix = fix


def migrations() -> tuple[tuple[int, str], ...]:
    """The migrations of this version, numbered from 1 without gaps, as (number, SQL)."""
    folder = importlib.resources.files("aliquot.store") / "migrations"
    found = sorted(
        (int(match.group(1)), entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if (match := _MIGRATION.match(entry.name))
    )
    return tuple(found)


def open_database(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the journal file at `path`, migrated to this version's schema.

    Write-ahead logging lets readers in other processes go on while one process writes, and a process that
    is killed in the middle of a write leaves the state before that write. Raises JournalError.
    """
    damaged = f"move {path.name} (and {path.name}-wal, {path.name}-shm) away, and a new journal is started"
    if read_only and not path.exists():
        raise JournalError(path, "does not exist", "name the journal of a controller that has run")
    try:
        if read_only:
            connection = sqlite3.connect(
                read_only_address(path),
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                check_same_thread=False,
                isolation_level=None,
            )
        else:
            connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
    except sqlite3.Error as error:
        raise JournalError(path, f"cannot be opened: {error}", "check the folder's permissions") from error
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection, path, read_only)
    except sqlite3.OperationalError as error:
        connection.close()
        raise JournalError(path, str(error), "check permissions, disk space and other processes") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise JournalError(path, f"is damaged: {error}", damaged) from error
    except JournalError:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, read_only: bool) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    steps = migrations()
    newest = steps[-1][0]
    if version > newest:
        raise JournalError(
            path,
            f"has schema {version}, this version of aliquot knows up to {newest}",
            "use the aliquot that wrote it, or a newer one",
        )
    if version < newest and read_only:
        raise JournalError(path, f"has schema {version}, not {newest}", "start the controller once on it")
    for number, statements in steps:
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{statements}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
