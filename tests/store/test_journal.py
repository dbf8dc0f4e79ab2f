"""The journal keeps every decision with its inputs, bounded in size, through kills and damage."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.model.core import Node, NodeStatus, Pod, PodStatus
from aliquot.model.meta import KubernetesObject, ObjectMeta, ObjectRef
from aliquot.model.resource import AllocationResult
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.plan import Admit, Allocate, Decision, Placement, Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.database import JournalError
from aliquot.store.digests import SnapshotDigests, snapshot_digest
from aliquot.store.entries import Retention
from aliquot.store.journal import Journal
from aliquot.store.snapshots import FULL_EVERY

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
POLICY = Policy(managed_drivers=frozenset({"gpu.nvidia.com", "gpu.amd.com"}))


def node(name: str, labels: dict[str, str] | None = None) -> Node:
    return Node(metadata=ObjectMeta(name=name, labels=labels or {}), status=NodeStatus())


def pod(name: str, phase: str = "Pending") -> Pod:
    meta = ObjectMeta(name=name, namespace="team", uid=f"uid-{name}")
    return Pod(metadata=meta, status=PodStatus(phase=phase))


def ref(name: str, kind: str = "Pod") -> ObjectRef:
    return ObjectRef(kind=kind, namespace="team", name=name, uid=f"uid-{name}")


def waiting(name: str, reason: Reason = Reason.DEVICES_IN_USE, count: int = 1, stamp: int = 0) -> Decision:
    verdict = Verdict(reason=reason, facts=(Fact(test="inUse", count=count, unit="devices"),))
    return Decision(
        id=f"{name}-{stamp}", workload=ref(name), queue="red", pods=(ref(name),), verdict=verdict, position=1
    )


def placed(name: str, stamp: int = 0) -> Decision:
    identity = f"{name}-{stamp}"
    claim = ObjectRef(kind="ResourceClaim", namespace="team", name=f"{name}-gpu", uid="c")
    actions = (
        Allocate(
            decision=identity, claim=claim, resource_version="7", allocation=AllocationResult(), consumers=()
        ),
        Admit(decision=identity, placements=(Placement(pod=ref(name), node="n1"),)),
    )
    return Decision(id=identity, workload=ref(name), queue="red", pods=(ref(name),), actions=actions)


def plan(*decisions: Decision) -> Plan:
    return Plan(decisions=decisions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_a_decision_is_found_by_workload_pod_id_and_time(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.record(NOW, Snapshot.of([pod("a"), pod("b")]), POLICY, plan(placed("a"), waiting("b")))
        later = NOW + timedelta(seconds=5)
        journal.record(later, Snapshot.of([pod("a"), pod("b")]), POLICY, plan(placed("b", 1)))

        def ids(**conditions: object) -> list[str]:
            return [entry.decision.id for entry in journal.entries(**conditions)]  # type: ignore[arg-type]

        assert ids() == ["a-0", "b-0", "b-1"]
        assert ids(workload=ref("b")) == ["b-0", "b-1"]
        assert ids(workload=ObjectRef(namespace="team", name="b")) == ["b-0", "b-1"]
        assert ids(workload=ref("b", kind="Job")) == []
        assert ids(pod=("team", "a")) == ["a-0"]
        assert ids(decision="b-1") == ["b-1"]
        assert ids(since=later) == ["b-1"]
        assert ids(until=later) == ["a-0", "b-0"]
        assert ids(limit=1) == ["b-1"]
        assert ids(after=2) == ["b-1"]


def test_an_entry_gives_back_the_whole_decision(path: Path) -> None:
    decision = placed("a")
    with Journal.open(path) as journal:
        (written,) = journal.record(NOW, Snapshot.of([pod("a")]), POLICY, plan(decision))
    with Journal.open(path, read_only=True) as journal:
        (read,) = journal.entries()

    assert read == written
    assert read.decision == decision
    assert read.time == NOW


def test_a_record_gives_back_snapshot_policy_time_and_plan(path: Path) -> None:
    snapshot = Snapshot.of([node("n1", {"zone": "a"}), pod("a"), pod("b", "Running")])
    whole = plan(placed("a"), waiting("b"))
    with Journal.open(path) as journal:
        (entry, _) = journal.record(NOW, snapshot, POLICY, whole)
    with Journal.open(path, read_only=True) as journal:
        recorded = journal.recorded(entry.record)

    assert recorded is not None
    assert (recorded.snapshot, recorded.policy, recorded.time, recorded.plan) == (
        snapshot,
        POLICY,
        NOW,
        whole,
    )
    assert recorded.snapshot_digest == entry.snapshot == snapshot_digest(snapshot).hex()


def test_a_record_that_is_not_there_is_none(path: Path) -> None:
    with Journal.open(path) as journal:
        assert journal.recorded(17) is None


NEWS = {
    "the same wait again": (waiting("a", stamp=1), 5, 0),
    "another place in the queue": (waiting("a", stamp=1), 5, 0),
    "changed facts within a minute": (waiting("a", count=2, stamp=1), 59, 0),
    "changed facts after a minute": (waiting("a", count=2, stamp=1), 60, 1),
    "the same facts after a minute": (waiting("a", stamp=1), 60, 0),
    "another reason": (waiting("a", Reason.OVER_LIMIT, stamp=1), 1, 1),
    "placed": (placed("a", 1), 1, 1),
}


@pytest.mark.parametrize("reopened", [False, True], ids=["same process", "after a restart"])
@pytest.mark.parametrize("case", NEWS)
def test_only_news_is_written(path: Path, case: str, reopened: bool) -> None:
    decision, seconds, expected = NEWS[case]
    snapshot = Snapshot.of([pod("a")])
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal.open(path))
        journal.record(NOW, snapshot, POLICY, plan(waiting("a")))
        if reopened:
            journal = stack.enter_context(Journal.open(path))
        written = journal.record(NOW + timedelta(seconds=seconds), snapshot, POLICY, plan(decision))

    assert len(written) == expected


def test_listeners_hear_entries_after_they_are_on_disk_until_they_leave(path: Path) -> None:
    heard: list[tuple[str, int]] = []
    with Journal.open(path) as journal, Journal.open(path, read_only=True) as other:
        leave = journal.subscribe(
            lambda entries: heard.append((entries[0].decision.id, len(other.entries())))
        )
        journal.record(NOW, Snapshot(), POLICY, plan(waiting("a")))
        journal.record(NOW, Snapshot(), POLICY, plan(waiting("a", Reason.OVER_LIMIT, stamp=1)))
        leave()
        journal.record(NOW, Snapshot(), POLICY, plan(placed("a", 2)))

    assert heard == [("a-0", 1), ("a-1", 2)]


names = st.sampled_from([f"o{number}" for number in range(6)])
states = st.dictionaries(names, st.sampled_from(["Pending", "Running", "Failed"]), max_size=6)


@given(st.lists(states, max_size=12))
def test_the_digest_follows_changes_as_if_taken_afresh(series: list[dict[str, str]]) -> None:
    digests = SnapshotDigests()
    kept: dict[tuple[str, str], KubernetesObject] = {}
    for state in series:
        kept = {item: kept.get(item) or pod(*item) for item in state.items()}
        snapshot = Snapshot.of(kept.values())
        change = digests.advance(snapshot)
        assert change.digest == snapshot_digest(snapshot)
    assert len(digests.all()) == len(kept)


def test_decoding_an_unchanged_object_again_is_no_change() -> None:
    digests = SnapshotDigests()
    first = digests.advance(Snapshot.of([pod("a"), pod("b")]))
    second = digests.advance(Snapshot.of([pod("a"), pod("b")]))

    assert (second.digest, second.added, second.removed) == (first.digest, (), ())


def test_every_snapshot_of_a_long_series_can_be_loaded(path: Path) -> None:
    """Goes over the bound after which a snapshot is stored in full."""
    series = []
    base = [node(f"n{number}") for number in range(5)]
    with Journal.open(path) as journal:
        for step in range(FULL_EVERY * 2 + 3):
            snapshot = Snapshot.of([*base[: step % 6], pod("a", "Running" if step % 2 else "Pending")])
            journal.record(NOW + timedelta(seconds=step), snapshot, POLICY, plan(placed("a", step)))
            series.append(snapshot)
        infos = journal.records()
        loaded = [journal.recorded(info.id) for info in infos]
        assert journal.problems() == ()

    assert [found.snapshot for found in loaded if found] == series


def test_the_size_is_bounded_and_what_is_kept_stays_sound(path: Path) -> None:
    retention = Retention(records=20, entries=50)
    with Journal.open(path, retention=retention) as journal:
        for step in range(700):
            snapshot = Snapshot.of([node("n1"), pod("a", f"phase-{step}")])
            journal.record(NOW + timedelta(seconds=step), snapshot, POLICY, plan(placed("a", step)))
        infos, entries = journal.records(), journal.entries(limit=1000)
        newest = journal.recorded(infos[-1].id)
        oldest = journal.recorded(infos[0].id)
        assert journal.problems() == ()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        objects = connection.execute("SELECT count(*) FROM objects").fetchone()[0]

    assert 20 <= len(infos) <= 24 + 64
    assert 50 <= len(entries) <= 60 + 64
    assert objects <= 2 * FULL_EVERY + 24 + 64
    assert newest is not None
    assert newest.snapshot.pods[0].status.phase == "phase-699"
    assert oldest is not None
    assert oldest.snapshot.pods[0].status.phase == f"phase-{700 - len(infos)}"


def test_entries_and_records_cannot_be_changed(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.record(NOW, Snapshot(), POLICY, plan(waiting("a")))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in ("entries", "records"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(f"UPDATE {table} SET time = ''")


DAMAGE = {
    "entry": (
        "DROP TRIGGER entries_are_final; UPDATE entries SET body = replace(body, 'red', 'blu') WHERE id = 2",
        "entry 2",
    ),
    "an entry taken out": ("DELETE FROM entries WHERE id = 2", "entry 3"),
    "object": ("UPDATE objects SET body = x'00'", "object "),
    "object gone": ("DELETE FROM objects", "objects are not there"),
    "snapshot": ("UPDATE snapshots SET added = x''", "does not add up"),
    "snapshot gone": ("PRAGMA foreign_keys = OFF; DELETE FROM snapshots", "its snapshot is not there"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_the_check_names_damage(path: Path, case: str) -> None:
    statement, expected = DAMAGE[case]
    with Journal.open(path) as journal:
        for step in range(3):
            journal.record(NOW, Snapshot.of([pod("a", str(step))]), POLICY, plan(placed("a", step)))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement)
    with Journal.open(path) as journal:
        problems = journal.problems()

    assert any(expected in problem for problem in problems), problems


def test_loading_damaged_content_is_a_clear_error(path: Path) -> None:
    with Journal.open(path) as journal:
        (entry,) = journal.record(NOW, Snapshot.of([pod("a")]), POLICY, plan(waiting("a")))
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE objects SET body = x'0102'")
        with pytest.raises(JournalError, match=r"object .* cannot be unpacked.*move journal\.db"):
            journal.recorded(entry.record)


def test_a_file_that_is_no_journal_is_named_with_the_way_out(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to look like one" * 100)
    with pytest.raises(JournalError, match=r"journal\.db: is damaged.*move journal\.db"):
        Journal.open(path)


def test_a_truncated_file_is_reported(path: Path) -> None:
    with Journal.open(path) as journal:
        for step in range(50):
            journal.record(NOW, Snapshot.of([pod("a", str(step))]), POLICY, plan(placed("a", step)))
    path.write_bytes(path.read_bytes()[: 5 * 4096])

    def use() -> None:
        with Journal.open(path) as journal:
            assert journal.problems()
            journal.entries()

    with pytest.raises(JournalError, match=r"damaged|malformed|disk image"):
        use()


def test_a_missing_journal_is_not_created_by_a_reader(path: Path) -> None:
    with pytest.raises(JournalError, match="does not exist"):
        Journal.open(path, read_only=True)

    assert not path.exists()


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    Journal.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="has schema 99"):
        Journal.open(path)


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from aliquot.model.core import Pod, PodStatus
from aliquot.model.meta import ObjectMeta, ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Decision, Plan
from aliquot.scheduling.policy import Policy
from aliquot.model.verdicts import Reason, Verdict
from aliquot.store.journal import Journal

journal = Journal.open(Path(sys.argv[1]))
start = datetime(2026, 3, 1, tzinfo=UTC)
first = len(journal.entries(limit=100000))
for step in range(first, first + 100000):
    pod = Pod(metadata=ObjectMeta(name="p", namespace="team"), status=PodStatus(phase=str(step)))
    workload = ObjectRef(kind="Pod", namespace="team", name="p", uid=str(step))
    decision = Decision(id=str(step), workload=workload, queue="q", pods=(workload,),
                        verdict=Verdict(reason=Reason.OVER_LIMIT))
    journal.record(start + timedelta(seconds=step), Snapshot.of([pod]), Policy(), Plan(decisions=(decision,)))
    print(step, flush=True)
"""


def test_a_killed_writer_loses_nothing_it_has_reported(path: Path) -> None:
    for wanted in (1, 3, 7, 20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout is not None
        reported = ""
        for _ in range(wanted):
            reported = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        reported = (process.stdout.read().splitlines() or [reported])[-1]
        process.stdout.close()
        process.wait()
        with Journal.open(path) as journal:
            ids = [entry.decision.id for entry in journal.entries(limit=100_000)]
            assert journal.problems() == ()
            assert all(journal.recorded(info.id) for info in journal.records())

        assert ids == [str(step) for step in range(len(ids))]
        assert len(ids) > int(reported)


def test_a_journal_that_was_prepared_records_as_one_that_was_not(tmp_path: Path) -> None:
    before, after = Snapshot.of([node("n1"), pod("a")]), Snapshot.of([node("n1"), pod("a"), pod("b")])
    plan = Plan(decisions=(placed("b"),))
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.prepare(before)
        (entry,) = journal.record(NOW, after, POLICY, plan)
        recorded = journal.recorded(entry.record)
        assert recorded is not None
        assert (recorded.snapshot, recorded.plan) == (after, plan)
        assert journal.problems() == ()
