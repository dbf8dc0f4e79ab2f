"""What a controller's journal tells of the work before."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.simulation.clusters import cluster, queue, workload

from aliquot.cli.cluster_input import load
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.simulation.past_work import with_ends
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.workload import Workload
from aliquot.store.entries import Retention
from aliquot.store.journal import Journal
from aliquot.traces.recorded import Past, read_journal

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600


def told(path: Path, *workloads: Workload, until: int = 24 * HOUR) -> Past:
    """What the journal tells of a controller that decided about these workloads on one node of 8 devices."""
    settings = Settings(start=START, sample_seconds=0, until=until)
    policy = Policy(every_pod=True)
    simulation = Simulation.of(cluster(1, "plugin", queue("a", 8)), workloads, settings, policy)
    with Journal.open(path / "journal.db", retention=Retention(records=20_000)) as journal:
        while simulation.step():
            now = simulation.world.moment(simulation.now)
            journal.record(now, simulation.last_snapshot, policy, simulation.last_plan)
    return read_journal(path / "journal.db")


def job(name: str, **fields: object) -> Workload:
    return workload(name, **({"queue": "a", "devices": 8} | fields))


def gang(name: str, **fields: object) -> Workload:
    return job(name, **({"pods": 2, "devices": 4} | fields))


@pytest.mark.parametrize(
    ("interval", "work"),
    [(600, 2 * HOUR), (None, 2 * HOUR)],
    ids=["saved every ten minutes", "never saved"],
)
def test_work_that_had_to_leave_has_as_much_to_do_as_it_did_in_the_end(
    tmp_path: Path, interval: int | None, work: int
) -> None:
    """Interrupted after half an hour for an hour, so that it ends three hours and a half after it began."""
    past = told(
        tmp_path,
        gang("low", run_seconds=work, checkpoint_seconds=interval, preemptible=True),
        gang("high", submitted=1800, run_seconds=HOUR, priority=100),
        gang("last", submitted=1900, run_seconds=60),
    )
    found = {item.name: item.run_seconds for item in past.workloads}
    assert found.keys() == {"low", "high", "last"}
    assert found["low"] == pytest.approx(work, abs=120)
    assert found["high"] == pytest.approx(HOUR, abs=60)
    assert [item.run_seconds for item in past.history] == [item.run_seconds for item in past.workloads]


def test_a_bare_pod_that_was_evicted_has_not_ended(tmp_path: Path) -> None:
    past = told(
        tmp_path,
        job("low", run_seconds=2 * HOUR, preemptible=True),
        job("high", submitted=1800, run_seconds=HOUR, priority=100),
        job("last", submitted=1900, run_seconds=60),
    )
    known = {item.workload.name: item for item in past.history}
    assert known["low"].run_seconds is None
    assert known["low"].worked_seconds == pytest.approx(1800, abs=120)
    assert known["low-r1"].run_seconds == pytest.approx(2 * HOUR, abs=120)


def test_work_that_goes_on_at_the_end_gets_an_end_from_what_is_known(tmp_path: Path) -> None:
    jobs = [job(f"job-{number}", submitted=number, run_seconds=HOUR + 60 * number) for number in range(8)]
    past = told(tmp_path, *jobs, until=6 * HOUR + 30 * 60)
    going = {item.name for item in past.workloads if item.run_seconds is None}
    assert going == {"job-6", "job-7"}
    found, endless = with_ends(past.history, past.snapshot)
    assert endless == 0
    assert all(HOUR <= (item.run_seconds or 0) <= HOUR + 480 for item in found)
    assert with_ends(past.history, past.snapshot) == (found, endless)


def test_nothing_is_made_up_of_what_nothing_is_known_of(tmp_path: Path) -> None:
    past = told(tmp_path, job("runs", run_seconds=9 * HOUR), until=HOUR)
    found, endless = with_ends(past.history, past.snapshot)
    assert endless == 1
    assert [item.run_seconds for item in found] == [None]
    assert with_ends((), Snapshot()) == ([], 0)


@pytest.mark.parametrize("said", [1200, None])
def test_what_ended_between_two_records_ended_when_it_said_or_in_the_middle(
    tmp_path: Path, said: int | None
) -> None:
    """While nothing waits there is no news to record: the end of the first is seen when the second comes."""
    past = told(
        tmp_path,
        job("first", run_seconds=1000, expected_seconds=said),
        job("second", submitted=4000, run_seconds=60),
    )
    found = {item.name: item.run_seconds for item in past.workloads}
    assert found["first"] == pytest.approx(1200 if said else 2000, abs=60)


@pytest.mark.parametrize("first", [True, False], ids=["there at first", "came later"])
def test_a_claim_that_pods_share_is_there_for_them(tmp_path: Path, first: bool) -> None:
    names = [f"examples/{name}" for name in ("00-namespaces.yaml", "10-queues.yaml", "20-one-gpu.yaml")]
    before = load(["fleets/h100-a100.yaml", *names], START).snapshot
    later = START + timedelta(minutes=1)
    with_pods = load(["fleets/h100-a100.yaml", *names, "examples/21-two-pods-one-claim.yaml"], later).snapshot
    with Journal.open(tmp_path / "journal.db") as journal:
        for seen, now in ((with_pods if first else before, START), (with_pods, later)):
            journal.record(now, seen, Policy(), decide(seen, Policy(), now))
    past = read_journal(tmp_path / "journal.db")
    assert {item.name for item in past.workloads} == {"one-gpu", "shared-gpu-1", "shared-gpu-2"}
    result = Simulation.of(past.snapshot, past.workloads, Settings(start=past.start, until=HOUR)).run()
    placed = {item.name: item.placed for item in result.workloads}
    assert placed["shared-gpu-1"] == placed["shared-gpu-2"] == (0 if first else 59), (
        "made within the second before"
    )
