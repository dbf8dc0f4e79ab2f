"""The ledger in SQLite and PostgreSQL: nothing lost, nothing twice, whatever happens while it is written."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from tests.accounting.histories import BEGIN_MS, DEVICES, History, histories, holding, occupancy
from tests.store.ledger_servers import postgres

from aliquot.accounting.amounts import DAY_MS, HOUR_MS
from aliquot.accounting.closing import entries_of
from aliquot.accounting.columns import Columns
from aliquot.accounting.entries import AMOUNTS, Category, Entry, Kind, Span, totals
from aliquot.accounting.invoices import Invoice, reconcile
from aliquot.accounting.prices import Match, PriceBook
from aliquot.accounting.progress import Progress, Step, advance, unsettled
from aliquot.accounting.reports import Line
from aliquot.store.ledger import Ledger, StaleWriterError
from aliquot.store.ledger_audit import problems
from aliquot.store.ledger_database import Database, LedgerError, Row, SqliteDatabase
from aliquot.store.ledger_postgres import PostgresDatabase
from aliquot.store.ledger_reading import charged, entries, pod_sums
from aliquot.store.ledger_reports import Query, dimension_of, sums

BOOK = PriceBook()
ALL = (0, BEGIN_MS + 400 * DAY_MS)

Open = Callable[[], Database]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address:
        yield address


_NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Open]:
    """Makes a new, empty database, and returns what opens it as often as needed."""
    if request.param == "sqlite":

        def make() -> Open:
            path = tmp_path / f"ledger-{next(_NUMBERS)}.db"
            return lambda: SqliteDatabase(path)

        return make
    address = request.getfixturevalue("server")

    def make_schema() -> Open:
        name = f"ledger_{next(_NUMBERS)}"
        admin = PostgresDatabase(address)
        admin.execute(f"CREATE SCHEMA {name}")
        admin.close()

        class InSchema(PostgresDatabase):
            def _connection(self) -> Any:
                connection = super()._connection()
                connection.execute(f"SET search_path = {name}")
                return connection

        return lambda: InSchema(address)

    return make_schema


def write(ledger: Ledger, step: Step, sequence: int) -> bool:
    return ledger.append(
        Columns.of(entries_of(step.spans, BOOK)),
        sequence=sequence,
        currency="USD",
        seen_ms=step.progress.seen_ms,
        opened={key: step.progress.open.get(key) for key in step.changed},
    )


def whole(lines: Iterable[Line]) -> dict[str, int]:
    found = dict.fromkeys(AMOUNTS, 0)
    for line in lines:
        for name in AMOUNTS:
            found[name] += getattr(line.amounts, name)
    return found


class CrashError(Exception):
    """The process ends here."""


class Crashing:
    """A database at which the process ends at the n-th statement, or right after the commit (n below 0)."""

    def __init__(self, database: Database, after: int) -> None:
        self._database = database
        self._left = after
        self._late = after < 0
        self.place = database.place

    def _count(self) -> None:
        if not self._late:
            if self._left <= 0:
                raise CrashError
            self._left -= 1

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        self._count()
        return self._database.execute(statement, values)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._count()
        self._database.executemany(statement, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self._count()
        self._database.insert(table, columns, rows)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._database.writing():
            yield
        if self._late:
            raise CrashError

    def reading(self) -> contextlib.AbstractContextManager[None]:
        return self._database.reading()

    def close(self) -> None:
        self._database.close()


FEW = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
MANY = settings(FEW, max_examples=60, derandomize=False)


@given(history=histories())
@FEW
def test_a_history_with_crashes_and_repetitions_gives_the_ledger_of_one_without(
    fresh: Callable[[], Open], history: History
) -> None:
    survives(fresh, history)


@pytest.mark.prove
@given(history=histories())
@MANY
def test_many_histories_with_crashes_and_repetitions_give_the_ledger_of_those_without(
    fresh: Callable[[], Open], history: History
) -> None:
    survives(fresh, history)


def survives(fresh: Callable[[], Open], history: History) -> None:
    """Each look is written by a process that may end at any statement; the next one goes on from there."""
    opening = fresh()
    Ledger(opening()).close()
    expected: list[Entry] = []
    clean = Progress()
    for look in history.looks:
        step = advance(clean, look.now_ms, look.seen)
        clean = step.progress
        expected += entries_of(step.spans, BOOK)
        for crash in (look.crash, None):
            database = opening()
            with Ledger(database) as ledger:
                if crash is not None:
                    # From 20 on it ends after the commit, before anybody heard of it.
                    ledger.database = Crashing(database, crash if crash < 20 else -1)
                progress, sequence = Ledger.progress(ledger) if crash is None else _read(ledger, database)
                retried = advance(progress, look.now_ms, look.seen)
                with contextlib.suppress(CrashError):
                    write(ledger, retried, sequence + 1)
                    if look.repeat:
                        assert not write(ledger, retried, sequence + 1), "a repeated batch is recognised"
    with Ledger(opening()) as ledger:
        progress, _ = ledger.progress()
        assert progress == clean
        assert whole(sums(ledger, Query(*ALL))) == totals(expected)
        assert problems(ledger) == ()


def _read(ledger: Ledger, database: Database) -> tuple[Progress, int]:
    crashing, ledger.database = ledger.database, database
    found = ledger.progress()
    ledger.database = crashing
    return found


@given(history=histories())
@FEW
def test_reports_say_what_adding_up_the_entries_one_by_one_says(
    fresh: Callable[[], Open], history: History
) -> None:
    progress, found = Progress(), []
    with Ledger(fresh()()) as ledger:
        for number, look in enumerate(history.looks, 1):
            step = advance(progress, look.now_ms, look.seen)
            progress = step.progress
            found += entries_of(step.spans, BOOK)
            write(ledger, step, number)
        assert sorted(map(repr, entries(ledger, *ALL))) == sorted(map(repr, found))
        rest = entries_of(unsettled(progress), BOOK)
        middle = (BEGIN_MS // HOUR_MS + 1) * HOUR_MS
        for by, span, where in (
            ((), ALL, ()),
            (("queue",), ALL, ()),
            (("label:team", "node"), (middle, ALL[1]), ()),
            (("day", "device-model", "category"), ALL, ()),
            (("hour", "device"), (0, middle), ()),
            (("workload",), ALL, (("queue", "top"),)),
            (("reason", "mode"), (middle, middle + HOUR_MS), (("category", "system"),)),
            (("claim",), ALL, (("label:team", "team-a"), ("node", "n1"))),
        ):
            query = Query(*span, by=by, where=where)
            counted: dict[tuple[tuple[str, ...], Category], dict[str, int]] = {}
            for entry in (*found, *rest):
                if span[0] <= entry.start_ms < span[1] and all(
                    dimension_of(entry, name) == value
                    or (name == "queue" and f"/{value}/" in entry.account.queue_path)
                    for name, value in where
                ):
                    keys = tuple(dimension_of(entry, name) for name in by)
                    own = counted.setdefault((keys, entry.category), dict.fromkeys(AMOUNTS, 0))
                    for name in AMOUNTS:
                        own[name] += getattr(entry, name)
            shown = {
                (line.keys, line.category): {name: getattr(line.amounts, name) for name in AMOUNTS}
                for line in sums(ledger, query, rest)
            }
            assert shown == {key: own for key, own in counted.items() if any(own.values())}


def one_hour(name: str = "a") -> tuple[Entry, ...]:
    start = BEGIN_MS // HOUR_MS * HOUR_MS
    return entries_of([Span(occupancy(DEVICES[0], holding(name)), start, start + HOUR_MS)], BOOK)


def test_a_batch_is_written_once_and_in_its_turn(fresh: Callable[[], Open]) -> None:
    opening = fresh()
    with Ledger(opening()) as first, Ledger(opening()) as second:
        columns = Columns.of(one_hour())
        assert first.append(columns, sequence=1, currency="USD")
        assert not first.append(columns, sequence=1, currency="USD")
        assert not second.append(columns, sequence=1, currency="USD"), "whoever repeats it"
        with pytest.raises(StaleWriterError):
            second.append(Columns.of(one_hour("b")), sequence=1, currency="USD")
        with pytest.raises(StaleWriterError):
            second.append(columns, sequence=3, currency="USD")
        with pytest.raises(StaleWriterError):
            second.look(BEGIN_MS, 0)
        assert second.append(Columns.of(one_hour("b")), sequence=2, currency="USD")
        assert whole(sums(first, Query(*ALL)))["device_ms"] == 2 * HOUR_MS
        assert problems(second) == ()


def test_a_ledger_has_one_currency(fresh: Callable[[], Open]) -> None:
    with Ledger(fresh()()) as ledger:
        ledger.append(Columns.of(one_hour()), sequence=1, currency="EUR")

        with pytest.raises(LedgerError, match="kept in EUR, the price book is in USD; give prices in EUR"):
            ledger.append(Columns.of(one_hour()), sequence=2, currency="USD")
        assert (ledger.currency, ledger.sequence) == ("EUR", 1)


def test_a_correction_is_entries_and_is_written_once(fresh: Callable[[], Open]) -> None:
    """It turns out late that it was b who held the device."""
    with Ledger(fresh()()) as ledger:
        wrong = one_hour("a")
        ledger.append(Columns.of(wrong), sequence=1, currency="USD")
        right = [msgspec.structs.replace(item, kind=Kind.CORRECTION) for item in one_hour("b")]
        fix = Columns.of([*(item.negated() for item in wrong), *right])

        assert ledger.append(fix, sequence=2, currency="USD", origin="late event 17")
        assert not ledger.append(fix, sequence=3, currency="USD", origin="late event 17")

        shown = sums(ledger, Query(*ALL, by=("queue",)))
        assert [(line.keys, line.amounts.device_ms) for line in shown] == [(("queue-b",), HOUR_MS)]
        assert len(entries(ledger, *ALL)) == 3
        assert problems(ledger) == ()


def test_an_invoice_is_met_to_the_last_micro_unit_and_once(fresh: Callable[[], Open]) -> None:
    day = BEGIN_MS // DAY_MS * DAY_MS
    spans = [
        Span(occupancy(device, holding(name)), day + hour * HOUR_MS, day + (hour + 1) * HOUR_MS)
        for hour in range(30)
        for device, name in zip(DEVICES, "abca", strict=True)
    ]
    invoice = Invoice(
        name="october",
        match=Match(node="n1"),
        start_ms=day,
        end_ms=day + 2 * DAY_MS,
        amount_micros=3_000_000_001,
    )
    with Ledger(fresh()()) as ledger:
        ledger.append(Columns.of(entries_of(spans, BOOK)), sequence=1, currency="USD")
        before = whole(sums(ledger, Query(*ALL)))
        made = reconcile(invoice, charged(ledger, invoice))
        ledger.append(Columns.of(made), sequence=2, currency="USD", origin="invoice october")

        on_node = sums(ledger, Query(*ALL, where=(("node", "n1"),)))
        assert whole(on_node)["cost_micros"] == invoice.amount_micros
        assert whole(sums(ledger, Query(*ALL)))["device_ms"] == before["device_ms"]
        assert reconcile(invoice, charged(ledger, invoice)) == ()


def test_pods_get_their_part_of_what_they_hold_together_without_rest(fresh: Callable[[], Open]) -> None:
    (entry,) = one_hour()
    both = msgspec.structs.replace(
        entry,
        account=msgspec.structs.replace(entry.account, pods=(*entry.account.pods, entry.account.pods[0])),
    )
    pods = msgspec.structs.replace(
        both.account, pods=tuple(type(p)(f"p{i}") for i, p in enumerate(both.account.pods))
    )
    both = msgspec.structs.replace(both, account=pods)
    with Ledger(fresh()()) as ledger:
        ledger.append(Columns.of([both]), sequence=1, currency="USD")

        shown = pod_sums(ledger, entry.start_ms, entry.end_ms)
        half = pod_sums(ledger, entry.start_ms, entry.start_ms + HOUR_MS // 2, namespace="ns-a")

    assert [pod.name for pod in shown] == ["p0", "p1"]
    assert sum(pod.amounts.cost_micros for pod in shown) == entry.cost_micros
    assert sum(pod.amounts.device_ms for pod in half) == HOUR_MS // 2


def test_what_was_changed_afterwards_is_found(fresh: Callable[[], Open]) -> None:
    opening = fresh()
    with Ledger(opening()) as ledger:
        ledger.append(Columns.of(one_hour()), sequence=1, currency="USD")
        ledger.append(Columns.of(one_hour("b")), sequence=2, currency="USD")
        for statement, problem in (
            ("UPDATE ledger_entries SET cost_micros = cost_micros - 1 WHERE id = 1", "batch 1"),
            ("UPDATE ledger_entries SET cost_micros = cost_micros + 1 WHERE id = 1", ""),
            ("UPDATE ledger_days SET device_ms = device_ms + 1", "sums of day"),
            ("UPDATE ledger_days SET device_ms = device_ms - 1", ""),
            ("DELETE FROM ledger_batches WHERE sequence = 1", "batch 1"),
        ):
            ledger.database.execute(statement)
            found = problems(ledger)
            assert bool(found) == bool(problem), (statement, found)
            assert not problem or problem in found[0]


def test_a_ledger_that_is_not_there_is_told_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="does not exist; name the ledger"):
        Ledger.open(tmp_path / "none.db", read_only=True)
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError, match="damaged"):
        Ledger.open(tmp_path / "other.db")


def test_a_password_is_not_shown() -> None:
    with pytest.raises(LedgerError) as caught:
        PostgresDatabase("postgresql://me:geheim@127.0.0.1:1/ledger?connect_timeout=1")

    assert "geheim" not in str(caught.value)
    assert "me@127.0.0.1" in str(caught.value)


def test_a_connection_that_breaks_in_the_middle_leaves_nothing_and_is_made_anew(server: str) -> None:
    """The server ends the session between two statements; the rest must not be written by another one."""
    admin, database = PostgresDatabase(server), PostgresDatabase(server)
    admin.execute("CREATE TABLE once (id BIGINT)")
    (process,) = database.execute("SELECT pg_backend_pid()")[0]

    def broken() -> None:
        with database.writing():
            database.execute("INSERT INTO once VALUES (1)")
            admin.execute("SELECT pg_terminate_backend(?)", (process,))
            with contextlib.suppress(LedgerError):
                database.execute("INSERT INTO once VALUES (2)")
            database.execute("INSERT INTO once VALUES (3)")

    with pytest.raises(LedgerError, match="nothing was written"):
        broken()
    assert admin.execute("SELECT id FROM once") == []
    with database.writing():
        database.execute("INSERT INTO once VALUES (4)")
    assert admin.execute("SELECT id FROM once") == [(4,)]
    for one in (admin, database):
        one.close()


_KEEPER = """
import sys, time
from pathlib import Path
from tests.accounting.histories import DEVICES, holding, occupancy
from tests.store.test_ledger import write
from aliquot.accounting.progress import advance
from aliquot.store.ledger import Ledger
path, clock = Path(sys.argv[1]), Path(sys.argv[2])
with Ledger.open(path) as ledger:
    progress, sequence = ledger.progress()
    while True:
        now = int(clock.read_text() or 0) + 1000
        clock.write_text(str(now))
        names = ["abcd"[(now // 1000 + place) % 4] for place in range(len(DEVICES))]
        seen = [occupancy(device, holding(name)) for device, name in zip(DEVICES, names)]
        step = advance(progress, now, seen)
        write(ledger, step, sequence + 1)
        progress, sequence = step.progress, sequence + 1
        print(sequence, flush=True)
"""


def test_a_killed_process_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    """SIGKILL at whatever it does; the next process goes on. At the end all time is there once."""
    path, clock = tmp_path / "ledger.db", tmp_path / "clock"
    clock.write_text(str(BEGIN_MS))
    root = str(Path(__file__).resolve().parents[2])
    for kills in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, str(path), str(clock)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(5 + 7 * kills):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    with Ledger.open(path) as ledger:
        progress, _ = ledger.progress()
        shown = whole(sums(ledger, Query(*ALL), entries_of(unsettled(progress), BOOK)))
        assert shown["device_ms"] == len(DEVICES) * (progress.seen_ms - BEGIN_MS - 1000)
        assert problems(ledger) == ()
