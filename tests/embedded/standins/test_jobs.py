from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import GATE, World

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.jobs import format_indexes, parse_indexes

JOBS = "jobs.batch"
INDEX = "batch.kubernetes.io/job-completion-index"


def job(world: World, name: str = "j", *, seconds: str = "10", code: str = "0", **spec: Any) -> None:
    pod_spec = {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "work"}],
    } | spec.pop("pod", {})
    annotations = {"aliquot.dev/run-seconds": seconds, "aliquot.dev/exit-code": code}
    template = {"metadata": {"annotations": annotations}, "spec": pod_spec}
    world.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": template} | spec,
        }
    )


def status(world: World, name: str = "j") -> Object:
    found: Object = world.get(JOBS, name)["status"]
    return found


def conditions(world: World, name: str = "j") -> dict[str, str]:
    return {
        one["type"]: one.get("reason", "")
        for one in status(world, name).get("conditions", [])
        if one["status"] == "True"
    }


def fail(pod: Object) -> None:
    pod["status"]["phase"] = "Failed"


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node("n1", cpu="1000", pods="1000")


def test_a_job_runs_its_pods_at_most_parallelism_at_a_time(world: World) -> None:
    job(world, parallelism=2, completions=5)
    world.settle()
    assert status(world)["active"] == 2
    world.pass_time(10)
    assert (status(world)["active"], status(world)["succeeded"]) == (2, 2)
    world.pass_time(10)
    assert (status(world)["active"], status(world)["succeeded"]) == (1, 4)
    world.pass_time(10)
    assert status(world)["succeeded"] == 5
    assert conditions(world) == {
        "SuccessCriteriaMet": "CompletionsReached",
        "Complete": "CompletionsReached",
    }
    assert status(world)["completionTime"] == "2026-01-01T00:00:30Z"
    assert len(world.names("pods")) == 5


