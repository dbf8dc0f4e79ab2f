"""What must hold in every simulation, whatever happens in it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.clusters import cluster, queue, workload

from aliquot.model.core import Node
from aliquot.model.kinds import decode, encode_json
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.decide import decide
from aliquot.scheduling.requests import pod_requests
from aliquot.simulation.results import Outcome, Result
from aliquot.simulation.saving import SavedError
from aliquot.simulation.settings import Failures, Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.synthesis import Day, synthesize
from aliquot.simulation.workload import Workload

QUEUES = (queue("top", 16), queue("left", 8, "top"), queue("right", 8, "top"))

jobs = st.lists(
    st.builds(
        dict,
        submitted=st.integers(0, 2000),
        run_seconds=st.integers(1, 3000),
        pods=st.integers(1, 4),
        devices=st.sampled_from((0, 1, 2, 4, 8)),
        queue=st.sampled_from(("left", "right", "")),
        priority=st.sampled_from((0, 50, 100)),
        checkpoint_seconds=st.sampled_from((None, 60, 600)),
        startup_seconds=st.sampled_from((0, 45)),
        expected_seconds=st.sampled_from((None, 500)),
        elastic=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
choices = st.builds(
    Settings,
    seed=st.integers(0, 5),
    decision_seconds=st.sampled_from((1, 30)),
    pod_start_seconds=st.sampled_from((0, 20)),
    grace_seconds=st.sampled_from((0, 30)),
    until=st.sampled_from((1500, 20_000)),
    failures=st.sampled_from(
        (
            Failures(),
            Failures(node_hours=4, device_hours=20, node_repair_seconds=600),
            Failures(spot_hours=1, spot_return_seconds=900, spot_warning_seconds=45),
        )
    ),
)


def workloads(drawn: list[dict[str, Any]]) -> list[Workload]:
    found = []
    for number, fields in enumerate(drawn):
        fields = dict(fields)
        elastic = fields.pop("elastic")
        minimum = max(1, fields["pods"] - 1) if elastic else fields["pods"]
        found.append(workload(f"job-{number:02}", minimum=minimum, cpu=1000, **fields))
    return found


def held(snapshot: Snapshot) -> dict[str, int]:
    """Devices that pods hold on each node: of device plugins, and of allocated claims."""
    found: dict[str, int] = {}
    for pod in snapshot.pods:
        if pod.spec.node_name:
            devices = pod_requests(pod.spec).get("nvidia.com/gpu", 0)
            found[pod.spec.node_name] = found.get(pod.spec.node_name, 0) + devices
    given_out: set[tuple[str, str]] = set()
    for claim in snapshot.resource_claims:
        if claim.status.allocation is not None:
            for item in claim.status.allocation.devices.results:
                assert (item.pool, item.device) not in given_out, "a device is given out twice"
                given_out.add((item.pool, item.device))
                found[item.pool] = found.get(item.pool, 0) + 1
    return found


def check(simulation: Simulation) -> None:
    """Nothing is given out twice, and the amounts kept on the way are those of the cluster."""
    snapshot = simulation.world.cluster.snapshot()
    assert list(snapshot.pods) == sorted(snapshot.pods, key=lambda pod: pod.key)
    on_nodes = held(snapshot)
    meter = simulation.world.meter
    assert all(devices <= 8 for devices in on_nodes.values())
    assert sum(on_nodes.values()) * UNIT == meter.allocated
    for name, machine in meter.machines.items():
        assert machine.held == on_nodes.get(name, 0) * UNIT
    assert sum(meter.accounts[name].allocated for name in meter.accounts) == meter.allocated
    waiting = [pod for pod in snapshot.pods if not pod.spec.node_name]
    assert len(waiting) == meter.waiting_pods


def conserved(result: Result, submitted: int) -> None:
    totals = result.totals
    assert totals.submitted <= submitted
    assert totals.finished + totals.running + totals.waiting == totals.submitted
    assert totals.useful + totals.lost <= totals.allocated <= totals.capacity
    for item in result.workloads:
        assert item.outcome is not Outcome.FINISHED or item.worked == item.run_seconds
        if item.finished is not None:
            assert item.placed is not None
            assert item.started is not None
            assert item.run_seconds is not None
            assert item.submitted <= item.placed <= item.started <= item.finished
            # Elastic work is done more slowly with fewer pods, never faster.
            assert item.finished - item.started >= item.run_seconds
    assert [item.time for item in result.samples] == sorted(item.time for item in result.samples)


@pytest.mark.parametrize("form", ["plugin", "claims"])
@given(drawn=jobs, chosen=choices)
@settings(max_examples=15, deadline=None)
def test_every_workload_ends_or_runs_or_waits_and_no_device_is_held_twice(
    form: str, drawn: list[dict[str, Any]], chosen: Settings
) -> None:
    simulation = Simulation.of(cluster(2, form, *QUEUES), workloads(drawn), chosen)
    conserved(simulation.run(check), len(drawn))


class Account:
    """Device-seconds as the objects of the cluster tell them, counted up to every moment that time moves."""

    def __init__(self, simulation: Simulation) -> None:
        self.held = self.idle = self.broken = self.on_broken = 0
        self._simulation = simulation
        self._tick = simulation.world.meter.tick
        simulation.world.meter.tick = self._count  # type: ignore[method-assign]

    def _count(self, now: int) -> None:
        passed = now - self._simulation.now
        snapshot = self._simulation.world.cluster.snapshot()
        on_nodes = held(snapshot)
        for node in snapshot.nodes:
            devices = in_order_of(node, snapshot)
            self.broken += (8 - devices) * passed
            if devices:
                self.held += on_nodes.get(node.name, 0) * passed
                self.idle += (devices - on_nodes.get(node.name, 0)) * passed
            else:
                self.on_broken += on_nodes.get(node.name, 0)
        self._tick(now)


def in_order_of(node: Node, snapshot: Snapshot) -> int:
    """The devices of a node that are in order, of eight."""
    if any(item.type == "Ready" and item.status != "True" for item in node.status.conditions):
        return 0
    slices = [item for item in snapshot.resource_slices if item.spec.node_name == node.name]
    if not slices:
        return int(node.status.allocatable["nvidia.com/gpu"].value())
    return sum(1 for item in slices for device in item.spec.devices if not device.taints)


@pytest.mark.parametrize("form", ["plugin", "claims"])
@given(drawn=jobs, chosen=choices)
@settings(max_examples=15, deadline=None)
def test_every_second_of_every_device_is_held_idle_or_out_of_order(
    form: str, drawn: list[dict[str, Any]], chosen: Settings
) -> None:
    simulation = Simulation.of(cluster(2, form, *QUEUES), workloads(drawn), chosen)
    account = Account(simulation)
    result = simulation.run()
    assert account.held + account.idle + account.broken == 16 * result.seconds
    assert result.totals.allocated == account.held * UNIT
    assert result.totals.capacity == (account.held + account.idle) * UNIT
    assert account.on_broken == 0
    assert account.idle >= 0


@pytest.mark.parametrize("form", ["plugin", "claims"])
@given(drawn=jobs, chosen=choices, stops=st.sets(st.integers(0, 60), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_interrupted_and_resumed_gives_the_same_bytes_as_uninterrupted(
    form: str, drawn: list[dict[str, Any]], chosen: Settings, stops: set[int]
) -> None:
    there, come = cluster(2, form, *QUEUES), workloads(drawn)
    whole = encode_json(Simulation.of(there, come, chosen).run())
    simulation, number = Simulation.of(there, come, chosen), 0
    for number in range(61):
        if number in stops:
            data = simulation.save()
            simulation = Simulation.resumed(data, there, come, chosen)
            assert simulation.save() == data
        if not simulation.step():
            break
    assert encode_json(simulation.run()) == whole


@pytest.mark.parametrize("form", ["plugin", "claims"])
@given(drawn=jobs, chosen=choices)
@settings(max_examples=10, deadline=None)
def test_every_snapshot_saved_and_replayed_gives_the_same_plan_byte_for_byte(
    form: str, drawn: list[dict[str, Any]], chosen: Settings
) -> None:
    def replay(simulation: Simulation) -> None:
        saved = msgspec.json.encode(simulation.last_snapshot.to_list())
        loaded = Snapshot.of(decode(item) for item in msgspec.json.decode(saved)["items"])
        again = decide(loaded, simulation.policy, simulation.world.moment(simulation.now))
        assert encode_json(again) == encode_json(simulation.last_plan)

    Simulation.of(cluster(2, form, *QUEUES), workloads(drawn), chosen).run(replay)


@pytest.mark.prove
@pytest.mark.parametrize("form", ["plugin", "claims"])
def test_a_congested_day_with_failures_holds_together_and_can_be_interrupted_at_any_time(form: str) -> None:
    there = cluster(40, form, queue("top", 320), queue("left", 160, "top"), queue("right", 160, "top"))
    day = Day(jobs=500, devices=320, load=1.2, queues=("left", "right"))
    failures = Failures(node_hours=200, device_hours=2000, spot_hours=200)
    chosen = Settings(seed=11, until=24 * 3600, decision_seconds=30, pod_start_seconds=20, failures=failures)
    come = synthesize(day, 11)
    whole = Simulation.of(there, come, chosen)
    account = Account(whole)
    result = whole.run(check)
    conserved(result, 500)
    assert account.held + account.idle + account.broken == 320 * result.seconds
    assert result.totals.evictions > 20
    assert result.totals.failures > 4
    simulation, steps = Simulation.of(there, come, chosen), 0
    while simulation.step():
        steps += 1
        if steps % 97 == 0:
            simulation = Simulation.resumed(simulation.save(), there, come, chosen)
    assert encode_json(simulation.result()) == encode_json(result)


def test_room_counted_on_by_an_expected_end_is_counted_anew_at_every_decision() -> None:
    """job-09 is expected to end while job-11 has room promised; what was lent comes back when that lapses."""
    come = [
        workload(f"job-0{number}", devices=0, run_seconds=1, queue="left", cpu=1000) for number in range(7)
    ]
    come += [
        workload("job-07", devices=2, run_seconds=374, queue="left", cpu=1000),
        workload("job-08", devices=4, run_seconds=449, queue="left", cpu=1000, startup_seconds=45),
        workload(
            "job-09", submitted=173, devices=8, run_seconds=321, queue="left", cpu=1000, expected_seconds=500
        ),
        workload("job-10", submitted=354, pods=2, minimum=1, devices=2, run_seconds=100, cpu=1000),
        workload("job-11", submitted=373, run_seconds=1, queue="left", priority=50, cpu=1000),
    ]
    chosen = Settings(until=1500, grace_seconds=0)

    def replay(simulation: Simulation) -> None:
        now = simulation.world.moment(simulation.now)
        again = decide(simulation.last_snapshot, simulation.policy, now)
        assert encode_json(again) == encode_json(simulation.last_plan), simulation.now

    Simulation.of(cluster(2, "claims", *QUEUES), come, chosen).run(replay)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    def run(seed: int) -> bytes:
        chosen = Settings(seed=seed, until=50_000, pod_start_seconds=30, failures=Failures(node_hours=2))
        come = [workload(f"w{number}", submitted=number * 100, run_seconds=5000) for number in range(20)]
        return encode_json(Simulation.of(cluster(2), come, chosen).run())

    assert run(1) == run(1)
    assert run(1) != run(2)


def damaged() -> Iterator[tuple[bytes, str]]:
    yield b"", "damaged or cut off"
    yield b"{}", "no saved simulation"
    yield b"[1]", "no saved simulation"
    yield b'{"format": "aliquot-simulation/1"}', "damaged or cut off"


@pytest.mark.parametrize(("data", "problem"), list(damaged()))
def test_what_is_no_saved_simulation_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(SavedError, match=problem):
        Simulation.resumed(data, cluster(1), [workload("one", run_seconds=1)])


def test_a_cut_off_saved_simulation_is_refused() -> None:
    come = [workload("one", run_seconds=10)]
    data = Simulation.of(cluster(1), come).save()
    with pytest.raises(SavedError, match="cut off"):
        Simulation.resumed(data[:-20], cluster(1), come)


def test_a_saved_simulation_of_something_else_is_refused() -> None:
    come = [workload("one", run_seconds=10)]
    data = Simulation.of(cluster(1), come).save()
    with pytest.raises(SavedError, match="another cluster"):
        Simulation.resumed(data, cluster(2), come)


def test_devices_are_free_while_work_waits_only_where_none_of_it_fits() -> None:
    """A busy morning, with devices free on several nodes and jobs that need a whole one."""
    day = Day(jobs=60, devices=32, seconds=21_600, load=1.2, queues=("left", "right"))
    snapshot = cluster(4, "plugin", queue("left", 16), queue("right", 16))
    settings = Settings(until=21_600, sample_seconds=0, pod_start_seconds=20)
    simulation = Simulation.of(snapshot, synthesize(day, 3), settings)
    world = simulation.world
    free_while_waiting, while_fitting, before = 0, 0, 0
    free, fits = 0, False
    while simulation.step():
        passed, before = world.now - before, world.now
        free_while_waiting += free * passed if world.meter.waiting else 0
        while_fitting += free * passed if fits else 0
        by_node = {node.name: 8 for node in snapshot.nodes}
        for standing in world.standings.values():
            for member in standing.members.values():
                if member.node:
                    by_node[member.node] -= member.devices // UNIT
        free = sum(by_node.values())
        waiting = [
            world.workloads[number] for number in world.meter.waiting if not world.standings[number].promised
        ]
        fits = any(sum(left // item.devices for left in by_node.values()) >= item.pods for item in waiting)
    assert free_while_waiting > 3600
    # Nothing that fits waits for longer than until the next decision.
    assert while_fitting < 0.001 * 32 * 21_600
