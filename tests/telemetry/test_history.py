"""The history of usage: sums at every resolution, repeats, lateness, forgetting, crashes."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aliquot.model.meta import ObjectRef
from aliquot.store.usage import DAY, MINUTE, Keep, UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import NOBODY, Owner, Series, Subject

PLACE = Subject("node-1", "gpu.nvidia.com", "node-1", "gpu-0")
NOW = 1_790_000_000_000 // DAY * DAY
POD = ObjectRef(kind="Pod", namespace="ml", name="train-0", uid="u")
SOMEBODY = Owner(queue="red", pod=POD, workload=ObjectRef(kind="Job", namespace="ml", name="train"))


def level(start: int, values: list[int], step: int = MINUTE, owner: Owner = NOBODY) -> Series:
    rows = [(start + (place + 1) * step, step, value) for place, value in enumerate(values)]
    return Series.of(Metric.SM_BUSY, PLACE, rows, owner)


def test_what_was_written_is_read_with_its_owner_and_provenance(tmp_path: Path) -> None:
    with UsageHistory.open(tmp_path / "usage.db") as history:
        shared = Series.of(
            Metric.ENERGY,
            PLACE,
            [(NOW - MINUTE, 3 * MINUTE, 900)],
            SOMEBODY,
            Provenance.ESTIMATED,
            "by shares",
        )
        history.write([level(NOW - 3 * MINUTE, [10, 20]), shared], NOW)
        found = history.read(NOW - DAY, NOW)
    assert [item.metric for item in found] == [Metric.SM_BUSY, Metric.ENERGY]
    assert list(found[0]) == [(NOW - 2 * MINUTE, MINUTE, 10), (NOW - MINUTE, MINUTE, 20)]
    assert (found[1].owner, found[1].provenance, found[1].rule) == (
        SOMEBODY,
        Provenance.ESTIMATED,
        "by shares",
    )
    assert found[1].total() == 900


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    values=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=40),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=8),
    step=st.sampled_from([7_000, 15_000, 61_000]),
)
def test_windows_that_overlap_and_come_in_any_order_count_each_moment_at_most_once(
    tmp_path: Path, values: list[int], cuts: list[tuple[int, int]], step: int
) -> None:
    start = NOW - DAY
    whole = level(start, values, step)
    path = tmp_path / "usage.db"
    for name in tmp_path.iterdir():
        name.unlink()
    with UsageHistory.open(path) as history:
        for low, length in cuts:
            history.write([whole.between(start + low * step, start + (low + length) * step)], NOW)
        partial = history.read(start, NOW)
        if partial:
            assert partial[0].covered <= whole.covered
        history.write([whole], NOW)
        again = history.write([whole], NOW)
        assert (again.new, again.late) == (0, 0)
        (minutes,) = history.read(start, NOW)
        (hours,) = history.read(start, NOW, finest=60 * MINUTE)
    assert minutes.covered == hours.covered <= whole.covered
    if cuts == [(0, 40)]:
        assert minutes.covered == whole.covered


def test_minutes_that_come_late_fill_what_was_not_known(tmp_path: Path) -> None:
    start = NOW - 100 * MINUTE
    with UsageHistory.open(tmp_path / "usage.db") as history:
        history.write([level(start + 60 * MINUTE, [5] * 10)], NOW)
        late = history.write([level(start, [7] * 10)], NOW)
        assert (late.new, late.late) == (0, 10)
        assert history.write([level(start, [7] * 10)], NOW).repeated == 10
        for finest in (MINUTE, 10 * MINUTE, 60 * MINUTE):
            (found,) = history.read(0, NOW, finest=finest)
            assert found.total() == (5 + 7) * 10 * MINUTE
            assert found.covered == 20 * MINUTE


def test_forgetting_minutes_changes_no_sum(tmp_path: Path) -> None:
    days = 3
    per_day = DAY // MINUTE
    with UsageHistory.open(tmp_path / "usage.db") as history:
        total = covered = 0
        for day in range(days):
            begin = NOW + day * DAY
            series = Series.of(
                Metric.ENERGY,
                PLACE,
                [
                    (begin + (place + 1) * MINUTE, MINUTE, (place * 37 + day) % 1000)
                    for place in range(per_day)
                ],
            )
            total += series.total()
            covered += series.covered
            history.write([series], begin + DAY)
        end = NOW + days * DAY
        history.write([], end + 20 * MINUTE)
        (found,) = history.read(0, end + DAY)
        assert (found.total(), found.covered) == (total, covered)
        spans = set(found.spans.tolist())
        assert spans == {MINUTE, 10 * MINUTE}
        history.write([], end + 40 * DAY)
        (found,) = history.read(0, end + DAY)
        assert (found.total(), found.covered) == (total, covered)
        assert set(found.spans.tolist()) == {60 * MINUTE}
        history.write([], end + 500 * DAY)
        assert history.read(0, end + DAY) == ()


def test_the_file_stays_within_its_bound(tmp_path: Path) -> None:
    bound = 400_000
    with UsageHistory.open(tmp_path / "usage.db", keep=Keep(most_bytes=bound)) as history:
        for day in range(8):
            begin = NOW + day * DAY
            history.write(
                [level(begin, [1] * 1440, owner=owner) for owner in (NOBODY, SOMEBODY)], begin + DAY
            )
        connection = sqlite3.connect(tmp_path / "usage.db")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        assert (pages - free) * 4096 <= bound
        found = history.read(0, NOW + 9 * DAY, devices=True)
        assert found[0].covered == 8 * DAY
        connection.close()


def test_devices_and_holders_are_read_apart(tmp_path: Path) -> None:
    with UsageHistory.open(tmp_path / "usage.db") as history:
        history.write([level(NOW - MINUTE, [1]), level(NOW - MINUTE, [1], owner=SOMEBODY)], NOW)
        assert [item.owner for item in history.read(0, NOW, devices=True)] == [NOBODY]
        assert [item.owner for item in history.read(0, NOW, devices=False)] == [SOMEBODY]
        assert history.read(0, NOW, metrics=[Metric.POWER]) == ()
        assert history.until() == NOW


_WRITER = """
import sys
from pathlib import Path
from aliquot.store.usage import MINUTE, UsageHistory
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Series, Subject
start = int(sys.argv[2])
history = UsageHistory.open(Path(sys.argv[1]))
for minute in range(100_000):
    end = start + (minute + 1) * MINUTE
    rows = [Series.of(Metric.ENERGY, Subject(device=f"gpu-{n}"), [(end, MINUTE, 1)]) for n in range(5)]
    history.write(rows, end)
    print(minute, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_writes_and_can_repeat_them(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    told = -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(NOW)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told = int(line)
                if told >= 20:
                    os.kill(process.pid, signal.SIGKILL)
                    break
            process.wait()
        with UsageHistory.open(path) as history:
            found = history.read(0, NOW + DAY)
        assert len({item.covered for item in found}) == 1
        assert all(item.total() == item.covered // MINUTE for item in found)
        assert found[0].covered // MINUTE >= told + 1


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE a (b)")
    connection.close()
    with pytest.raises(HistoryError, match="something else"):
        UsageHistory.open(other)
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    with pytest.raises(HistoryError, match="damaged"):
        UsageHistory.open(tmp_path / "junk.db")
    with pytest.raises(HistoryError, match="does not exist"):
        UsageHistory.open(tmp_path / "none.db", read_only=True)
