import asyncio
import contextlib
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from world import CLAIMS, GATE, World, uids, wanting

from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.embedded.registry import Registry
from aliquot.embedded.standins import StandIns
from aliquot.embedded.standins.kubelet import Kubelet
from aliquot.embedded.standins.work import WorkQueue
from aliquot.embedded.storage import Store


async def test_run_reacts_to_changes_until_it_is_cancelled() -> None:
    registry = Registry(Store(), lambda: datetime.now(UTC), uids())
    running = asyncio.Event()

    def look(change: str, obj: Object) -> None:
        if obj["status"].get("phase") == "Running":
            running.set()

    registry.observe(registry.resources.named("pods"), look)
    task = asyncio.create_task(StandIns(registry).run())
    await asyncio.sleep(0)
    registry.create(
        registry.resources.named("nodes"),
        None,
        {"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "10"}}},
        SYSTEM,
    )
    node = registry.get(registry.resources.named("nodes"), None, "n1")
    node["status"] = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}
    registry.update(registry.resources.named("nodes"), None, "n1", node, SYSTEM, subresource="status")
    pod: Object = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    registry.create(registry.resources.named("pods"), "default", pod, SYSTEM)
    async with asyncio.timeout(10):
        await running.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_object_that_breaks_a_stand_in_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.node("n1")
    kubelet = next(part for part in world.standins._parts if isinstance(part, Kubelet))
    real = kubelet.reconcile

    def fail(key: Hashable) -> None:
        if "bad" in str(key):
            raise ValueError("cannot cope")
        real(key)

    monkeypatch.setattr(kubelet, "reconcile", fail)
    world.pod("bad")
    world.pod("good")
    bound = asyncio.Event()

    def look(change: str, obj: Object) -> None:
        if obj["metadata"]["name"] == "good" and obj["status"].get("phase") == "Running":
            bound.set()

    world.registry.observe(world.registry.resources.named("pods"), look)
    task = asyncio.create_task(world.standins.run())
    async with asyncio.timeout(10):
        await bound.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert "cannot cope" in caplog.text


def test_a_second_set_of_stand_ins_on_settled_objects_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path / "state.db")
    world.node("n1", cpu="100")
    world.template("t")
    template = {
        "spec": {
            "restartPolicy": "Never",
            "schedulingGates": GATE,
            "resourceClaims": wanting("t"),
            "containers": [{"name": "c", "image": "i"}],
        }
    }
    world.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j"},
            "spec": {"parallelism": 5, "completions": 5, "template": template},
        }
    )
    world.settle()
    version = world.registry.version
    world.restart()
    world.settle()
    assert world.registry.version == version


@pytest.mark.parametrize("stop_after", [1, 7, 23, 61, 150])
def test_interrupted_at_any_point_the_work_is_finished_by_the_next(tmp_path: Path, stop_after: int) -> None:
    world = World(tmp_path / "state.db")
    world.node("n1", cpu="100")
    world.template("t")
    for number in range(4):
        world.pod(
            f"p{number}",
            annotations={"aliquot.dev/run-seconds": "5"},
            restartPolicy="Never",
            resourceClaims=wanting("t"),
        )
    parts = world.standins._parts
    steps = 0
    world.standins._view.fill()
    while steps < stop_after and sum(part.work() for part in parts):
        steps += 1
    world.restart()
    world.settle()
    claims = world.list(CLAIMS)
    assert len(claims) == 4
    for claim in claims:
        world.allocate(claim["metadata"]["name"], "n1", claim["metadata"]["ownerReferences"][0]["name"])
    world.restart()
    world.pass_time(6)
    assert [pod["status"]["phase"] for pod in world.list("pods")] == ["Succeeded"] * 4
    assert world.names(CLAIMS) == []


def test_a_queue_gives_each_key_once_and_late_ones_when_they_are_due() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    queue.add_at(10.0, "later")
    queue.add_at(20.0, "later")
    queue.add_at(5.0, "soon")
    assert [queue.pop(0.0) for _ in range(3)] == ["a", "b", None]
    assert queue.next_time() == 5.0
    assert [queue.pop(10.0) for _ in range(3)] == ["soon", "later", None]
    assert queue.next_time() is None


def test_a_queue_waits_longer_after_each_failure_and_forgets_them_after_a_success() -> None:
    queue = WorkQueue()
    assert [queue.retry(0.0, "k") for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    for _ in range(20):
        last = queue.retry(0.0, "k")
    assert last == 30.0
    queue.succeeded("k")
    assert queue.retry(0.0, "k") == 0.1