def test_an_indexed_job_runs_every_index_once(world: World) -> None:
    job(world, parallelism=3, completions=3, completionMode="Indexed")
    world.settle()
    pods = world.list("pods")
    assert sorted(pod["metadata"]["labels"][INDEX] for pod in pods) == ["0", "1", "2"]
    assert sorted(pod["spec"]["hostname"] for pod in pods) == ["j-0", "j-1", "j-2"]
    assert {pod["spec"]["containers"][0]["env"][0]["name"] for pod in pods} == {"JOB_COMPLETION_INDEX"}
    assert all(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j" for pod in pods)
    world.pass_time(10)
    assert status(world)["completedIndexes"] == "0-2"
    assert "Complete" in conditions(world)


def test_a_deleted_pod_is_replaced_with_its_index_and_counts_as_failed(world: World) -> None:
    job(world, parallelism=2, completions=2, completionMode="Indexed")
    world.settle()
    victim = next(name for name in world.names("pods") if name.startswith("j-1-"))
    world.delete("pods", victim)
    world.settle()
    assert victim not in world.names("pods")
    assert sorted(pod["metadata"]["annotations"][INDEX] for pod in world.list("pods")) == ["0", "1"]
    assert (status(world)["failed"], status(world)["active"]) == (1, 2)


def test_a_failed_pod_is_replaced_after_a_pause(world: World) -> None:
    job(world, seconds="5", code="1", backoffLimit=2)
    world.pass_time(5)
    assert (status(world)["failed"], status(world).get("active")) == (1, None)
    world.pass_time(9)
    assert status(world).get("active") is None
    world.pass_time(1)
    assert status(world)["active"] == 1


def test_a_job_fails_when_more_pods_failed_than_its_limit_and_stops_the_others(world: World) -> None:
    job(world, parallelism=4, completions=4, backoffLimit=0, seconds="1000")
    world.settle()
    world.edit("pods", world.names("pods")[0], fail, subresource="status")
    world.settle()
    assert conditions(world) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert len(world.names("pods")) == 1
    assert (status(world)["failed"], status(world).get("active")) == (1, None)


def test_a_job_without_completions_is_done_when_one_pod_succeeded_and_the_rest_has_ended(
    world: World,
) -> None:
    job(world, parallelism=3)
    world.pass_time(10)
    assert status(world)["succeeded"] == 3
    assert "Complete" in conditions(world)


def test_suspending_a_job_removes_its_pods_without_failures_and_resuming_starts_again(world: World) -> None:
    job(world, parallelism=2, completions=2, seconds="1000")
    world.settle()
    world.edit(JOBS, "j", lambda obj: obj["spec"].update(suspend=True))
    world.settle()
    assert world.names("pods") == []
    assert conditions(world) == {"Suspended": "JobSuspended"}
    assert status(world).get("failed") is None
    world.edit(JOBS, "j", lambda obj: obj["spec"].update(suspend=False))
    world.settle()
    assert status(world)["active"] == 2
    assert conditions(world) == {}


def test_parallelism_may_change_while_a_job_runs(world: World) -> None:
    job(world, parallelism=4, completions=8, seconds="1000")
    world.settle()
    world.edit(JOBS, "j", lambda obj: obj["spec"].update(parallelism=1))
    world.settle()
    assert (status(world)["active"], status(world).get("failed")) == (1, None)
    world.edit(JOBS, "j", lambda obj: obj["spec"].update(parallelism=6))
    world.settle()
    assert status(world)["active"] == 6


def test_a_job_that_takes_too_long_fails(world: World) -> None:
    job(world, seconds="1000", activeDeadlineSeconds=50)
    world.pass_time(50)
    assert conditions(world)["Failed"] == "DeadlineExceeded"
    assert world.names("pods") == []


def test_a_finished_job_is_removed_after_its_time_to_live_with_its_pods(world: World) -> None:
    job(world, ttlSecondsAfterFinished=30)
    world.pass_time(10)
    assert "Complete" in conditions(world)
    world.pass_time(29)
    assert world.names(JOBS) == ["j"]
    world.pass_time(1)
    assert (world.names(JOBS), world.names("pods")) == ([], [])


def test_gated_pods_of_a_gang_are_all_made_at_once(world: World) -> None:
    job(world, parallelism=64, completions=64, completionMode="Indexed", pod={"schedulingGates": GATE})
    world.settle()
    assert len(world.names("pods")) == 64
    assert status(world)["active"] == 64


def test_counts_survive_a_restart_and_the_deletion_of_finished_pods(lasting: World) -> None:
    lasting.node("n1")
    job(lasting, parallelism=2, completions=6)
    lasting.pass_time(10)
    assert status(lasting)["succeeded"] == 2
    for pod in lasting.list("pods"):
        if pod["status"]["phase"] == "Succeeded":
            lasting.delete("pods", pod["metadata"]["name"])
    lasting.restart()
    lasting.settle()
    assert (status(lasting)["succeeded"], status(lasting)["active"]) == (2, 2)
    lasting.pass_time(20)
    assert status(lasting)["succeeded"] == 6
    assert "Complete" in conditions(lasting)


@given(st.sets(st.integers(0, 300)))
def test_index_ranges_read_back_as_they_were_written(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_index_ranges_are_written_as_kubernetes_does() -> None:
    assert format_indexes({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"


def failing_with(code: int, action: str) -> Object:
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [code]}}]}


def test_failures_that_the_policy_ignores_do_not_count(world: World) -> None:
    job(world, seconds="5", code="42", backoffLimit=0, podFailurePolicy=failing_with(42, "Ignore"))
    world.pass_time(60)
    assert status(world).get("failed") is None
    assert conditions(world) == {}
    assert len(world.names("pods")) > 3


def test_a_failure_that_the_policy_names_ends_the_job_at_once(world: World) -> None:
    job(world, seconds="5", code="42", backoffLimit=6, podFailurePolicy=failing_with(42, "FailJob"))
    world.pass_time(5)
    assert conditions(world)["Failed"] == "PodFailurePolicy"
    told = next(one for one in status(world)["conditions"] if one["type"] == "Failed")
    pod = world.names("pods")[0]
    assert told["message"] == (
        f"Container main failed with exit code 42 for pod default/{pod} matching FailJob rule at index 0"
    )


def test_other_exit_codes_count_as_usual(world: World) -> None:
    job(world, seconds="5", code="1", backoffLimit=0, podFailurePolicy=failing_with(42, "Ignore"))
    world.pass_time(5)
    assert conditions(world)["Failed"] == "BackoffLimitExceeded"


def test_pods_lost_with_their_node_need_not_count() -> None:
    world = World(quarantine_seconds=1)
    world.node("n1")
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    job(world, seconds="1000", backoffLimit=0, podFailurePolicy={"rules": [rule]})
    world.settle()
    world.delete("nodes", "n1")
    world.pass_time(2)
    assert conditions(world) == {}
    assert (status(world).get("failed"), status(world)["active"]) == (None, 1)
