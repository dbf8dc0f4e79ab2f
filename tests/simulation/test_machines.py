"""Nodes and devices that fail and come back, spot nodes that are reclaimed, and what that does to work."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.clusters import cluster, workload

from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import UNIT
from aliquot.simulation.agenda import MachineFails
from aliquot.simulation.results import Cause, Outcome, Result
from aliquot.simulation.settings import Failures, Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.workload import Workload

HOUR = 3600
FORMS = ("claims", "plugin")


def run(there: Snapshot, come: list[Workload], fails: list[tuple[int, str]], **chosen: Any) -> Result:
    """Simulate with failures at these times of these kinds, and no others."""
    failures = Failures(
        node_hours=10**9,
        device_hours=10**9,
        spot_hours=10**9,
        node_repair_seconds=HOUR,
        device_repair_seconds=HOUR,
        spot_return_seconds=HOUR,
        spot_warning_seconds=120,
    )
    simulation = Simulation.of(there, come, Settings(failures=failures, **chosen))
    simulation.world.agenda.entries.clear()
    for draw, (time, kind) in enumerate(fails):
        simulation.world.agenda.add(time, MachineFails(kind, draw))
    return simulation.run()


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_node_takes_its_pods_down_at_once_and_comes_back(form: str) -> None:
    found = run(cluster(1, form), [workload("one", devices=8, run_seconds=1000)], [(400, "node")])
    (one,) = found.workloads
    (lost,) = found.interruptions
    assert (lost.time, lost.cause, lost.pods, lost.lost, lost.beneficiary) == (
        400, Cause.NODE_FAILED, 1, 400, "",
    )  # fmt: skip
    assert (one.failures, one.evictions, one.outcome) == (1, 0, Outcome.FINISHED)
    assert one.finished is not None
    # Nothing was saved: all of it is done again, once the node is back.
    back = one.finished - 1000
    assert back > 400
    assert one.queued == back - 400
    assert found.totals.capacity == 8 * UNIT * (found.seconds - (back - 400))


def test_what_was_saved_is_not_done_again() -> None:
    saves = workload("saves", devices=8, run_seconds=1000, checkpoint_seconds=150)
    found = run(cluster(1), [saves], [(400, "node")])
    assert [item.lost for item in found.interruptions] == [100]
    (one,) = found.workloads
    assert one.finished is not None
    assert one.worked == 1000
    assert one.lost == 100
    assert one.finished - one.queued == 1000 + 100


@pytest.mark.parametrize("form", FORMS)
def test_a_gang_that_loses_a_node_starts_again_whole(form: str) -> None:
    gang = workload("gang", pods=2, devices=8, run_seconds=1000)
    found = run(cluster(2, form), [gang], [(300, "node")])
    (one,) = found.workloads
    # The other pod holds its node in vain for a while, and then leaves for nobody's sake.
    assert [(item.cause, item.pods, item.lost, item.beneficiary) for item in found.interruptions] == [
        (Cause.NODE_FAILED, 1, 300, ""),
        (Cause.GANG_BROKEN, 1, 0, ""),
    ]
    assert one.finished == 300 + one.queued + 1000


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_device_takes_down_only_who_holds_it(form: str) -> None:
    come = [workload(f"w{number}", devices=2, run_seconds=2000) for number in range(4)]
    found = run(cluster(1, form), come, [(500, "device")])
    (lost,) = found.interruptions
    assert (lost.cause, lost.pods, lost.devices, lost.lost) == (Cause.DEVICE_FAILED, 1, 2 * UNIT, 500)
    assert sorted(item.failures for item in found.workloads) == [0, 0, 0, 1]
    # The other device of the pair alone is not enough.
    again = next(item for item in found.workloads if item.failures)
    assert again.finished is not None
    assert again.finished >= 2000
    low = min(item.capacity for item in found.samples)
    assert low == 7 * UNIT


@pytest.mark.parametrize("form", FORMS)
def test_pods_of_a_reclaimed_spot_node_are_warned_and_the_node_is_replaced(form: str) -> None:
    found = run(
        cluster(1, form), [workload("one", devices=8, run_seconds=1000)], [(400, "spot")], sample_seconds=20
    )
    (lost,) = found.interruptions
    assert (lost.time, lost.cause) == (400, Cause.SPOT_RECLAIMED)
    by_time = {item.time: item for item in found.samples}
    # While it is warned the pod holds what it has, and then there is nothing.
    assert by_time[500].allocated == by_time[500].capacity == 8 * UNIT
    assert by_time[540].allocated == by_time[540].capacity == 0
    (one,) = found.workloads
    assert one.outcome is Outcome.FINISHED
    assert one.finished is not None
    assert one.finished > 400 + 120 + 1000


def test_nodes_that_are_no_spot_capacity_are_not_reclaimed() -> None:
    there = cluster(1)
    chosen = Settings(until=100 * HOUR, failures=Failures(spot_hours=1))
    assert Simulation.of(there, [workload("one", devices=8)], chosen).run().totals.failures > 10
    (node,) = there.nodes
    labels = {name: text for name, text in node.metadata.labels.items() if name != "aliquot.dev/spot"}
    plain = replace(there, nodes=(replace(node, metadata=replace(node.metadata, labels=labels)),))
    assert Simulation.of(plain, [workload("one", devices=8)], chosen).run().totals.failures == 0


def test_failures_come_as_often_as_is_said() -> None:
    """10 nodes with a mean of 50 hours each for 1,000 hours: 200 failures, give or take."""
    chosen = Settings(
        until=1000 * HOUR, sample_seconds=0, failures=Failures(node_hours=50, node_repair_seconds=60)
    )
    simulation = Simulation.of(cluster(10), [workload("one")], chosen)
    simulation.run()
    failed = simulation.world.meter.events
    # Each failure is an event, and so is each return.
    assert 150 <= failed / 2 <= 250


@pytest.mark.parametrize("mean", [0, 20, 60])
def test_pods_run_half_to_one_and_a_half_of_the_mean_after_they_were_placed(mean: int) -> None:
    come = [workload(f"w{number:02}", submitted=number, run_seconds=5000) for number in range(60)]
    found = Simulation.of(cluster(10), come, Settings(pod_start_seconds=mean, seed=3)).run()
    delays = [
        item.started - item.placed
        for item in found.workloads
        if item.started is not None and item.placed is not None
    ]
    assert len(delays) == 60
    assert all(mean // 2 <= delay <= mean + mean // 2 for delay in delays)
    assert sum(delays) / 60 == pytest.approx(mean, abs=mean / 8)


def test_start_up_is_held_but_is_no_work() -> None:
    found = Simulation.of(cluster(1), [workload("one", devices=8, run_seconds=100, startup_seconds=40)]).run()
    assert found.workloads[0].finished == 140
    assert found.totals.allocated == 8 * 140 * UNIT
    assert found.totals.useful == 8 * 100 * UNIT


def test_elastic_work_goes_on_more_slowly_with_fewer_pods() -> None:
    """Two pods of 8 devices for 1,000 s; a node is gone from 400 s to the end: 600 s with half of them."""
    elastic = workload("elastic", pods=2, minimum=1, devices=8, run_seconds=1000)
    found = run(cluster(2), [elastic], [(400, "node")], until=1600)
    (one,) = found.workloads
    assert one.failures == 1
    assert one.lost == 0
    assert one.queued == 0
    assert one.finished is not None
    assert 1000 < one.finished <= 1600
