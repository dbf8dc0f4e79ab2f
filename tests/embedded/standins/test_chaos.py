"""Jobs, claims and nodes under random interference, with a plain allocator in Aliquot's place."""

import contextlib
import random
from pathlib import Path

import pytest
from world import CLAIMS, GATE, World, wanting

from aliquot.embedded.hooks import Object
from aliquot.embedded.status import StatusError

JOBS = "jobs.batch"
DEVICES = [(f"n{node}", f"gpu-{device}") for node in range(3) for device in range(4)]


def used_devices(world: World) -> list[tuple[str, str]]:
    """Every device of every allocation; a device that appears twice was given out twice."""
    return [
        (result["pool"], result["device"])
        for claim in world.list(CLAIMS)
        if (allocation := (claim.get("status") or {}).get("allocation"))
        for result in allocation["devices"]["results"]
    ]


def lift(pod: Object) -> None:
    pod["spec"]["schedulingGates"] = []


def allocate_what_waits(world: World) -> None:
    nodes = world.names("nodes")
    for pod in world.list("pods"):
        if not pod["spec"].get("schedulingGates") or pod["metadata"].get("deletionTimestamp"):
            continue
        for entry in pod["status"].get("resourceClaimStatuses") or ():
            claim = world.find(CLAIMS, entry["resourceClaimName"])
            if claim is None or claim["metadata"].get("deletionTimestamp"):
                break
            if not (claim.get("status") or {}).get("allocation"):
                used = used_devices(world)
                free = [one for one in DEVICES if one not in used and one[0] in nodes]
                if not free:
                    break
                name = claim["metadata"]["name"]
                world.allocate(name, free[0][0], pod["metadata"]["name"], device=free[0][1])
            world.edit("pods", pod["metadata"]["name"], lift)


def check(world: World) -> None:
    used = used_devices(world)
    assert len(used) == len(set(used))
    nodes = {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in world.list("pods")}
    for claim in world.list(CLAIMS):
        status = claim.get("status") or {}
        for one in status.get("reservedFor") or ():
            node = nodes.get(one["name"])
            assert node in (None, status["allocation"]["devices"]["results"][0]["pool"])


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(6, 200))]
)
def test_whatever_is_deleted_or_restarted_all_jobs_end_and_all_devices_come_back(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    world = World(tmp_path / "state.db", quarantine_seconds=5)
    for node in range(3):
        world.node(f"n{node}", cpu="16")
    world.template("one-gpu")
    template = {
        "metadata": {"annotations": {"aliquot.dev/run-seconds": "20"}},
        "spec": {
            "restartPolicy": "Never",
            "schedulingGates": GATE,
            "resourceClaims": wanting("one-gpu"),
            "containers": [{"name": "main", "image": "work"}],
        },
    }
    for number in range(4):
        spec = {"parallelism": 4, "completions": 6, "backoffLimit": 1000, "template": template}
        if number % 2:
            spec["completionMode"] = "Indexed"
        world.create(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"j{number}"}, "spec": spec}
        )
    for _ in range(40):
        what = chance.random()
        pods, claims = world.names("pods"), world.names(CLAIMS)
        with contextlib.suppress(StatusError):
            if what < 0.15 and pods:
                world.delete("pods", chance.choice(pods))
            elif what < 0.3 and claims:
                world.delete(CLAIMS, chance.choice(claims))
            elif what < 0.4:
                world.restart()
            elif what < 0.45:
                world.delete("nodes", "n2")
            elif what < 0.55 and "n2" not in world.names("nodes"):
                world.node("n2", cpu="16")
        if chance.random() < 0.8:
            world.settle()
            check(world)
            allocate_what_waits(world)
        world.pass_time(chance.choice([0, 1, 7]))
        check(world)
    if "n2" not in world.names("nodes"):
        world.node("n2", cpu="16")
    for _ in range(200):
        world.pass_time(10)
        allocate_what_waits(world)
        check(world)
        if all("completionTime" in job["status"] for job in world.list(JOBS)):
            break
    assert [job["status"]["succeeded"] for job in world.list(JOBS)] == [6] * 4
    world.pass_time(1)
    assert used_devices(world) == []
    assert world.names(CLAIMS) == []
