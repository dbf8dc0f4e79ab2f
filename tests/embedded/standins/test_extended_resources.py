from typing import Any

import pytest
from world import CLAIMS, World

from aliquot.embedded.hooks import Object

GPU = "example.com/gpu"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"


@pytest.fixture
def fleet() -> World:
    """n1 with two GPUs behind a class that stands for example.com/gpu; the shipped policies."""
    world = World(policies=True)
    world.node("n1")
    world.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": "n1-gpus"},
            "spec": {
                "driver": "gpu.nvidia.com",
                "nodeName": "n1",
                "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}],
            },
        }
    )
    world.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": "gpu"},
            "spec": {"extendedResourceName": GPU},
        }
    )
    world.settle()
    return world


def asking(world: World, name: str, count: int = 1, **parts: Any) -> Object:
    container = {"name": "main", "image": "work", "resources": {"limits": {GPU: str(count)}}}
    return world.pod(name, containers=[container], **parts)


def test_the_scheduler_makes_and_allocates_a_claim(fleet: World) -> None:
    pod = asking(fleet, "p")
    fleet.settle()
    assert (fleet.place_of("p"), fleet.phase("p")) == ("n1", "Running")
    (claim,) = fleet.list(CLAIMS)
    meta, status = claim["metadata"], claim["status"]
    assert meta["name"].startswith("p-extended-resources-")
    assert meta["annotations"] == {ANNOTATION: "true"}
    assert meta["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    assert status["reservedFor"][0]["uid"] == pod["metadata"]["uid"]
    assert [one["device"] for one in status["allocation"]["devices"]["results"]] == ["gpu-0"]
    assert fleet.get("pods", "p")["status"]["extendedResourceClaimStatus"] == {
        "requestMappings": [
            {"containerName": "main", "resourceName": GPU, "requestName": "container-0-request-0"}
        ],
        "resourceClaimName": meta["name"],
    }


def test_devices_are_given_once_and_wait_for_the_pod_that_has_them(fleet: World) -> None:
    asking(fleet, "a", 2)
    fleet.settle()
    asking(fleet, "b")
    fleet.settle()
    assert fleet.scheduled("b") == (
        "False",
        "Unschedulable",
        "0/1 nodes are available: 1 cannot allocate all claims.",
    )
    fleet.delete("pods", "a")
    fleet.pass_time(10)
    assert fleet.phase("b") == "Running"
    assert len(fleet.list(CLAIMS)) == 1


def test_the_claim_goes_when_the_pod_has_finished(fleet: World) -> None:
    asking(fleet, "p", restartPolicy="Never", annotations={"aliquot.dev/run-seconds": "60"})
    fleet.settle()
    assert len(fleet.list(CLAIMS)) == 1
    fleet.pass_time(61)
    assert fleet.phase("p") == "Succeeded"
    assert fleet.list(CLAIMS) == []


def test_a_device_plugin_needs_no_claim(fleet: World) -> None:
    fleet.node("n2")
    size = {"cpu": "8", "memory": "64Gi", "pods": "110", GPU: "1"}
    fleet.edit("nodes", "n2", lambda obj: obj.update(status={"allocatable": size}), subresource="status")
    asking(fleet, "p")
    fleet.settle()
    assert (fleet.place_of("p"), fleet.phase("p")) == ("n2", "Running")
    assert fleet.list(CLAIMS) == []
