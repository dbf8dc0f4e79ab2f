"""What would have been foretold some hours ago, and what became of it."""

from datetime import UTC, datetime
from pathlib import Path

from tests.simulation.clusters import cluster, queue, workload

from aliquot.cli.expected import look_ahead
from aliquot.cli.looking_back import look_back
from aliquot.scheduling.policy import Policy
from aliquot.simulation.expecting import Terms
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.store.entries import Retention
from aliquot.store.journal import Journal
from aliquot.traces.recorded import read_journal

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600
POLICY = Policy(every_pod=True)


def journaled(path: Path, hours: float) -> Simulation:
    """A controller has decided for so long about work of an hour each, of which one fits at a time."""
    jobs = [
        workload(f"job-{number}", submitted=600 * number, devices=8, run_seconds=HOUR, queue="a")
        for number in range(10)
    ]
    settings = Settings(start=START, sample_seconds=0, until=round(hours * HOUR))
    simulation = Simulation.of(cluster(1, "plugin", queue("a", 8)), jobs, settings, POLICY)
    with Journal.open(path, retention=Retention(records=20_000)) as journal:
        while simulation.step():
            now = simulation.world.moment(simulation.now)
            journal.record(now, simulation.last_snapshot, POLICY, simulation.last_plan)
    return simulation


def test_what_waited_some_hours_ago_is_compared_with_when_it_started(tmp_path: Path) -> None:
    simulation = journaled(tmp_path / "journal.db", 6.5)
    now = simulation.world.moment(simulation.now)
    past = read_journal(tmp_path / "journal.db")
    found = look_back(tmp_path / "journal.db", past, now, Settings(sample_seconds=0), Terms(ahead=12 * HOUR))

    assert len({item.age for item in found}) == 3
    assert any(item.started for item in found)
    assert any(not item.started for item in found)
    assert all(item.waited <= item.age for item in found)
    # One starts every hour, so that at every moment the next is to start within that.
    for age in {item.age for item in found}:
        assert min(item.waited for item in found if item.age == age) <= HOUR + 60
    assert all(item.waited == item.age for item in found if not item.started)


def test_a_journal_tells_when_what_waits_may_start(tmp_path: Path) -> None:
    simulation = journaled(tmp_path / "journal.db", 6.5)
    snapshot, now = simulation.world.cluster.snapshot(), simulation.world.moment(simulation.now)
    seen = look_ahead(snapshot, POLICY, now, tmp_path / "journal.db", Terms(futures=3, ahead=12 * HOUR))
    by_name = {name: item for (_, _, name), item in seen.items()}

    assert by_name.keys() == {"job-7", "job-8", "job-9"}
    assert by_name["job-7"].holds(HOUR // 2)
    assert by_name["job-8"].holds(3 * HOUR // 2)
    assert not by_name["job-8"].holds(60)
