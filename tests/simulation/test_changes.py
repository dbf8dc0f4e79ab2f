"""What-if: what a change does to a scenario, and to what comes of it."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.cel.quantity import Quantity
from aliquot.model.core import MANAGED_LABEL, Namespace
from aliquot.model.kinds import decode, encode_json
from aliquot.model.meta import ObjectMeta
from aliquot.model.queue import Queue, QueueResource, QueueSpec
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.policy import KAI
from aliquot.simulation.changes import (
    AddObjects,
    AddWorkloads,
    ChangeError,
    Drain,
    Remove,
    Scenario,
    SetPolicy,
    SetQueue,
    Share,
    begin,
    changed,
    simulated,
)
from aliquot.simulation.comparing import METRICS, Comparison, Effect
from aliquot.simulation.conditions import ConditionError, parse
from aliquot.simulation.results import Cause, Outcome
from aliquot.simulation.settings import Settings
from aliquot.simulation.workload import Workload

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600


def nodes(count: int, name: str = "gpu", **fields: object) -> tuple[object, ...]:
    """Nodes of eight H100 each, two to a rack, with their slices and classes."""
    import json

    group = {"count": count, "type": "dgx-h100", "name": name, "rack": f"{name}-rack", "nodesPerRack": 2}
    document = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Fleet", "nodes": [group | fields]}
    return tuple(decode(item) for item in expand(parse_fleet(json.dumps(document), "fleet")))


def queue(name: str, quota: int) -> Queue:
    resources = (QueueResource(name="gpu", quota=Quantity.parse(str(quota))),)
    return Queue(metadata=ObjectMeta(name=name, uid=name), spec=QueueSpec(resources=resources))


def job(name: str, devices: int = 8, pods: int = 1, at: int = 0, **fields: object) -> Workload:
    values = {"namespace": "team", "run_seconds": HOUR, "minimum": pods, "queue": "a"} | fields
    return Workload(name=name, devices=devices, pods=pods, submitted=at, **values)  # type: ignore[arg-type]


def scenario(*workloads: Workload, count: int = 2, until: int = 12 * HOUR) -> Scenario:
    managed = Namespace(metadata=ObjectMeta(name="team", uid="team", labels={MANAGED_LABEL: "true"}))
    return Scenario(
        snapshot=Snapshot.of((*nodes(count), queue("a", 8), queue("b", 8), managed)),  # type: ignore[arg-type]
        workloads=workloads,
        settings=Settings(start=START, until=until, sample_seconds=0),
    )


def under_way(base: Scenario) -> Scenario:
    """A scenario that starts from a cluster on which the workloads of another run already."""
    simulation = begin(base)
    simulation.step()
    return Scenario(snapshot=simulation.world.cluster.snapshot(), settings=base.settings)


def difference(base: Scenario, *changes: object) -> Comparison:
    return Comparison.of(simulated(base), simulated(changed(base, changes)))  # type: ignore[arg-type]


def effects(comparison: Comparison) -> dict[str, tuple[Effect, int | None]]:
    return {item.either.name: (item.effect, item.shift) for item in comparison.differences}


def test_a_change_leaves_the_scenario_as_it_was() -> None:
    base = scenario(job("one"))
    before = encode_json(base.snapshot)
    changed(base, (Drain(frozenset({"gpu-0"})), SetQueue(queue="a", quota=Quantity.parse("3"))))
    assert encode_json(base.snapshot) == before
    assert not base.leaving


def test_no_change_makes_no_difference() -> None:
    base = scenario(*(job(f"job-{number}", at=number * 60) for number in range(8)))
    found = difference(base)
    assert set(effects(found).values()) == {(Effect.SAME, 0)}
    assert not found.notable()
    assert all(metric.of(found.before) == metric.of(found.after) for metric in METRICS)


def test_another_pool_lets_what_waits_start_earlier() -> None:
    found = difference(scenario(*(job(f"job-{number}") for number in range(4))), AddObjects(nodes(2, "new")))
    assert effects(found) == {
        "job-0": (Effect.SAME, 0),
        "job-1": (Effect.SAME, 0),
        "job-2": (Effect.EARLIER, -HOUR),
        "job-3": (Effect.EARLIER, -HOUR),
    }
    assert found.after.devices == 2 * found.before.devices


def test_what_is_submitted_pushes_back_what_waits_behind_it() -> None:
    base = scenario(job("one"), job("two"), job("late", at=60))
    found = difference(base, AddWorkloads((job("wide", pods=2, priority=100),)))
    assert effects(found)["wide"] == (Effect.NEW, None)
    assert effects(found)["late"] == (Effect.LATER, HOUR)


def test_a_drained_node_makes_its_pods_leave_and_takes_no_others() -> None:
    base = under_way(scenario(job("one"), job("two"), until=6 * HOUR))
    found = Comparison.of(
        simulated(base, lambda gang: HOUR),
        simulated(changed(base, (Drain(frozenset({"gpu-0"})),)), lambda gang: HOUR),
    )
    gone = found.evicted()
    assert [item.cause for item in gone] == [Cause.OTHER_EVICTION]
    assert found.after.totals.evictions == 1
    (evicted,) = [item for item in found.differences if item.effect is Effect.EVICTED]
    assert evicted.after is not None
    # It waits for the other node, which is free an hour later, and starts from the beginning.
    assert evicted.after.finished == 2 * HOUR
    assert evicted.delay == HOUR


def test_removed_nodes_cost_and_hold_nothing_any_more() -> None:
    base = scenario(job("one"), job("two"), count=4)
    found = difference(base, Remove(frozenset({"gpu-0", "gpu-1"})))
    assert found.after.devices == found.before.devices // 2
    assert set(effects(found).values()) == {(Effect.SAME, 0)}


def test_a_gang_that_does_not_fit_any_more_never_starts() -> None:
    found = difference(scenario(job("wide", pods=2)), Remove(frozenset({"gpu-0"})))
    assert effects(found) == {"wide": (Effect.NEVER, None)}
    back = Comparison.of(found.after, found.before)
    assert effects(back) == {"wide": (Effect.STARTS, None)}


def test_a_quota_turns_who_has_to_leave() -> None:
    running = (job("a-0"), job("a-1"))
    base = scenario(*running, job("b-0", at=600, queue="b"))
    without = simulated(base)
    assert without.totals.evictions == 1
    found = difference(base, SetQueue(queue="b", quota=Quantity.parse("0")), SetQueue(queue="b", weight=0))
    assert found.after.totals.evictions == 0
    assert effects(found)["b-0"] == (Effect.LATER, HOUR - 600 - 30)
    assert Effect.SPARED in {effect for effect, _ in effects(found).values()}


def test_another_policy_is_named_in_the_result() -> None:
    found = difference(scenario(job("one")), SetPolicy(KAI, "kai"))
    assert (found.before.label, found.after.label) == ("aliquot", "kai")


def test_devices_shared_in_another_way_hold_what_fits_and_turn_away_what_does_not() -> None:
    base = under_way(scenario(job("one"), until=6 * HOUR))
    held = {pod.spec.node_name for pod in base.snapshot.pods if pod.spec.node_name}
    dynamic = {name: _machine(name, mig={"dynamic": True}) for name in held}
    assert not changed(base, (Share(dynamic),)).leaving
    static = {name: _machine(name, mig={"layout": ["3g.40gb", "4g.40gb"]}) for name in held}
    after = changed(base, (Share(static),))
    assert {key[1] for key in after.leaving} == {"one"}
    assert [node.metadata.labels.get("aliquot.dev/rack") for node in after.snapshot.nodes] == [
        "gpu-rack-0"
    ] * 2
    found = Comparison.of(simulated(base), simulated(after))
    assert found.after.totals.evictions == 1


def _machine(name: str, **fields: object) -> tuple[object, ...]:
    found = nodes(2, **fields)
    return tuple(
        item
        for item in found
        if item.name == name or (item.kind() == "ResourceSlice" and item.spec.node_name == name)  # type: ignore[attr-defined]
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (SetQueue(queue="x"), "queue x: there is no such queue; name one of: a, b"),
        (SetQueue(queue="a", weight=-1), "a weight is 0 or more"),
        (Drain(frozenset({"gpu-9"})), "node gpu-9: there is no such node"),
        (Remove(frozenset({"gpu-9"})), "node gpu-9: there is no such node"),
        (AddWorkloads((job("one"),)), "team/one: there is a workload of that name already"),
    ],
)
def test_changes_that_cannot_be_made_are_told(change: object, told: str) -> None:
    with pytest.raises(ChangeError) as raised:
        changed(scenario(job("one")), (change,))  # type: ignore[arg-type]
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("evictions>0", False),
        ("+evictions > 0", False),
        ("later>0", True),
        ("later >= 4", False),
        ("started=4", True),
        ("+wait.longest>=1h", True),
        ("+wait.longest>1h", False),
        ("+wait.longest<=60m", True),
        ("start.team/late>90m", True),
        ("start.team/late!=0", True),
        ("+start.team/late=3600s", True),
        ("allocation<100%", True),
        ("energy>1kWh", True),
        ("lost<0.5h", True),
        ("used>=24h", True),
        ("cost>1000000", False),
        ("start.team/wide<1m", True),
    ],
)
def test_conditions_hold_or_do_not(text: str, holds: bool) -> None:
    base = scenario(job("one"), job("two"), job("late", at=60))
    found = difference(base, AddWorkloads((job("wide", pods=2, priority=100),)), Drain(frozenset()))
    assert parse(text).holds(found) is holds


def test_what_never_starts_starts_after_any_time() -> None:
    found = difference(scenario(job("wide", pods=2)), Remove(frozenset({"gpu-0"})))
    assert parse("start.team/wide>100d").holds(found)
    assert not parse("start.team/wide<=100d").holds(found)
    assert parse("+start.team/wide>0").holds(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no condition"),
        ("evictions", "is no condition"),
        ("evictions>many", "is no condition"),
        ("evictions>0h", "'h' is no unit of evictions; leave the unit out"),
        ("wait.p90>5kWh", "'kWh' is no unit of wait.p90; write one of s, m, h, d"),
        ("evictionz>0", "there is no figure 'evictionz'; write one of started,"),
        ("+later>0", "later is a difference already"),
        ("start.none>0", "there is no figure 'start.none'"),
        ("9" * 5000, "is no condition"),
    ],
)
def test_conditions_that_cannot_be_read_are_told(text: str, told: str) -> None:
    with pytest.raises(ConditionError) as raised:
        parse(text)
    assert told in str(raised.value)


def test_a_condition_on_a_workload_that_is_not_there_is_told() -> None:
    found = difference(scenario(job("one")))
    with pytest.raises(ConditionError, match="there is no workload team/x"):
        parse("start.team/x>0").holds(found)


def test_pods_on_their_way_out_free_what_they_hold() -> None:
    simulation = begin(scenario(job("one", run_seconds=None), job("next", at=60), count=1))
    while simulation.now < 60:
        simulation.step()
    snapshot = simulation.world.cluster.snapshot()
    gone = START + timedelta(seconds=100)
    leaving = replace(
        snapshot,
        pods=tuple(
            replace(pod, metadata=replace(pod.metadata, deletion_timestamp=gone))
            if pod.name == "one"
            else pod
            for pod in snapshot.pods
        ),
    )
    settings = Settings(start=START + timedelta(seconds=60), until=HOUR, sample_seconds=0)
    found = {item.name: item for item in simulated(Scenario(snapshot=leaving, settings=settings)).workloads}
    assert found["next"].placed == 40
    assert (found["one"].outcome, found["one"].finished) == (Outcome.FINISHED, 0)
