"""Expected starts: what they follow from, and how often they hold."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from benchmarks.foretold import openb
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulation.clusters import cluster, queue, workload

from aliquot.scheduling.policy import Policy
from aliquot.simulation import draws
from aliquot.simulation.calibration import Calibration, Forecast, calibrated
from aliquot.simulation.changes import Scenario
from aliquot.simulation.expecting import Range, Terms, expected_starts
from aliquot.simulation.lasting import Spread
from aliquot.simulation.past_work import Hint, Past, RunTimes, with_ends
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.synthesis import Day, synthesize
from aliquot.simulation.workload import Workload
from aliquot.store.entries import Retention
from aliquot.store.journal import Journal
from aliquot.traces.recorded import read_journal

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600
DAY = 24 * HOUR


def scenario(*workloads: Workload, nodes: int = 1, after: int = 600) -> Scenario:
    """The cluster as these workloads have left it after so many seconds, and nothing of how it goes on."""
    snapshot = cluster(nodes)
    simulation = Simulation.of(snapshot, workloads, Settings(start=START, sample_seconds=0))
    while simulation.now < after and simulation.step():
        pass
    seen = simulation.world.cluster.snapshot()
    now = START + timedelta(seconds=simulation.now)
    return Scenario(snapshot=seen, settings=Settings(start=now, sample_seconds=0))


def by_name(ranges: Mapping[tuple[str, str, str], Range]) -> dict[str, Range]:
    return {key[2]: found for key, found in ranges.items()}


def job(name: str, at: int = 0, **fields: object) -> Workload:
    return workload(name, submitted=at, **({"devices": 8, "run_seconds": HOUR} | fields))


def past(count: int, run_seconds: int | None, **fields: object) -> list[Past]:
    return [
        Past(workload=job(f"past-{number}", **fields), submitted=-DAY * 2, run_seconds=run_seconds)
        for number in range(count)
    ]


def test_what_waits_starts_when_what_runs_says_it_ends() -> None:
    base = scenario(job("runs", expected_seconds=HOUR), job("next", 600))
    found = by_name(expected_starts(base))
    assert found.keys() == {"next"}
    assert found["next"].holds(HOUR - 600)
    assert found["next"].starts == found["next"].futures
    # A quarter more or less than said, then the margins.
    assert found["next"].earliest is not None
    assert found["next"].earliest > HOUR // 2 - 600
    assert found["next"].latest is not None
    assert found["next"].latest < 2 * HOUR


def test_nothing_is_known_of_what_says_nothing() -> None:
    (found,) = expected_starts(scenario(job("runs"), job("next", 600)), terms=Terms(futures=2)).values()
    assert found == Range(earliest=None, latest=None, starts=0, futures=2)
    assert found.holds(None)


def test_like_work_of_the_past_tells_how_long_it_runs() -> None:
    base = scenario(job("runs"), job("next", 600))
    known = by_name(expected_starts(base, past(8, 2 * HOUR)))["next"]
    assert known.holds(2 * HOUR - 600)
    assert known.width is not None
    # Nothing says yet how exactly starts are foretold here, so that the margins are wide.
    assert known.width < 2.5 * HOUR


def test_a_deadline_bounds_what_is_known() -> None:
    base = scenario(job("runs"), job("next", 600))
    pods = tuple(
        replace(pod, spec=replace(pod.spec, active_deadline_seconds=HOUR)) if pod.name == "runs" else pod
        for pod in base.snapshot.pods
    )
    bounded = replace(base, snapshot=replace(base.snapshot, pods=pods))
    found = by_name(expected_starts(bounded))["next"]
    assert found.latest is not None
    assert found.latest <= HOUR * 1.3 + 300


def test_what_fits_now_starts_now_and_nothing_waits_for_nothing() -> None:
    base = scenario(job("runs", devices=1), job("fits", 10**6, devices=1))
    assert expected_starts(base) == {}


def test_work_that_comes_pushes_back_what_waits() -> None:
    base = scenario(job("runs", expected_seconds=HOUR), job("next", 600, priority=0))
    urgent = [
        Past(workload=job(f"urgent-{number}", priority=100), submitted=-number * 1800, run_seconds=HOUR)
        for number in range(60)
    ]
    alone, crowded = by_name(expected_starts(base)), by_name(expected_starts(base, urgent, Terms(futures=3)))
    assert alone["next"].latest is not None
    assert crowded["next"].latest is None or crowded["next"].latest > 2 * alone["next"].latest


def test_equal_inputs_give_equal_ranges() -> None:
    base = scenario(job("runs"), job("next", 600))
    history = past(8, HOUR) + past(8, 3 * HOUR)
    assert expected_starts(base, history) == expected_starts(base, list(history))


@pytest.mark.parametrize(
    ("earliest", "latest", "start", "holds"),
    [
        (10, 20, 10, True),
        (10, 20, 20, True),
        (10, 20, 9, False),
        (10, 20, 21, False),
        (10, None, 10**9, True),
        (10, 20, None, False),
        (10, None, None, True),
        (None, None, 5, False),
        (None, None, None, True),
    ],
)
def test_a_range_holds_what_lies_in_it(
    earliest: int | None, latest: int | None, start: int | None, holds: bool
) -> None:
    assert Range(earliest=earliest, latest=latest, starts=1, futures=1).holds(start) is holds


def test_what_has_not_ended_yet_counts_for_how_long_things_last() -> None:
    blind, seeing = Spread([10, 20, 30]), Spread([10, 20, 30], [40] * 7)
    assert blind.at(0, 0.5) == pytest.approx(20)
    assert seeing.at(0, 0.5) > 40
    # Of ten, one is gone at 10, one at 20, one at 30.
    found = [seeing.at(0, point) for point in (0.0, 0.05, 0.15, 0.25)]
    assert found == pytest.approx([10, 10, 20, 30])


def test_what_has_lasted_longer_than_all_others_lasts_as_long_again() -> None:
    spread = Spread([10, 30, 90, 270] * 5)
    assert spread.at(3000, 0.5) == pytest.approx(6000, rel=0.2)
    assert spread.at(30_000, 0.5) == pytest.approx(60_000, rel=0.2)
    assert spread.at(3000, 0.999) == 10 * 3000


def test_few_of_a_kind_are_held_together_by_what_is_known_of_all() -> None:
    everything = Spread([100.0] * 50)
    few, many = Spread([1000.0] * 2, wider=everything), Spread([1000.0] * 200, wider=everything)
    assert few.at(0, 0.5) == pytest.approx(100)
    assert many.at(0, 0.5) == pytest.approx(1000)
    assert Spread([], wider=everything).at(0, 0.5) == pytest.approx(100)


LASTING = st.lists(st.integers(1, 10_000), max_size=12)


@given(LASTING, LASTING, st.integers(0, 20_000), st.lists(st.floats(0, 0.999), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_point_further_on_lasts_longer_and_never_less_than_so_far(
    ended: list[int], going: list[int], after: int, points: list[float]
) -> None:
    spread = Spread(ended, going)
    found = [spread.at(after, point) for point in sorted(points)]
    assert found == sorted(found)
    assert all(value >= after for value in found)


def test_run_times_of_like_work_come_before_those_of_any() -> None:
    wide, narrow = job("wide", pods=2, minimum=2), job("narrow", devices=1)
    history = [Past(workload=wide, submitted=-9, run_seconds=9000)] * 5
    history += [Past(workload=narrow, submitted=-9, run_seconds=60)] * 5
    known = RunTimes(history)
    assert known.at(wide, Hint(), 0.5) == 9000
    assert known.at(narrow, Hint(), 0.5) == 60
    assert known.at(narrow, Hint(most=30), 0.5) == 30
    assert known.at(replace(narrow, worked_seconds=600), Hint(), 0.5) in range(601, 9001)
    assert RunTimes().at(narrow, Hint(), 0.5) is None
    assert RunTimes().at(narrow, Hint(said=1000), 0.0) == 750


def test_a_calibration_leaves_out_what_cannot_be_known() -> None:
    def forecast(latest: int | None, start: int | None) -> Forecast:
        found = Range(earliest=0, latest=latest, starts=1, futures=1)
        return Forecast(namespace="n", name="w", made=100, submitted=0, range=found, start=start)

    items = (
        forecast(50, 120),
        forecast(50, 200),
        forecast(50, None),
        forecast(None, None),
        forecast(900, None),
    )
    whole = Calibration(forecasts=items, end=500)
    assert len(whole.known()) == 3
    assert whole.held == pytest.approx(1 / 3)
    # Submitted at 0, foretold at 100, started at 120 and 200.
    assert (whole.median_width(), whole.median_wait(), whole.median_left()) == (50, 120, 20)
    assert len(whole.first().forecasts) == 1


def days(
    seed: int, told: int, nodes: int = 2, count: int = 3, jobs: int = 100, load: float = 0.95
) -> Scenario:
    """Synthetic days, one after the other. told: one job in so many says how long it runs, a fifth off."""
    day = Day(jobs=jobs, devices=8 * nodes, load=load, queues=("a", "b"), told=told)
    workloads = [
        replace(item, name=f"d{number}-{item.name}", submitted=item.submitted + number * DAY)
        for number in range(count)
        for item in synthesize(day, 100 * seed + number)
    ]
    snapshot = cluster(nodes, "plugin", queue("a", 4 * nodes), queue("b", 4 * nodes))
    return Scenario(
        snapshot=snapshot,
        workloads=tuple(workloads),
        policy=Policy(every_pod=True),
        settings=replace(PACE, seed=seed),
    )


PACE = Settings(decision_seconds=10, pod_start_seconds=20, sample_seconds=0, seed=1)


def check(found: Calibration, least: int, widest: float = 1.0) -> None:
    """Ranges hold four times in five, and in the middle are no wider than so many times the wait."""
    width = found.median_width()
    told = (len(found.known()), found.held, width, found.median_wait(), found.median_left())
    assert len(found.known()) >= least, told
    assert found.held >= 0.8, told
    assert width is not None, told
    assert width <= widest * found.median_wait(), told


def test_ranges_hold_on_a_backlog_that_grows() -> None:
    """Four jobs run at a time and six would have to; what they say is up to a fifth off."""
    jobs = []
    for number in range(60):
        seconds = draws.around(1, "run", number, 1800)
        said = draws.around(1, "said", number, seconds * 2 // 5) + seconds * 3 // 5
        jobs.append(
            workload(
                f"job-{number}", submitted=300 * number, run_seconds=seconds, devices=2, expected_seconds=said
            )
        )
    base = Scenario(snapshot=cluster(1), workloads=tuple(jobs), policy=Policy(every_pod=True), settings=PACE)
    check(calibrated(base, range(2 * HOUR, 5 * HOUR, HOUR), Terms(futures=12)), 15)


@pytest.mark.prove
def test_ranges_hold_on_synthetic_days() -> None:
    """With the day before as history."""
    base = days(6, 1, jobs=300, load=0.9)
    check(calibrated(base, range(DAY + HOUR, DAY + 30 * HOUR, 6 * HOUR), Terms(futures=8)), 60)


@pytest.mark.prove
@pytest.mark.usefixtures("shared")
def test_ranges_hold_on_openb() -> None:
    """Nothing says how long it runs, and from three moments little is learnt of how wrong ranges are."""
    base, _ = openb(0)
    check(calibrated(base, range(50_400, 90_000, 14_400), Terms(futures=8)), 20, 2.0)


@pytest.mark.prove
def test_how_often_ranges_hold_can_be_measured_on_a_journal(tmp_path: Path) -> None:
    base = days(7, 1, count=2, jobs=150, load=0.9)
    simulation = Simulation.of(base.snapshot, base.workloads, base.settings, base.policy)
    retention = Retention(records=20_000)
    with Journal.open(tmp_path / "journal.db", retention=retention) as journal:
        while simulation.step() and simulation.now < 2 * DAY:
            now = simulation.world.moment(simulation.now)
            journal.record(now, simulation.last_snapshot, base.policy, simulation.last_plan)
    found = read_journal(tmp_path / "journal.db")
    replayed = replace(
        base,
        snapshot=found.snapshot,
        workloads=tuple(with_ends(found.history, found.snapshot)[0]),
        settings=replace(base.settings, start=found.start, until=3 * DAY),
    )
    result = calibrated(replayed, (DAY + 8 * HOUR, DAY + 18 * HOUR), Terms(futures=4))
    # How many hold is no promise: so few moments tell little.
    assert len(result.known()) >= 20
    begun = [forecast for forecast in result.known() if forecast.start is not None]
    assert all(forecast.start >= forecast.made for forecast in begun)
