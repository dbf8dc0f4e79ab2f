"""The recorder: every minute once, whatever its pauses, restarts and failures."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.telemetry.cluster import an_hour, small
from tests.telemetry.prometheus_server import load, prometheus

from aliquot.store.usage import UsageHistory
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.holdings import facts
from aliquot.telemetry.settings import Settings
from aliquot.usage.joining import joined_usage
from aliquot.usage.metrics import Metric
from aliquot.usage.series import NOBODY, Series
from aliquot.web.usage.looking import Looker
from aliquot.web.usage.recording import LAG_MS, MOST_BEHIND_MS, Recorder

NOW = 1_790_000_000_000 // 3_600_000 * 3_600_000
MINUTE = 60_000


def totals(series: tuple[Series, ...]) -> dict[tuple[object, ...], tuple[int, int]]:
    return {
        (item.metric, item.subject, item.owner, item.provenance): (item.total(), item.covered)
        for item in series
        if item.metric is not Metric.XID
    }


@pytest.mark.parametrize(
    "moments",
    [
        [60],
        list(range(1, 62, 1)),
        [7, 8, 9, 31, 31, 32, 60, 60],
        [60, 20, 40],
    ],
    ids=["at once", "minute by minute", "with pauses and repeats", "with a clock that goes back"],
)
async def test_an_hour_is_recorded_once_however_it_is_cut(tmp_path: Path, moments: list[int]) -> None:
    cluster = small()
    load(tmp_path, an_hour(cluster, NOW).text())
    async with prometheus(tmp_path) as url:
        settings = Settings(prometheus=Endpoint(url))
        told: list[str] = []
        for moment in moments:
            # Opened anew each time: as after a restart.
            with UsageHistory.open(tmp_path / "usage.db") as history:
                recorder = Recorder(settings, history, lambda: cluster.after, tell=told.append)
                await recorder.step(NOW + (moment - 60) * MINUTE + LAG_MS)
        collected = await Collector(settings).collect(NOW - 61 * MINUTE, NOW)
    known = facts(cluster.report())
    usage = joined_usage(collected.readings, known.devices, known.tenures, known.owners)
    with UsageHistory.open(tmp_path / "usage.db", read_only=True) as history:
        found = history.read(NOW - MOST_BEHIND_MS, NOW + MINUTE)
    whole = tuple(item for own in usage.devices.values() for item in own.values())
    held = tuple(item for item in usage.held if item.owner != NOBODY)
    expected = totals(whole + held)
    assert set(totals(found)) == set(expected)
    for key, (total, covered) in totals(found).items():
        # Levels are kept as averages of minutes, which are whole numbers.
        assert covered == expected[key][1]
        assert total == pytest.approx(expected[key][0], abs=covered)
    assert told == []


async def test_what_could_not_be_read_is_read_later_and_told_once(tmp_path: Path) -> None:
    cluster = small()
    load(tmp_path, an_hour(cluster, NOW).text())
    told: list[str] = []
    with UsageHistory.open(tmp_path / "usage.db") as history:
        dead = Settings(prometheus=Endpoint("http://127.0.0.1:1"))
        recorder = Recorder(dead, history, lambda: cluster.after, tell=told.append)
        for minutes in (2, 1):
            written = await recorder.step(NOW - minutes * MINUTE)
            assert (written.new, written.late) == (0, 0)
        assert len(told) == 1
        assert "cannot be reached" in told[0]
        async with prometheus(tmp_path) as url:
            alive = Settings(prometheus=Endpoint(url))
            recorder = Recorder(alive, history, lambda: cluster.after, tell=told.append)
            written = await recorder.step(NOW + LAG_MS)
        assert written.new > 1000
        assert len(told) == 1


async def test_the_last_minutes_of_a_pod_that_is_gone_are_its_workloads(tmp_path: Path) -> None:
    cluster = small()
    load(tmp_path, an_hour(cluster, NOW).text())
    snapshot = cluster.after
    gone = msgspec.structs.replace(
        snapshot,
        pods=tuple(item for item in snapshot.pods if item.name != "busy"),
        resource_claims=tuple(item for item in snapshot.resource_claims if item.name != "busy"),
    )
    async with prometheus(tmp_path) as url:
        with UsageHistory.open(tmp_path / "usage.db") as history:
            settings = Settings(prometheus=Endpoint(url))
            recorder = Recorder(settings, history, lambda: snapshot)
            await recorder.step(NOW - 10 * MINUTE)
            snapshot = gone
            await recorder.step(NOW + LAG_MS)
            found = history.read(NOW - 3_600_000, NOW, metrics=[Metric.ENGINE_BUSY], devices=False)
    (busy,) = [item for item in found if item.owner.pod is not None and item.owner.pod.name == "busy"]
    assert busy.owner.queue == "red"
    assert busy.covered == 60 * MINUTE


async def test_looks_that_keep_what_they_see_remember_who_left(tmp_path: Path) -> None:
    cluster = small()
    load(tmp_path, an_hour(cluster, NOW).text())
    snapshot = cluster.after
    gone = msgspec.structs.replace(
        snapshot, pods=tuple(item for item in snapshot.pods if item.name != "busy")
    )
    async with prometheus(tmp_path) as url:
        with UsageHistory.open(tmp_path / "usage.db") as history:
            settings = Settings(prometheus=Endpoint(url))
            looker = Looker(settings, window_ms=900_000, history=history, keep=True)
            for minutes, seen in ((5, snapshot), (4, snapshot), (3, gone)):
                await looker.look(seen, datetime.fromtimestamp(NOW / 1000 - minutes * 60, UTC))
            found = history.read(NOW - 3_600_000, NOW, metrics=[Metric.ENGINE_BUSY], devices=False)
    (busy,) = [item for item in found if item.owner.pod is not None and item.owner.pod.name == "busy"]
    assert (busy.owner.queue, busy.covered) == ("red", 17 * MINUTE)
