"""The journal: every decision, appended with the inputs it was made from and never changed afterwards.

One call of `decide` is a *record*: time, snapshot, policy and the whole plan; from it the decision can be
made again. Each decision of it that tells something new is an *entry*, found by workload, pod, decision id
and time. A process that is killed while it writes leaves the journal as it was before that write.
"""

import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from aliquot.model.kinds import convert, encode_json
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Decision, Plan
from aliquot.scheduling.policy import Policy
from aliquot.store import integrity, snapshots
from aliquot.store.database import JournalError, open_database
from aliquot.store.digests import chain_of
from aliquot.store.entries import (
    Entry,
    EntryBody,
    Recorded,
    RecordInfo,
    Retention,
    parse_time,
    time_text,
)
from aliquot.store.snapshots import DamageError, SnapshotWriter, unpack

JOURNAL = "journal.db"
"""What the journal is called in a state folder."""

FACTS_EVERY = timedelta(seconds=60)
"""While a workload waits for the same reason, changed facts make a new entry this often at most."""

_PRUNE_EVERY = 64

Listener = Callable[[tuple[Entry, ...]], None]


class _Known(msgspec.Struct, frozen=True):
    """What the last entry of a workload said."""

    reason: Reason | None
    content: bytes
    time: datetime


def _content(decision: Decision) -> bytes:
    """What a decision says, apart from its id and its place in the queue."""
    return hashlib.blake2b(encode_json((decision.queue, decision.verdict)), digest_size=16).digest()


