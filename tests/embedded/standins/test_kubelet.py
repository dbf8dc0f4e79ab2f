import pytest
from world import World, using

from aliquot.embedded.hooks import Object


def container(world: World, pod: str) -> Object:
    status: Object = world.get("pods", pod)["status"]["containerStatuses"][0]
    return status


def ready(world: World, pod: str) -> str:
    return next(
        str(one["status"]) for one in world.get("pods", pod)["status"]["conditions"] if one["type"] == "Ready"
    )


def test_a_bound_pod_runs_with_an_address_and_is_ready(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    status = world.get("pods", "p")["status"]
    assert status["phase"] == "Running"
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["podIP"].startswith("10.")
    assert status["startTime"] == "2026-01-01T00:00:00Z"
    assert ready(world, "p") == "True"
    assert container(world, "p")["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def test_a_pod_takes_the_start_time_that_is_asked_for() -> None:
    world = World(start_seconds=3)
    world.node("n1")
    world.pod("p")
    world.settle()
    assert world.phase("p") == "Pending"
    world.pass_time(3)
    assert world.phase("p") == "Running"


def test_a_pod_without_annotation_runs_on(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.pass_time(1_000_000)
    assert world.phase("p") == "Running"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", "0", "Succeeded"), ("Never", "3", "Failed"), ("OnFailure", "0", "Succeeded")],
)
def test_a_pod_ends_after_its_time_with_its_exit_code(
    world: World, policy: str, code: str, phase: str
) -> None:
    world.node("n1")
    annotations = {"aliquot.dev/run-seconds": "90", "aliquot.dev/exit-code": code}
    world.pod("p", annotations=annotations, restartPolicy=policy)
    world.pass_time(89)
    assert world.phase("p") == "Running"
    world.pass_time(1)
    assert world.phase("p") == phase
    assert container(world, "p")["state"]["terminated"]["exitCode"] == int(code)
    assert container(world, "p")["state"]["terminated"]["finishedAt"] == "2026-01-01T00:01:30Z"
    assert ready(world, "p") == "False"


def test_a_failing_container_is_restarted_after_growing_pauses(world: World) -> None:
    world.node("n1")
    annotations = {"aliquot.dev/run-seconds": "5", "aliquot.dev/exit-code": "1"}
    world.pod("p", annotations=annotations, restartPolicy="OnFailure")
    world.pass_time(5)
    assert container(world, "p")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert world.phase("p") == "Running"
    world.pass_time(10)
    assert container(world, "p")["restartCount"] == 1
    assert "running" in container(world, "p")["state"]
    world.pass_time(5 + 19)
    assert "waiting" in container(world, "p")["state"]
    world.pass_time(1)
    assert container(world, "p")["restartCount"] == 2


def test_a_running_pod_ends_on_time_after_a_restart_of_everything(lasting: World) -> None:
    lasting.node("n1")
    lasting.pod("p", annotations={"aliquot.dev/run-seconds": "60"}, restartPolicy="Never")
    lasting.pass_time(30)
    lasting.restart()
    lasting.pass_time(29)
    assert lasting.phase("p") == "Running"
    lasting.pass_time(1)
    assert lasting.phase("p") == "Succeeded"


@pytest.mark.parametrize("text", ["soon", "-4", "1e999", "nan"])
def test_a_run_time_that_is_no_number_stops_nobody(world: World, text: str) -> None:
    world.node("n1")
    world.pod("odd", annotations={"aliquot.dev/run-seconds": text}, restartPolicy="Never")
    world.pod("plain")
    world.settle()
    assert world.phase("plain") == "Running"
    assert world.phase("odd") in ("Running", "Succeeded")


def test_a_pod_that_outlives_its_deadline_fails(world: World) -> None:
    world.node("n1")
    world.pod("p", activeDeadlineSeconds=20)
    world.pass_time(20)
    status = world.get("pods", "p")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_deleted_pod_goes_once_its_containers_have_stopped(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    world.delete("pods", "p")
    assert world.get("pods", "p")["metadata"]["deletionTimestamp"]
    world.settle()
    assert world.find("pods", "p") is None


def test_a_deleted_pod_with_a_finalizer_fails_and_stays_until_it_is_removed(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.edit("pods", "p", lambda obj: obj["metadata"].update(finalizers=["example.com/hold"]))
    world.settle()
    world.delete("pods", "p")
    world.settle()
    assert world.phase("p") == "Failed"
    world.edit("pods", "p", lambda obj: obj["metadata"].update(finalizers=[]))
    world.settle()
    assert world.find("pods", "p") is None


def test_a_pod_does_not_start_before_its_claim_is_reserved_for_it(world: World) -> None:
    world.node("n1")
    world.claim("c")
    world.pod("p", nodeName="n1", resourceClaims=using("c"))
    world.settle()
    assert world.phase("p") == "Pending"
    world.allocate("c", "n1", "p")
    world.settle()
    assert world.phase("p") == "Running"


def test_a_pod_on_a_node_that_does_not_exist_starts_when_the_node_appears(world: World) -> None:
    world.pod("p", nodeName="late")
    world.settle()
    assert world.phase("p") == "Pending"
    world.node("late")
    world.settle()
    assert world.phase("p") == "Running"
