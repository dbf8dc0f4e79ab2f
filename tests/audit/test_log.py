"""The audit log on disk: what was acknowledged is there, once, in order, after whatever happened."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from aliquot.audit.anchors import Anchor
from aliquot.audit.policy import DAY_US, KeepingPolicy
from aliquot.audit.record import Event, Kind, Outcome, disclosed, read
from aliquot.audit.search import Search
from aliquot.audit.verification import Finding
from aliquot.store.audit import AuditLog
from aliquot.store.audit_file import AuditError

T0 = 1_800_000_000_000_000


def event(number: int, **changes: object) -> Event:
    fields: dict[str, object] = {
        "event": f"e{number}",
        "time_us": T0 + number,
        "kind": Kind.CALL,
        "outcome": Outcome.COMPLETED,
        "request": f"r{number}",
        "agent": f"bot-{number % 3}",
        "namespace": "team-a",
        "cost_nano": number,
        "private": {"user": f"user-{number % 2}@example.com"},
    }
    return Event(**{**fields, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def findings(path: Path, *anchors: Anchor) -> list[Finding]:
    with AuditLog.open(path, read_only=True) as log:
        return [problem.finding for problem in log.problems(anchors)]


def test_many_threads_append_and_every_event_is_there_once_and_chained(path: Path) -> None:
    with AuditLog.open(path) as log:

        def work(first: int) -> None:
            tickets = [log.append(event(first + n)) for n in range(200)]
            for ticket in tickets:
                ticket.result(30)

        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        bodies = [read(record.body) for record in log.records()]
    assert findings(path) == []
    assert Counter(body.event for body in bodies) == Counter(
        f"e{1000 * n + m}" for n in range(5) for m in range(200)
    )
    assert [body.seq for body in bodies] == list(range(1, 1001))


def test_an_event_that_is_told_again_after_a_crash_is_recorded_once(path: Path) -> None:
    for _ in range(2):
        with AuditLog.open(path) as log:
            log.record([event(1), event(2), event(1)])
            log.append(event(2)).result(30)
    with AuditLog.open(path) as log:
        assert [read(record.body).event for record in log.records()] == ["e1", "e2"]


def test_two_processes_go_on_from_each_other(path: Path) -> None:
    with AuditLog.open(path) as one, AuditLog.open(path) as two:
        for number in range(20):
            (one, two)[number % 2].append(event(number)).result(30)

    assert findings(path) == []


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    """A process appends and prints what is on disk, until it is killed in the middle."""
    script = (
        "import sys; from pathlib import Path; from aliquot.store.audit import AuditLog;"
        "from aliquot.audit.record import *\n"
        "log = AuditLog.open(Path(sys.argv[1]))\n"
        "def tell(name): return lambda ticket: print(name, flush=True)\n"
        "for n in range(10**6):\n"
        "    log.append(Event(event=f'e{n}', time_us=n, kind=Kind.CALL, outcome=Outcome.DONE))"
        ".add_done_callback(tell(f'e{n}'))\n"
        "    if n % 50 == 0: log.flush()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(500)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.stdout.read().split("\n")[:-1]]
    process.stdout.close()
    process.wait()

    with AuditLog.open(path) as log:
        kept = [read(record.body).event for record in log.records()]
        log.append(event(0, event="after")).result(30)
    assert set(told) <= set(kept)
    assert kept == [f"e{n}" for n in range(len(kept))]
    assert findings(path) == []


def edited(path: Path, *statements: str) -> None:
    """Somebody who may write the file."""
    with sqlite3.connect(path) as connection:
        for trigger in ("records_are_not_changed", "records_are_not_deleted"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE records SET body = replace(body, '\"cost_nano\":4', '\"cost_nano\":1') WHERE seq = 5",
            Finding.EDITED,
        ),
        ("UPDATE records SET body = '{}' WHERE seq = 20", Finding.EDITED),
        ("DELETE FROM records WHERE seq = 5", Finding.MISSING),
        ("DELETE FROM records WHERE seq <= 5", Finding.MISSING),
        ("DELETE FROM records WHERE seq > 15", Finding.TRUNCATED),
        ("DELETE FROM records", Finding.TRUNCATED),
        ("UPDATE records SET seq = 100 WHERE seq = 5", Finding.ORDER),
        ("UPDATE log SET id = 'other'", Finding.FOREIGN),
        ("UPDATE records SET private = replace(private, 'user-1', 'user-9') WHERE seq = 4", Finding.PRIVATE),
        ("DELETE FROM records WHERE seq <= 5; UPDATE log SET upto = 5", Finding.MISSING),
    ],
)
def test_tampering_with_the_file_is_found(path: Path, statement: str, finding: Finding) -> None:
    with AuditLog.open(path) as log:
        log.record([event(number) for number in range(20)])
        anchor = log.anchor(T0)
    edited(path, *statement.split("; "))

    assert finding in findings(path, anchor)


def test_mistakes_are_refused_by_the_file_itself(path: Path) -> None:
    with AuditLog.open(path) as log:
        log.record([event(1)])
    connection = sqlite3.connect(path)
    for statement in ("DELETE FROM records", "UPDATE records SET body = '{}'"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    connection.close()


def test_retention_drops_the_oldest_keeps_their_totals_and_stays_verifiable(path: Path) -> None:
    policy = KeepingPolicy(keep_days=10)
    with AuditLog.open(path) as log:
        log.record([event(number, time_us=T0 + number * DAY_US) for number in range(20)])
        early = log.anchor(T0)
        totals = log.retain(policy, T0 + 19 * DAY_US)
        log.record([event(100)])
        assert (totals.records, totals.cost_nano) == (9, sum(range(9)))
        assert log.retain(policy, T0 + 19 * DAY_US).records == 0
        kept = [read(record.body) for record in log.records()]

    assert findings(path, early) == []
    assert kept[0].seq == 10
    told = next(body for body in kept if body.kind is Kind.RETENTION)
    assert (told.details["upto"], told.details["cost_nano"]) == (9, sum(range(9)))


def test_a_whole_log_may_be_dropped(path: Path) -> None:
    with AuditLog.open(path) as log:
        log.record([event(1), event(2)])
        log.retain(KeepingPolicy(keep_days=1), T0 + 9 * DAY_US)
        kept = [read(record.body).kind for record in log.records()]

    assert kept == [Kind.RETENTION]
    assert findings(path) == []


def test_redaction_by_age_and_by_person_leaves_nothing_of_it_in_the_file(path: Path) -> None:
    policy = KeepingPolicy(private_days={"address": 3})
    with AuditLog.open(path) as log:
        private = {"user": "ann@example.com", "address": "192.0.2.77"}
        log.record([event(1, private=private), event(2, private={"user": "bob@example.com"})])
        assert log.redact(policy, T0 + 2 * DAY_US) == 0
        assert log.redact(policy, T0 + 9 * DAY_US) == 1
        first = next(iter(log.records()))
        assert disclosed(read(first.body), first.private) == {"user": "ann@example.com"}
        assert log.redact(policy, T0 + 9 * DAY_US, user="ann@example.com", by="dpo") == 1
        assert [read(record.body).kind for record in log.records()][2:] == [Kind.REDACTION] * 2

    assert findings(path) == []
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"bob@example.com" in content
    assert b"ann@example.com" not in content
    assert b"192.0.2.77" not in content


@pytest.mark.parametrize(
    "search",
    [
        Search(),
        Search(agent="bot-1"),
        Search(agent="bot-1", since_us=T0 + 5, until_us=T0 + 11),
        Search(namespace="team-b"),
        Search(request="r7"),
        Search(outcome=Outcome.DENIED),
        Search(kind=Kind.CALL, after=12),
    ],
)
def test_searching_the_file_finds_what_the_conditions_say(path: Path, search: Search) -> None:
    with AuditLog.open(path) as log:
        log.record([event(n, outcome=(Outcome.DENIED, Outcome.DONE)[n % 2]) for n in range(20)])
        everything = list(log.records())
        wanted = [record for record in everything if search.matches(read(record.body))]

        assert list(log.records(search)) == wanted
        assert list(log.records(search, newest=3)) == wanted[-3:]


def test_a_log_that_cannot_be_written_says_so_to_whoever_waits(path: Path) -> None:
    with AuditLog.open(path) as log:
        log.record([event(1)])
        log._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(AuditError, match="readonly"):
            log.append(event(2)).result(30)
        assert log.problem is not None
        log._connection.execute("PRAGMA query_only = OFF")
        log.append(event(3)).result(30)
        assert log.problem is None


def test_files_that_are_no_logs_are_named_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no database at all" * 100)
    with pytest.raises(AuditError, match="name another file"):
        AuditLog.open(tmp_path / "text")
    with pytest.raises(AuditError, match="does not exist"):
        AuditLog.open(tmp_path / "none", read_only=True)


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    with AuditLog.open(path) as log:
        log.record([event(1)])
        modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert modes == {0o600}
