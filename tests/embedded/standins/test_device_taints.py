from typing import Any

import pytest
from world import World, using

from aliquot.embedded.hooks import Object

RULES = "devicetaintrules.resource.k8s.io"


def rule(world: World, effect: str = "NoExecute", **selector: str) -> None:
    """A rule named ``bad``; by default for gpu-0 of n1."""
    chosen = selector or {"driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-0"}
    world.create(
        {
            "apiVersion": "resource.k8s.io/v1beta2",
            "kind": "DeviceTaintRule",
            "metadata": {"name": "bad"},
            "spec": {"deviceSelector": chosen, "taint": {"key": "broken", "effect": effect}},
        }
    )


def slice_of(world: World, *devices: Object, generation: int = 1, name: str = "n1-gpus") -> None:
    world.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": name},
            "spec": {
                "driver": "gpu.nvidia.com",
                "nodeName": "n1",
                "pool": {"name": "n1", "generation": generation, "resourceSliceCount": 1},
                "devices": list(devices),
            },
        }
    )


def progress(world: World) -> tuple[str, str, str]:
    (condition,) = world.get(RULES, "bad", "")["status"]["conditions"]
    assert condition["type"] == "EvictionInProgress"
    assert condition["observedGeneration"] == world.get(RULES, "bad", "")["metadata"]["generation"]
    return condition["status"], condition["reason"], condition.get("message", "")


def running(world: World, **about: Any) -> None:
    """Pod p on n1 with gpu-0; ``about`` goes into the allocation result."""
    world.node("n1")
    world.claim("c")
    world.pod("p", resourceClaims=using("c"))
    world.allocate("c", "n1", "p", **about)
    world.settle()
    assert world.phase("p") == "Running"


def test_a_rule_sends_away_pods_that_use_the_device_and_says_so(world: World) -> None:
    running(world)
    rule(world)
    world.settle()
    assert world.find("pods", "p") is None
    assert progress(world) == ("False", "Completed", "1 pod evicted since starting the controller.")


@pytest.mark.parametrize(
    "selector", [{"driver": "gpu.amd.com"}, {"pool": "n2"}, {"device": "gpu-1"}, {"driver": "gpu.nvidia.com"}]
)
def test_a_rule_concerns_what_it_selects(world: World, selector: dict[str, str]) -> None:
    running(world)
    rule(world, **selector)
    world.settle()
    selected = selector == {"driver": "gpu.nvidia.com"}
    assert (world.find("pods", "p") is None) == selected
    assert progress(world)[1] == ("Completed" if selected else "NotStarted")


def test_a_rule_without_effect_tells_whom_it_would_send_away(world: World) -> None:
    running(world)
    rule(world, effect="None")
    world.settle()
    assert world.phase("p") == "Running"
    assert progress(world) == ("False", "NoEffect", "1 pod would be evicted if the effect was NoExecute.")


def test_a_taint_in_a_slice_sends_pods_away(world: World) -> None:
    slice_of(world, {"name": "gpu-0"})
    running(world)

    def taint(obj: Object) -> None:
        obj["spec"]["devices"][0]["taints"] = [{"key": "broken", "effect": "NoExecute"}]

    world.edit("resourceslices.resource.k8s.io", "n1-gpus", taint, namespace="")
    world.settle()
    assert world.find("pods", "p") is None


def test_a_pod_goes_when_the_time_is_over_for_which_it_tolerates(world: World) -> None:
    running(
        world,
        tolerations=[{"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    )
    rule(world)
    world.pass_time(59)
    assert world.phase("p") == "Running"
    assert progress(world) == ("True", "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace.")
    world.pass_time(2)
    assert world.find("pods", "p") is None


def test_a_pod_that_tolerates_for_ever_stays(world: World) -> None:
    running(world, tolerations=[{"operator": "Exists", "effect": "NoExecute"}])
    rule(world)
    world.pass_time(10_000)
    assert world.phase("p") == "Running"
    assert progress(world)[1] == "NotStarted"


def test_a_toleration_without_effect_keeps_nobody_from_eviction(world: World) -> None:
    running(world, tolerations=[{"operator": "Exists"}])
    rule(world)
    world.settle()
    assert world.find("pods", "p") is None


def test_a_pod_that_is_not_bound_stays(world: World) -> None:
    world.node("n1")
    world.claim("c")
    world.pod("p", schedulingGates=[{"name": "aliquot.dev/placement"}], resourceClaims=using("c"))
    world.allocate("c", "n1", "p")
    rule(world)
    world.settle()
    assert world.phase("p") == "Pending"
    assert progress(world)[1] == "NotStarted"
