"""From a plan to where tasks stand, and from one round to the next."""

import pytest
from tests.kai.pods import Standing
from tests.kai.rounds import Devices, Run, Stage, carry, devices, outcome
from tests.kai.scenario import (
    ClaimSpec,
    DraSpec,
    GroupSpec,
    JobSpec,
    NodeSpec,
    QueueSpec,
    RequestSpec,
    RunSpec,
    Scenario,
    TaskSpec,
)

from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict, Placement, Plan


def ref(name: str) -> ObjectRef:
    return ObjectRef(kind="Pod", namespace="kai", name=name, uid=name)


def to(name: str, node: str, *groups: str) -> Placement:
    return Placement(pod=ref(name), node=node, groups=groups)


def plan(*placements: Placement, promised: tuple[Placement, ...] = (), evicted: tuple[str, ...] = ()) -> Plan:
    verdict = Verdict(reason=Reason.DEVICES_IN_USE)
    actions = tuple(Evict(decision="d", pod=ref(name), verdict=verdict) for name in evicted)
    pods = tuple(item.pod for item in (*placements, *promised))
    decision = Decision(
        id="d",
        workload=ref("w"),
        queue="q",
        pods=pods,
        actions=actions,
        placements=placements,
        promised=promised,
    )
    return Plan(decisions=(decision,))


RUNNING = Standing("Running", "node0", ("a",))
PENDING = Standing("Pending")


def test_what_a_plan_places_is_being_bound() -> None:
    assert outcome({"one": PENDING}, plan(to("one", "node1", "g")))["one"] == Standing(
        "Binding", "node1", ("g",)
    )


def test_what_a_plan_promises_waits_for_its_place() -> None:
    found = outcome({"one": PENDING}, plan(promised=(to("one", "node1"),)))
    assert found["one"] == Standing("Pipelined", "node1")


def test_a_victim_leaves_what_it_holds() -> None:
    found = outcome({"one": RUNNING}, plan(evicted=("one",)))
    assert found["one"] == Standing("Releasing", "node0", ("a",))


def test_a_victim_with_a_new_place_is_promised_it() -> None:
    found = outcome({"one": RUNNING}, plan(promised=(to("one", "node1", "b"),), evicted=("one",)))
    assert found["one"] == Standing("Pipelined", "node1", ("b",))


def test_replacing_a_pod_that_waits_changes_nothing() -> None:
    assert outcome({"one": PENDING}, plan(evicted=("one",)))["one"] == PENDING


@pytest.mark.parametrize(
    ("standing", "carried"),
    [
        (Standing("Binding", "node0", ("a",)), Standing("Running", "node0", ("a",))),
        (Standing("Releasing", "node0", ("a",)), PENDING),
        (Standing("Pipelined", "node0", ("a",)), PENDING),
        (RUNNING, RUNNING),
        (Standing("Pending", "node0"), Standing("Pending", "node0")),
        (Standing("Failed", "node0"), Standing("Failed", "node0")),
        (Standing("Gated"), Standing("Gated")),
    ],
)
def test_carrying_over(standing: Standing, carried: Standing) -> None:
    assert carry(JobSpec(name="j", queue="q"), standing) == carried


def test_a_job_that_is_deleted_for_good_keeps_leaving() -> None:
    leaving = Standing("Releasing", "node0", ("a",))
    assert carry(JobSpec(name="j", queue="q", evicted_tasks_stay_releasing=True), leaving) == leaving


def half(name: str, **fields) -> TaskSpec:  # type: ignore[no-untyped-def]
    return TaskSpec(name=name, request=RequestSpec(type="fraction", gpu_fraction=0.5), **fields)


def whole(name: str, gpus: int = 1, **fields) -> TaskSpec:  # type: ignore[no-untyped-def]
    return TaskSpec(name=name, request=RequestSpec(type="whole", gpus=gpus), **fields)


def scenario(*tasks: TaskSpec, gpus: int = 4, **fields) -> Scenario:  # type: ignore[no-untyped-def]
    root = GroupSpec(children=(GroupSpec(name="default", min_available=1),))
    jobs = tuple(JobSpec(name=task.name, queue="q", sub_groups=root, tasks=(task,)) for task in tasks)
    return Scenario(
        schema="kai-scenario/1",
        id="test",
        nodes=(NodeSpec(name="node0", gpus=gpus, physical_gpus=gpus),),
        queues=(QueueSpec(name="q"),),
        jobs=jobs,
        **fields,
    )


