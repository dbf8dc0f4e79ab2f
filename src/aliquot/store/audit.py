"""The audit log on disk: appended to by many callers at once, one commit for all that wait (group commit).

`append` puts an event in line and returns at once; a thread of the log writes what stands in line in one
transaction, which is durable when the ticket is done. Several processes may append to one file: each
transaction goes on from the head that it finds.
"""

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import msgspec

from aliquot.audit.anchors import Anchor
from aliquot.audit.policy import KeepingPolicy, Totals
from aliquot.audit.record import SALT_BYTES, Disclosure, Event, Kind, Outcome, Record, read, seal
from aliquot.audit.search import Search
from aliquot.audit.verification import Problem, Start, Summary, verify
from aliquot.store.audit_file import AuditError, open_file

MAX_WAITING = 100_000
"""Events that may wait to be written; beyond, `append` refuses."""
MAX_BATCH = 2_000
PAGE = 2_000

_private_encoder = msgspec.json.Encoder()
_private_decoder = msgspec.json.Decoder(dict[str, Disclosure])

Ticket = Future[None]
"""Done when the event is on disk; fails with AuditError if it cannot be written."""


class AuditLog:
    """An audit log in a file. Use as a context manager, or call `close`. Safe for threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._ready = threading.Condition()
        self._waiting: list[tuple[Event, Ticket]] = []
        self._closing = False
        self._problem: AuditError | None = None
        self._writer: threading.Thread | None = None
        if not read_only:
            self._writer = threading.Thread(target=self._write, name="audit log", daemon=True)
            self._writer.start()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """The log at `path`, begun if there is none. Raises AuditError."""
        return cls(path, open_file(path, read_only=read_only), read_only=read_only)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, then let go of the file."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        if self._writer is not None:
            self._writer.join()
        with self._lock:
            self._connection.close()

    @property
    def problem(self) -> AuditError | None:
        """Why the last events could not be written; None if they were. Who fails closed asks this."""
        return self._problem

    # Writing

    def append(self, event: Event) -> Ticket:
        """Put an event in line. Raises AuditError if the log is closed or too much waits already."""
        ticket: Ticket = Future()
        with self._ready:
            if self._closing or self._writer is None:
                raise AuditError(str(self.path), "is not open for writing", "open it again")
            if len(self._waiting) >= MAX_WAITING:
                raise AuditError(str(self.path), f"{MAX_WAITING} events wait", "check the disk's speed")
            self._waiting.append((event, ticket))
            if len(self._waiting) == 1:
                self._ready.notify()
        return ticket

    def record(self, events: Sequence[Event]) -> None:
        """Write events, and return when they are on disk. Raises AuditError."""
        with self._lock:
            self._commit(events)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything that was put in line before is on disk. Raises AuditError."""
        with self._ready:
            last = self._waiting[-1][1] if self._waiting else None
        if last is not None:
            last.result(timeout_s)
        # A batch that was taken out of line is written under the lock.
        with self._lock:
            pass

    def _write(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closing:
                    self._ready.wait()
                if not self._waiting:
                    return
            # The lock is taken before the line is shortened, so that flush cannot overtake a batch.
            with self._lock:
                with self._ready:
                    batch = self._waiting[:MAX_BATCH]
                    del self._waiting[: len(batch)]
                try:
                    self._commit([event for event, _ in batch])
                except Exception as error:
                    self._problem = error if isinstance(error, AuditError) else self._failure(error)
                else:
                    self._problem = None
            for _, ticket in batch:
                if self._problem is None:
                    ticket.set_result(None)
                else:
                    ticket.set_exception(self._problem)

    def _commit(self, events: Sequence[Event]) -> None:
        try:
            with self._transaction():
                self._insert(events)
        except sqlite3.Error as error:
            raise self._failure(error) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _insert(self, events: Sequence[Event]) -> None:
        log, seq, chain = self._head()
        salts = secrets.token_bytes(SALT_BYTES * len(events))
        known = self._known(events)
        rows = []
        for number, event in enumerate(events):
            if event.event in known:
                continue
            known.add(event.event)
            salt = salts[number * SALT_BYTES : (number + 1) * SALT_BYTES]
            made = seal(event, log=log, seq=seq + 1, before=chain, salt=salt)
            seq, chain = made.seq, made.chain
            private = _private_encoder.encode(made.private) if made.private else None
            rows.append((seq, event.event, event.time_us, made.body.decode(), chain, private))
        self._connection.executemany(
            "INSERT INTO records (seq, event, time_us, body, chain, private) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    def _known(self, events: Sequence[Event]) -> set[str]:
        found: set[str] = set()
        for first in range(0, len(events), 500):
            names = [event.event for event in events[first : first + 500]]
            marks = ",".join("?" * len(names))
            rows = self._connection.execute(f"SELECT event FROM records WHERE event IN ({marks})", names)
            found.update(name for (name,) in rows)
        return found

    def _head(self) -> tuple[str, int, bytes]:
        log, upto, head = self._connection.execute("SELECT id, upto, head FROM log").fetchone()
        last = self._connection.execute("SELECT seq, chain FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        if last is None:
            return str(log), int(upto), bytes(head)
        return str(log), int(last[0]), bytes(last[1])

    # Reading

    def start(self) -> Start:
        """Where the stored part begins."""
        with self._lock:
            log, upto, head = self._connection.execute("SELECT id, upto, head FROM log").fetchone()
        return Start(log=str(log), upto=int(upto), head=bytes(head))

    def anchor(self, now_us: int) -> Anchor:
        """The head now, not yet signed."""
        with self._lock:
            log, seq, head = self._head()
        return Anchor(log=log, seq=seq, time_us=now_us, head=head)

    def records(self, search: Search | None = None, *, newest: int | None = None) -> Iterator[Record]:
        """The records that are looked for, by sequence; only the last `newest` of them if that is given.

        Read page by page: what is appended meanwhile is read, too.
        """
        wanted = search or Search()
        conditions, values = _where(wanted)
        if newest is not None:
            yield from reversed(self._rows(conditions, values, wanted.after, f"DESC LIMIT {int(newest)}"))
            return
        after = wanted.after
        while page := self._rows(conditions, values, after, f"LIMIT {PAGE}"):
            yield from page
            after = page[-1].seq

    def _rows(self, conditions: str, values: Sequence[object], after: int, tail: str) -> list[Record]:
        statement = (
            "SELECT seq, CAST(body AS BLOB), chain, private FROM records"
            f" WHERE seq > ?{conditions} ORDER BY seq {tail}"
        )
        try:
            with self._lock:
                rows = self._connection.execute(statement, (after, *values)).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from None
        return [_record(row) for row in rows]

    def problems(
        self, anchors: Sequence[Anchor] = (), *, summary: Summary | None = None
    ) -> Iterator[Problem]:
        """Everything that is wrong with the log (`audit.verification.verify`)."""
        return verify(self.records(), self.start(), anchors, summary=summary)

    # Retention and redaction

    def retain(self, policy: KeepingPolicy, now_us: int) -> Totals:
        """Drop the records that the policy no longer keeps; the totals of what was dropped.

        Only a run of records from the oldest on can be dropped: one that is younger than its successor
        waits for it. The log says in a record of its own what was dropped, and the chain goes on.
        """
        before = policy.dropped_before_us(now_us)
        if before is None:
            return Totals()
        with self._lock, self._transaction():
            first_kept = self._connection.execute(
                "SELECT min(seq) FROM records WHERE time_us >= ?", (before,)
            ).fetchone()[0]
            last = self._connection.execute(
                "SELECT seq, chain FROM records WHERE ? IS NULL OR seq < ? ORDER BY seq DESC LIMIT 1",
                (first_kept, first_kept),
            ).fetchone()
            if last is None:
                return Totals()
            upto, head = int(last[0]), bytes(last[1])
            totals = Totals()
            for (body,) in self._connection.execute(
                "SELECT CAST(body AS BLOB) FROM records WHERE seq <= ?", (upto,)
            ):
                totals = totals.plus(read(body))
            details: dict[str, str | int | bool] = {"upto": upto, "head": head.hex()}
            details |= {name: getattr(totals, name) for name in Totals.__struct_fields__}
            self._insert([_own(Kind.RETENTION, f"retention/{upto}", now_us, details)])
            self._connection.execute("UPDATE log SET pruning = 1")
            self._connection.execute("DELETE FROM records WHERE seq <= ?", (upto,))
            self._connection.execute("UPDATE log SET upto = ?, head = ?, pruning = 0", (upto, head))
        self._clear()
        return totals

    def redact(self, policy: KeepingPolicy, now_us: int, *, user: str = "", by: str = "") -> int:
        """Delete private values that the policy no longer keeps, or all of one user; how many records."""
        changed = 0
        after = 0
        with self._lock, self._transaction():
            while rows := self._connection.execute(
                "SELECT seq, CAST(body AS BLOB), chain, private FROM records"
                " WHERE seq > ? AND private IS NOT NULL ORDER BY seq LIMIT ?",
                (after, PAGE),
            ).fetchall():
                for found in map(_record, rows):
                    after = found.seq
                    gone = set(policy.expired(read(found.body), now_us))
                    if user and found.private.get("user", Disclosure("", "")).value == user:
                        gone |= found.private.keys()
                    kept = {name: one for name, one in found.private.items() if name not in gone}
                    if kept != found.private:
                        changed += 1
                        private = _private_encoder.encode(kept) if kept else None
                        self._connection.execute(
                            "UPDATE records SET private = ? WHERE seq = ?", (private, found.seq)
                        )
            if changed:
                head = self._head()[1]
                details: dict[str, str | int | bool] = {"records": changed, "upto": after, "by": by}
                self._insert([_own(Kind.REDACTION, f"redaction/{head}", now_us, details)])
        self._clear()
        return changed

    def _clear(self) -> None:
        """What was deleted is overwritten in the file (PRAGMA secure_delete); here in the write-ahead log."""
        with self._lock:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _failure(self, error: Exception) -> AuditError:
        return AuditError(str(self.path), str(error), "check permissions, disk space and other processes")


def _own(kind: Kind, event: str, now_us: int, details: dict[str, str | int | bool]) -> Event:
    return Event(event=event, time_us=now_us, kind=kind, outcome=Outcome.DONE, details=details)


def _record(row: tuple[object, ...]) -> Record:
    seq, body, chain, private = row
    assert isinstance(seq, int)
    assert isinstance(body, bytes)
    return Record(
        seq=seq,
        body=body,
        chain=chain if isinstance(chain, bytes) else b"",
        private={} if private is None else _disclosures(private),
    )


def _disclosures(text: object) -> dict[str, Disclosure]:
    try:
        return _private_decoder.decode(text if isinstance(text, bytes) else str(text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"private": Disclosure("", "")}


def _where(search: Search) -> tuple[str, list[object]]:
    conditions = ""
    values: list[object] = []
    for name, value in search.wanted().items():
        column = name if name in ("agent", "model", "request") else f"json_extract(body, '$.{name}')"
        conditions += f" AND {column} = ?"
        values.append(value)
    for operator, bound in ((">=", search.since_us), ("<", search.until_us)):
        if bound is not None:
            conditions += f" AND time_us {operator} ?"
            values.append(bound)
    return conditions, values
