"""A day in virtual time, from traces to results, through the production `decide`."""

import pytest
from tests.simulation.clusters import cluster, queue, workload

from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import Outcome
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation

FORMS = ("claims", "plugin")


@pytest.mark.parametrize("form", FORMS)
def test_a_workload_runs_for_its_run_time_and_frees_its_devices(form: str) -> None:
    found = Simulation.of(
        cluster(1, form),
        [
            workload("first", run_seconds=100, devices=8),
            workload("second", submitted=10, run_seconds=50, devices=8),
        ],
    ).run()
    first, second = found.workloads
    assert (first.placed, first.started, first.finished) == (0, 0, 100)
    assert (second.placed, second.finished) == (100, 150)
    assert second.queued == 90
    assert [item.outcome for item in found.workloads] == [Outcome.FINISHED] * 2
    assert found.totals.allocated == found.totals.useful == 8 * UNIT * 150
    assert found.seconds == 150


@pytest.mark.parametrize("form", FORMS)
def test_a_gang_starts_whole_or_waits(form: str) -> None:
    found = Simulation.of(
        cluster(2, form),
        [
            workload("alone", run_seconds=300, devices=8),
            workload("gang", submitted=1, run_seconds=60, pods=2, devices=8),
        ],
    ).run()
    gang = found.workloads[1]
    assert (gang.placed, gang.finished) == (300, 360)


def test_what_never_fits_waits_and_says_why() -> None:
    found = Simulation.of(cluster(1, "plugin"), [workload("huge", pods=3, devices=8, run_seconds=1)]).run()
    (huge,) = found.workloads
    assert huge.outcome is Outcome.WAITING
    assert huge.reason
    assert found.totals.waiting == 1


def test_pods_take_their_time_to_start() -> None:
    settings = Settings(pod_start_seconds=40)
    found = Simulation.of(cluster(1, "plugin"), [workload("one", run_seconds=100)], settings).run()
    (one,) = found.workloads
    assert one.placed == 0
    assert one.started is not None
    assert one.finished is not None
    assert 20 <= one.started <= 60
    assert one.finished == one.started + 100


def test_those_for_whom_one_decision_has_nobody_leave_yet_have_their_turn_at_once() -> None:
    old = [workload(f"old{n}", queue="rich", run_seconds=9000, devices=1) for n in range(24)]
    new = [workload(f"new{n}", queue="poor", submitted=100, run_seconds=50, devices=1) for n in range(20)]
    objects = (queue("rich", 0), queue("poor", 24))
    found = Simulation.of(cluster(3, "plugin", *objects), [*old, *new], Settings(grace_seconds=30)).run()

    placed = [item.placed for item in found.workloads if item.name.startswith("new")]
    assert max(placed) - 100 - 30 <= 3
