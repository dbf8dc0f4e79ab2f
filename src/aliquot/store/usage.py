"""The history of usage: every series in minutes, ten minutes and hours, each kept for its time.

A write adds each new sample to its bucket at all three resolutions in one transaction, so that a day of hours
is exactly a day of minutes, whenever minutes are forgotten. How far each series was written is part of the
same transaction: after a crash the same samples can be given again and nothing counts twice.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from aliquot.store.usage_schema import HistoryError, open_history
from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.rollup import Buckets, bucketed, coarser, series_of
from aliquot.usage.series import NOBODY, Owner, Series, Subject, column, joined

MINUTE = 60_000
DAY = 86_400_000
WIDTHS = (MINUTE, 10 * MINUTE, 60 * MINUTE)
MOST_SERIES = 1_000_000


@dataclass(frozen=True, slots=True)
class Keep:
    """How long each resolution is kept, ms, the finest first; most_bytes: what the file may grow to.

    When it is larger the oldest minutes go first, then the oldest ten minutes, then hours.
    """

    ages: tuple[int, int, int] = (2 * DAY, 30 * DAY, 400 * DAY)
    most_bytes: int = 4 << 30


@dataclass(slots=True)
class Written:
    """What a write did: samples that were new, came late but into minutes of which nothing was known, and
    were left out because their time was written before (repeats, or too late)."""

    new: int = 0
    late: int = 0
    repeated: int = 0


_UPSERT = (
    "INSERT INTO buckets_{level} (start, series, covered, total, maximum, count) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET covered = covered + excluded.covered, total = total + excluded.total,"
    " maximum = max(maximum, excluded.maximum), count = count + excluded.count"
)


class UsageHistory:
    """A history file. Safe to use from several threads; other processes may read while one writes."""

    def __init__(self, path: Path, connection: sqlite3.Connection, keep: Keep) -> None:
        self.path = path
        self._connection = connection
        self._keep = keep
        self._lock = threading.RLock()
        self._pruned = 0

    @staticmethod
    def open(path: Path, *, read_only: bool = False, keep: Keep | None = None) -> "UsageHistory":
        """Open the history at `path`, creating it unless `read_only`. Raises HistoryError."""
        return UsageHistory(path, open_history(path, read_only=read_only), keep or Keep())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> "UsageHistory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def until(self) -> int:
        """The time up to which some series was written, ms; 0 in a new history."""
        return int(self._rows("SELECT coalesce(max(until), 0) FROM series", ())[0][0])

    def write(self, series: Iterable[Series], now: int) -> Written:
        """Add series to the history. now: ms since 1970; samples beyond it are cut off.

        A series with NOBODY as its owner is the device's own, whoever held it. Nothing is counted twice: time
        up to which a series was written is left out, except minutes of which nothing is known. Raises
        HistoryError, after which the history is as it was before.
        """
        written = Written()
        with self._lock:
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                for item in series:
                    self._add(item.between(now - self._keep.ages[0], now), written)
                if now - self._pruned >= 10 * MINUTE:
                    self._prune(now)
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._failure(error) from error
                raise
        return written

    def _add(self, series: Series, written: Written) -> None:
        if not len(series):
            return
        identity, until = self._series(series)
        new = series.between(until, series.end)
        if until > series.start:
            self._add_late(identity, series.between(series.start, until), written)
        if not len(new):
            return
        minutes = bucketed(new, MINUTE)
        for level, width in enumerate(WIDTHS):
            rows = minutes if level == 0 else coarser(minutes, width)
            self._connection.executemany(
                _UPSERT.format(level=level),
                [(start, identity, *row) for start, *row in rows.rows()],
            )
        self._connection.execute("UPDATE series SET until = ? WHERE id = ?", (series.end, identity))
        written.new += len(new)

    def _add_late(self, identity: int, late: Series, written: Written) -> None:
        """Minutes of which nothing is known take what came late; all others know it, or know better."""
        for start, covered, total, maximum, count in bucketed(late, MINUTE).rows():
            cursor = self._connection.execute(
                "INSERT OR IGNORE INTO buckets_0 (start, series, covered, total, maximum, count)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (start, identity, covered, total, maximum, count),
            )
            if not cursor.rowcount:
                written.repeated += count
                continue
            written.late += count
            for level in (1, 2):
                wide = start // WIDTHS[level] * WIDTHS[level]
                self._connection.execute(
                    _UPSERT.format(level=level), (wide, identity, covered, total, maximum, count)
                )

    def _series(self, series: Series) -> tuple[int, int]:
        place = series.subject
        key = (
            series.metric.value,
            place.node,
            place.driver,
            place.pool,
            place.device,
            place.part,
            _owner_text(series.owner),
            series.provenance.value,
            series.rule,
            str(series.share),
        )
        found = self._connection.execute(
            "SELECT id, until FROM series WHERE metric = ? AND node = ? AND driver = ? AND pool = ?"
            " AND device = ? AND part = ? AND owner = ? AND provenance = ? AND rule = ? AND share = ?",
            key,
        ).fetchone()
        if found is not None:
            return int(found[0]), int(found[1])
        count = int(self._connection.execute("SELECT count(*) FROM series").fetchone()[0])
        if count >= MOST_SERIES:
            raise HistoryError(
                self.path, f"has {MOST_SERIES} series", "keep it for fewer devices, or start a new one"
            )
        cursor = self._connection.execute(
            "INSERT INTO series (metric, node, driver, pool, device, part, owner, provenance, rule, share,"
            " until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, series.start),
        )
        return int(cursor.lastrowid or 0), series.start

    def _prune(self, now: int) -> None:
        """Forget what is older than it is kept, always in whole buckets of the next coarser resolution."""
        connection = self._connection
        for level, age in enumerate(self._keep.ages):
            self._forget(level, now - age)
        for level in range(len(WIDTHS)):
            age = self._keep.ages[level]
            while self._bytes() > self._keep.most_bytes and age > WIDTHS[-1]:
                age //= 2
                self._forget(level, now - age)
        oldest = int(connection.execute("SELECT min(since) FROM kept").fetchone()[0])
        connection.execute(
            "DELETE FROM series WHERE until < ? AND id NOT IN (SELECT series FROM buckets_2)", (oldest,)
        )
        self._pruned = now

    def _forget(self, level: int, before: int) -> None:
        coarse = WIDTHS[min(level + 1, len(WIDTHS) - 1)]
        since = max(before, 0) // coarse * coarse
        self._connection.execute(f"DELETE FROM buckets_{level} WHERE start < ?", (since,))
        self._connection.execute("UPDATE kept SET since = max(since, ?) WHERE level = ?", (since, level))

    def _bytes(self) -> int:
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def read(
        self,
        start: int,
        end: int,
        *,
        metrics: Sequence[Metric] = (),
        devices: bool | None = None,
        finest: int = MINUTE,
    ) -> tuple[Series, ...]:
        """What was in [start, end), ms, each time at the finest resolution that is kept of it.

        metrics: only these. devices: only devices' own series (True), only what holders used (False), or both
        (None). finest: the finest resolution wanted, ms. A bucket across `start` or `end` is given whole.
        Raises HistoryError.
        """
        with self._lock:
            since = [int(row[0]) for row in self._rows("SELECT since FROM kept ORDER BY level", ())]
            pieces: dict[int, list[Buckets]] = {}
            low = start
            for level in reversed(range(len(WIDTHS))):
                finer = [place for place in range(level) if WIDTHS[place] >= finest]
                high = end if not finer else min(max(since[level - 1], low), end)
                if low >= high or (WIDTHS[level] < finest and level != len(WIDTHS) - 1):
                    continue
                begin = low // WIDTHS[level] * WIDTHS[level]
                for identity, buckets in self._buckets(level, begin, high, metrics, devices):
                    pieces.setdefault(identity, []).append(buckets)
                low = high
            return tuple(self._made(pieces, metrics, devices))

    def _buckets(
        self, level: int, low: int, high: int, metrics: Sequence[Metric], devices: bool | None
    ) -> Iterable[tuple[int, Buckets]]:
        conditions = []
        if metrics:
            conditions.append(f"metric IN ({', '.join('?' * len(metrics))})")
        if devices is not None:
            conditions.append("owner = ''" if devices else "owner <> ''")
        chosen = (
            f" AND series IN (SELECT id FROM series WHERE {' AND '.join(conditions)})" if conditions else ""
        )
        rows = self._rows(
            f"SELECT series, start, covered, total, maximum, count FROM buckets_{level}"
            f" WHERE start >= ? AND start < ?{chosen} ORDER BY series, start",
            (low, high, *(metric.value for metric in metrics)),
        )
        if not rows:
            return
        table = np.array(rows, dtype=np.int64)
        heads = np.flatnonzero(np.concatenate(([True], np.diff(table[:, 0]) != 0))).tolist()
        for begin, stop in zip(heads, [*heads[1:], len(table)], strict=True):
            own = table[begin:stop]
            yield int(own[0, 0]), Buckets(WIDTHS[level], *(column(own[:, place]) for place in range(1, 6)))

    def _made(
        self, pieces: dict[int, list[Buckets]], metrics: Sequence[Metric], devices: bool | None
    ) -> Iterable[Series]:
        wanted = {metric.value for metric in metrics}
        for row in self._rows(
            "SELECT id, metric, node, driver, pool, device, part, owner, provenance, rule, share FROM series"
            " ORDER BY id",
            (),
        ):
            identity, metric, *place, owner, provenance, rule, share = row
            if identity not in pieces or (wanted and metric not in wanted):
                continue
            if devices is not None and devices != (owner == ""):
                continue
            known = Metric(metric)
            found = joined(
                [
                    series_of(buckets, known, Subject(*place), _owner(owner), Provenance(provenance), rule)
                    for buckets in pieces[identity]
                ]
            )
            yield replace(found, share=Fraction(share))

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> HistoryError:
        if isinstance(error, sqlite3.OperationalError):
            return HistoryError(self.path, str(error), "check permissions, disk space and other processes")
        return HistoryError(self.path, f"is damaged: {error}", "move it away, and a new one is started")


def _owner_text(owner: Owner) -> str:
    return "" if owner == NOBODY else msgspec.json.encode(owner).decode()


def _owner(text: str) -> Owner:
    return NOBODY if not text else msgspec.json.decode(text, type=Owner)
