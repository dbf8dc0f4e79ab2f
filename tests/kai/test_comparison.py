"""What counts as coming out as expected, and as the reference had it."""

from tests.kai.comparison import unlike, unmet
from tests.kai.pods import Standing
from tests.kai.rounds import Devices
from tests.kai.scenario import (
    Expected,
    ExpectedNode,
    ExpectedTask,
    JobSpec,
    Observed,
    ObservedStage,
    ObservedTask,
    Scenario,
    TaskSpec,
)

JOB = JobSpec(name="j", queue="q", tasks=(TaskSpec(name="j-0"), TaskSpec(name="j-1")))
STANDINGS = {"j-0": Standing("Binding", "node0", ("x",)), "j-1": Standing("Binding", "node1", ("x",))}
ROOM = {"node0": Devices(1, 0)}


def expecting(**expected) -> list[str]:  # type: ignore[no-untyped-def]
    made = Scenario(schema="kai-scenario/1", id="t", jobs=(JOB,), expected=Expected(**expected))
    return unmet(made, STANDINGS, ROOM)


def having(*seen: ObservedTask) -> list[str]:
    stage = ObservedStage(tasks={f"j-{number}": item for number, item in enumerate(seen)})
    made = Scenario(schema="kai-scenario/1", id="t", jobs=(JOB,), observed=Observed(after=stage))
    return unlike(made, "after", STANDINGS)


def test_what_holds_for_a_job_holds_for_every_task_of_it() -> None:
    assert not expecting(jobs={"j": ExpectedTask(status="Binding")})
    assert expecting(jobs={"j": ExpectedTask(status="Binding", node="node0")}) == [
        "job j: j-1 is on node1, expected node0"
    ]


def test_a_task_in_another_state_is_told() -> None:
    assert expecting(tasks={"j-0": ExpectedTask(status="Pending")}) == [
        "task: j-0 is Binding, expected Pending"
    ]


def test_names_that_do_not_exist_are_passed_over() -> None:
    assert not expecting(tasks={"k-0": ExpectedTask(status="Pending")})
    assert not expecting(jobs={"k": ExpectedTask(status="Pending")})


def test_idle_devices_are_compared() -> None:
    assert not expecting(nodes={"node0": ExpectedNode(idle_gpus=1, releasing_gpus=0)})
    assert expecting(nodes={"node0": ExpectedNode(idle_gpus=2, releasing_gpus=0)}) == [
        "node node0: idle_gpus 1, expected 2"
    ]


def test_the_reference_is_compared_by_state_and_node() -> None:
    same = ObservedTask(status="Binding", node="node1")
    assert not having(ObservedTask(status="Binding", node="node0"), same)
    assert having(ObservedTask(status="Pending"), same) == ["observed: j-0 is Binding on node0, was Pending"]


def test_what_varied_in_the_reference_may_vary() -> None:
    assert not having(ObservedTask(status="Pending", varies=["Pending", "Binding"]))


def test_names_of_shared_devices_mean_nothing_but_sharing_does() -> None:
    apart = [ObservedTask(status="Binding", node=node, gpu_groups=("same",)) for node in ("node0", "node1")]
    assert not having(*apart)
    together = [ObservedTask(status="Binding", node="node0", gpu_groups=("new-1",)) for _ in range(2)]
    assert having(*together) == [
        "observed: j-1 is Binding on node1, was Binding on node0",
        "observed: j-0 and j-1 shared a GPU",
    ]


def test_a_stage_without_record_is_like_any() -> None:
    made = Scenario(schema="kai-scenario/1", id="t", jobs=(JOB,))
    assert not unlike(made, "round", STANDINGS)