def room(made: Scenario, before: dict[str, Standing], after: dict[str, Standing]) -> Devices:
    return devices(made, Stage("after", before, after))["node0"]


def test_devices_are_idle_taken_or_being_left() -> None:
    made = scenario(whole("one"), whole("two", 2))
    standings = {"one": Standing("Running", "node0"), "two": Standing("Releasing", "node0")}
    assert room(made, standings, standings) == Devices(1, 2)


def test_a_shared_device_counts_once() -> None:
    made = scenario(half("one"), half("two"), half("three"))
    standings = {
        "one": Standing("Running", "node0", ("a",)),
        "two": Standing("Running", "node0", ("a",)),
        "three": Standing("Running", "node0", ("b",)),
    }
    assert room(made, standings, standings) == Devices(2, 0)


def test_a_shared_device_is_being_left_when_all_its_holders_leave() -> None:
    made = scenario(half("one"), half("two"))
    one_leaves = {
        "one": Standing("Releasing", "node0", ("a",)),
        "two": Standing("Running", "node0", ("a",)),
    }
    assert room(made, one_leaves, one_leaves) == Devices(3, 0)
    both_leave = {**one_leaves, "two": Standing("Releasing", "node0", ("a",))}
    assert room(made, both_leave, both_leave) == Devices(3, 1)


def test_a_promise_is_kept_from_what_is_being_left() -> None:
    made = scenario(whole("one"), whole("two"), gpus=1)
    before = {"one": Standing("Running", "node0"), "two": PENDING}
    after = {"one": Standing("Releasing", "node0"), "two": Standing("Pipelined", "node0")}
    assert room(made, before, after) == Devices(0, 0)


def test_who_moves_within_a_node_leaves_its_old_device() -> None:
    # Two halves on two devices: one moves beside the other, and a whole device is promised to a third.
    made = scenario(half("stays"), half("moves"), whole("new"), gpus=2)
    before = {
        "stays": Standing("Running", "node0", ("0",)),
        "moves": Standing("Running", "node0", ("1",)),
        "new": PENDING,
    }
    after = {
        "stays": Standing("Running", "node0", ("0",)),
        "moves": Standing("Pipelined", "node0", ("0",)),
        "new": Standing("Pipelined", "node0"),
    }
    assert room(made, before, after) == Devices(0, 0)


def test_one_pass_is_compared_before_anything_is_carried_over() -> None:
    made = scenario(whole("one"), run=RunSpec(mode="single_pass", actions=("allocate",)))
    (stage,) = Run(made).stages()
    assert stage.name == "after"
    assert stage.after["one"] == Standing("Binding", "node0")


def test_rounds_are_compared_once_carried_over_and_then_as_decided() -> None:
    run = RunSpec(mode="rounds", actions=("allocate",), rounds_until_match=2, rounds_after_match=3)
    stages = list(Run(scenario(whole("one"), run=run)).stages())
    assert [stage.name for stage in stages] == ["after_until_rounds", "round", "round", "after_last_round"]
    assert {stage.after["one"] for stage in stages} == {Standing("Running", "node0")}


def test_a_run_that_remembers_comes_to_the_same() -> None:
    run = RunSpec(mode="rounds", actions=("allocate",), rounds_until_match=1, rounds_after_match=2)
    made = scenario(whole("one"), whole("two", 4), run=run)
    fresh = [stage.after for stage in Run(made).stages()]
    assert [stage.after for stage in Run(made, remember=True).stages()] == fresh


def test_a_pod_that_leaves_gives_its_claim_up() -> None:
    status = {
        "allocation": {
            "devices": {"results": [{"request": "c", "driver": "d", "pool": "node0", "device": "0"}]}
        },
        "reservedFor": [{"resource": "pods", "name": "one", "uid": "one"}],
    }
    claim = ClaimSpec(name="c", device_class="gpu", status=status)
    leaving = TaskSpec(
        name="one", status="Releasing", node="node0", request=RequestSpec(type="dra"), resource_claims=("c",)
    )
    made = scenario(
        leaving,
        gpus=0,
        dra=DraSpec(device_classes=("gpu",), resource_claims=(claim,)),
        run=RunSpec(mode="rounds", actions=("allocate",), rounds_until_match=1),
    )
    run = Run(made)
    (before,) = run.snapshot().resource_claims
    assert before.status.allocation is not None
    assert [stage.after["one"] for stage in run.stages()] == [PENDING]
    (after,) = run.snapshot().resource_claims
    assert after.status.allocation is None
    assert after.status.reserved_for == ()