class Journal:
    """A journal file. Safe to use from several threads; several processes may read while one writes."""

    def __init__(self, path: Path, connection: sqlite3.Connection, retention: Retention) -> None:
        self.path = path
        self._connection = connection
        self._retention = retention
        self._lock = threading.RLock()
        self._writer = SnapshotWriter()
        self._known: dict[ObjectRef, _Known] = {}
        self._listeners: list[Listener] = []
        self._until_prune = _PRUNE_EVERY

    @staticmethod
    def open(path: Path, *, read_only: bool = False, retention: Retention | None = None) -> "Journal":
        """Open the journal at `path`, creating it unless `read_only`. Raises JournalError."""
        return Journal(path, open_database(path, read_only=read_only), retention or Retention())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the entries of every record written from now on; returns what ends that.

        It is called in the thread that records, after the entries are on disk.
        """
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def prepare(self, snapshot: Snapshot) -> None:
        """Store a snapshot that the next record is likely to differ little from. Raises JournalError."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._writer.write(self._connection, snapshot)
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._writer = SnapshotWriter()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._failure(error) from error
                raise

    def record(self, now: datetime, snapshot: Snapshot, policy: Policy, plan: Plan) -> tuple[Entry, ...]:
        """Append one call of decide; the entries made. Writes nothing when no decision tells anything new.

        News is: anything to do; a workload that waits for another reason than before, or is new; changed
        facts once a minute. Raises JournalError, after which the journal is as it was before.
        """
        with self._lock:
            news = tuple(decision for decision in plan.decisions if self._is_news(decision, now))
            entries = self._append(now, snapshot, policy, plan, news) if news else ()
            noted = {entry.decision.workload: entry.decision for entry in entries}
            known: dict[ObjectRef, _Known] = {}
            for decision in plan.decisions:
                if decision.workload in noted:
                    reason = decision.verdict.reason if decision.verdict else None
                    known[decision.workload] = _Known(reason, _content(decision), now)
                elif decision.workload in self._known:
                    known[decision.workload] = self._known[decision.workload]
            self._known = known
            listeners = tuple(self._listeners)
        if entries:
            for listener in listeners:
                listener(entries)
        return entries

    def _is_news(self, decision: Decision, now: datetime) -> bool:
        if decision.actions:
            return True
        known = self._known.get(decision.workload) or self._last_known(decision.workload)
        if known is None:
            return True
        self._known[decision.workload] = known
        if known.reason != (decision.verdict.reason if decision.verdict else None):
            return True
        return now - known.time >= FACTS_EVERY and known.content != _content(decision)

    def _last_known(self, workload: ObjectRef) -> _Known | None:
        last = self.entries(workload=workload, limit=1)
        if not last or last[0].decision.workload != workload:
            return None
        decision = last[0].decision
        reason = decision.verdict.reason if decision.verdict else None
        return _Known(reason, _content(decision), last[0].time)

    def _append(
        self, now: datetime, snapshot: Snapshot, policy: Policy, plan: Plan, news: tuple[Decision, ...]
    ) -> tuple[Entry, ...]:
        connection = self._connection
        policy_json = encode_json(policy)
        policy_digest = hashlib.blake2b(policy_json, digest_size=16).hexdigest()
        try:
            connection.execute("BEGIN IMMEDIATE")
            row, digest = self._writer.write(connection, snapshot)
            cursor = connection.execute(
                "INSERT INTO records (time, snapshot, policy, plan) VALUES (?, ?, ?, ?)",
                (time_text(now), row, policy_json, zlib.compress(encode_json(plan), 6)),
            )
            record = int(cursor.lastrowid or 0)
            chain = self._chain_end()
            entries = []
            for decision in news:
                body = EntryBody(decision=decision, snapshot=digest.hex(), policy=policy_digest)
                chain, identity = self._insert(now, record, body, chain)
                entries.append(
                    Entry(
                        id=identity,
                        time=now,
                        record=record,
                        decision=decision,
                        snapshot=body.snapshot,
                        policy=body.policy,
                    )
                )
            self._until_prune -= 1
            if self._until_prune <= 0:
                self._prune()
                self._until_prune = _PRUNE_EVERY
            connection.execute("COMMIT")
        except BaseException as error:
            self._writer = SnapshotWriter()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._failure(error) from error
            raise
        return tuple(entries)

    def _insert(self, now: datetime, record: int, body: EntryBody, chain: bytes) -> tuple[bytes, int]:
        decision = body.decision
        encoded = encode_json(body)
        chain = chain_of(chain, encoded)
        workload = decision.workload
        cursor = self._connection.execute(
            "INSERT INTO entries (time, record, decision, kind, namespace, name, queue, body, chain)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                time_text(now),
                record,
                decision.id,
                workload.kind,
                workload.namespace,
                workload.name,
                decision.queue,
                encoded,
                chain,
            ),
        )
        identity = int(cursor.lastrowid or 0)
        self._connection.executemany(
            "INSERT OR IGNORE INTO entry_pods (namespace, name, entry) VALUES (?, ?, ?)",
            ((pod.namespace, pod.name, identity) for pod in decision.pods),
        )
        return chain, identity

    def _chain_end(self) -> bytes:
        found = self._connection.execute("SELECT chain FROM entries ORDER BY id DESC LIMIT 1").fetchone()
        if found is None:
            found = self._connection.execute("SELECT chain FROM chain_start").fetchone()
        return bytes(found[0])

    def _prune(self) -> None:
        connection, keep = self._connection, self._retention
        count = int(connection.execute("SELECT count(*) FROM records").fetchone()[0])
        if count > keep.records + keep.records // 5:
            first = connection.execute(
                "SELECT id FROM records ORDER BY id DESC LIMIT 1 OFFSET ?", (max(keep.records, 1) - 1,)
            ).fetchone()[0]
            connection.execute("DELETE FROM records WHERE id < ?", (first,))
            oldest = connection.execute("SELECT min(snapshot) FROM records").fetchone()[0]
            snapshots.forget_before(connection, oldest)
        count = int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
        if count > keep.entries + keep.entries // 5:
            last, chain = connection.execute(
                "SELECT id, chain FROM entries ORDER BY id DESC LIMIT 1 OFFSET ?", (max(keep.entries, 1),)
            ).fetchone()
            connection.execute("UPDATE chain_start SET chain = ?", (chain,))
            connection.execute("DELETE FROM entries WHERE id <= ?", (last,))

    def entries(
        self,
        *,
        after: int = 0,
        workload: ObjectRef | None = None,
        pod: tuple[str, str] | None = None,
        decision: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> tuple[Entry, ...]:
        """The newest `limit` entries that meet all conditions, oldest first.

        after: an entry's id. workload: kind, namespace and name count, an empty kind means any. pod:
        (namespace, name) of a pod that the decision spoke of. since, until: from `since` to before `until`.
        """
        conditions = ["id > ?"]
        values: list[object] = [after]
        where: list[tuple[str, Any]] = []
        if workload is not None:
            where += [("namespace = ?", workload.namespace), ("name = ?", workload.name)]
            where += [("kind = ?", workload.kind)] if workload.kind else []
        if decision is not None:
            where.append(("decision = ?", decision))
        if since is not None:
            where.append(("time >= ?", time_text(since)))
        if until is not None:
            where.append(("time < ?", time_text(until)))
        for condition, value in where:
            conditions.append(condition)
            values.append(value)
        if pod is not None:
            conditions.append("id IN (SELECT entry FROM entry_pods WHERE namespace = ? AND name = ?)")
            values.extend(pod)
        statement = (
            "SELECT id, time, record, body FROM entries"
            f" WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
        )
        rows = self._all(statement, (*values, limit))
        return tuple(self._entry(row) for row in reversed(rows))

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        try:
            body: EntryBody = convert(msgspec.json.decode(row[3]), EntryBody)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"entry {row[0]} cannot be read: {error}") from error
        return Entry(
            id=row[0],
            time=parse_time(row[1]),
            record=row[2],
            decision=body.decision,
            snapshot=body.snapshot,
            policy=body.policy,
        )

    def records(self, *, limit: int = 1000) -> tuple[RecordInfo, ...]:
        """The newest `limit` calls of decide that can be replayed, oldest first."""
        rows = self._all(
            "SELECT records.id, time, snapshots.digest FROM records"
            " JOIN snapshots ON snapshots.id = records.snapshot ORDER BY records.id DESC LIMIT ?",
            (limit,),
        )
        return tuple(
            RecordInfo(id=row[0], time=parse_time(row[1]), snapshot=row[2].hex()) for row in reversed(rows)
        )

    def recorded(self, record: int) -> Recorded | None:
        """One call of decide with its snapshot, policy and plan; None if it is not (or no longer) there."""
        with self._lock:
            rows = self._all(
                "SELECT time, snapshot, policy, plan, digest FROM records"
                " JOIN snapshots ON snapshots.id = records.snapshot WHERE records.id = ?",
                (record,),
            )
            if not rows:
                return None
            time, row, policy, plan, digest = rows[0]
            try:
                return Recorded(
                    id=record,
                    time=parse_time(time),
                    snapshot_digest=digest.hex(),
                    snapshot=snapshots.load(self._connection, row),
                    policy=convert(msgspec.json.decode(policy), Policy),
                    plan=convert(msgspec.json.decode(unpack(plan, f"plan {record}")), Plan),
                )
            except (DamageError, msgspec.MsgspecError) as error:
                raise self._damaged(f"record {record}: {error}") from error
            except sqlite3.Error as error:
                raise self._failure(error) from error

    def _all(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> JournalError:
        if isinstance(error, sqlite3.OperationalError):
            return JournalError(self.path, str(error), "check permissions, disk space and other processes")
        return self._damaged(f"is damaged: {error}")

    def _damaged(self, problem: str) -> JournalError:
        name = self.path.name
        return JournalError(
            self.path, problem, f"move {name}, {name}-wal and {name}-shm away, and a new journal is started"
        )

    def problems(self) -> tuple[str, ...]:
        """Check the whole journal: the file, the chain of entries, objects, snapshots. Empty: it is sound."""
        with self._lock:
            return tuple(integrity.problems(self._connection))
