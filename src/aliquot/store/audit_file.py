"""The SQLite file of an audit log: its schema, and one clear error if it cannot be used.

The body of a record is stored as the JSON text that was hashed, and columns to look records up by are made
of it by the database, so no column can say other than the body. Triggers refuse to change or delete records
outside of retention: that keeps mistakes out, not somebody who may write the file; those are found by
`audit.verification`.
"""

import secrets
import sqlite3
from pathlib import Path

from aliquot.audit.record import genesis
from aliquot.store.reading import read_only_address

VERSION = 1
BUSY_TIMEOUT_S = 10.0

_SCHEMA = """
CREATE TABLE log (
    id TEXT NOT NULL,
    upto INTEGER NOT NULL,
    head BLOB NOT NULL,
    pruning INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    event TEXT NOT NULL UNIQUE,
    time_us INTEGER NOT NULL,
    body TEXT NOT NULL,
    chain BLOB NOT NULL,
    private BLOB,
    agent TEXT AS (json_extract(body, '$.agent')) VIRTUAL,
    model TEXT AS (json_extract(body, '$.model')) VIRTUAL,
    request TEXT AS (json_extract(body, '$.request')) VIRTUAL
);
CREATE INDEX records_time ON records (time_us);
CREATE INDEX records_agent ON records (agent) WHERE agent IS NOT NULL;
CREATE INDEX records_request ON records (request) WHERE request IS NOT NULL;
CREATE TRIGGER records_are_not_changed BEFORE UPDATE OF seq, event, time_us, body, chain ON records
BEGIN SELECT RAISE(ABORT, 'records of an audit log are not changed'); END;
CREATE TRIGGER records_are_not_deleted BEFORE DELETE ON records WHEN (SELECT pruning FROM log) = 0
BEGIN SELECT RAISE(ABORT, 'records of an audit log are deleted by retention only'); END;
"""


class AuditError(Exception):
    """The audit log at `path` cannot be used: `problem`, and `fix`, what to do about it."""

    def __init__(self, path: str, problem: str, fix: str) -> None:
        super().__init__(f"audit log {path}: {problem}; {fix}")
        self.path = path
        self.problem = problem
        self.fix = fix


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the log at `path`, which is begun if there is none. Raises AuditError."""
    if read_only and not path.exists():
        raise AuditError(str(path), "does not exist", "name the log of a gateway that has run")
    try:
        # What is recorded of people is nobody else's to read; SQLite gives -wal and -shm the same mode.
        if not read_only and not path.exists():
            path.touch(mode=0o600)
        address = read_only_address(path) if read_only else f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
        )
    except (OSError, sqlite3.Error) as error:
        raise AuditError(str(path), f"cannot be opened: {error}", "check the folder's permissions") from None
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
        _begin(connection, path, read_only)
    except sqlite3.OperationalError as error:
        connection.close()
        raise AuditError(str(path), str(error), "check permissions, disk space and other processes") from None
    except sqlite3.DatabaseError as error:
        connection.close()
        raise AuditError(str(path), f"is no audit log: {error}", "name another file") from None
    except AuditError:
        connection.close()
        raise
    return connection


def _begin(connection: sqlite3.Connection, path: Path, read_only: bool) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise AuditError(str(path), "was written by a newer Aliquot", "use that version or a newer one")
    if version == VERSION:
        return
    if read_only:
        raise AuditError(str(path), "holds no audit log", "name the log of a gateway that has run")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        if int(connection.execute("PRAGMA user_version").fetchone()[0]) == 0:
            for statement in _statements():
                connection.execute(statement)
            log = secrets.token_hex(16)
            connection.execute("INSERT INTO log (id, upto, head) VALUES (?, 0, ?)", (log, genesis(log)))
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements() -> list[str]:
    found, current = [], ""
    for line in _SCHEMA.strip().splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
