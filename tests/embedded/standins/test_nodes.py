from typing import Any

from world import World


def taint(world: World, *taints: dict[str, Any]) -> None:
    world.edit("nodes", "n1", lambda obj: obj["spec"].update(taints=list(taints)))


OUT = {"key": "broken", "effect": "NoExecute"}


def test_pods_of_a_lost_node_fail_and_go_after_the_quarantine(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    world.delete("nodes", "n1")
    world.pass_time(39)
    assert world.phase("p") == "Running"
    world.pass_time(1)
    assert world.find("pods", "p") is None


def test_a_node_that_comes_back_in_time_keeps_its_pods(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    world.delete("nodes", "n1")
    world.pass_time(30)
    world.node("n1")
    world.pass_time(100)
    assert world.phase("p") == "Running"


def test_a_terminating_pod_of_a_lost_node_goes(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    world.delete("nodes", "n1")
    world.delete("pods", "p")
    world.pass_time(60)
    assert world.find("pods", "p") is None


def test_a_noexecute_taint_drives_out_pods_that_do_not_tolerate_it(world: World) -> None:
    world.node("n1")
    world.pod("out")
    world.pod("stays", tolerations=[{"key": "broken", "operator": "Exists"}])
    world.pod(
        "leaves",
        tolerations=[{"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}],
    )
    world.settle()
    taint(world, OUT | {"timeAdded": "2026-01-01T00:00:00Z"})
    world.settle()
    assert sorted(world.names("pods")) == ["leaves", "stays"]
    world.pass_time(30)
    assert world.names("pods") == ["stays"]


def test_a_taint_that_is_removed_in_time_drives_nobody_out(world: World) -> None:
    world.node("n1")
    world.pod(
        "p",
        tolerations=[{"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}],
    )
    world.settle()
    taint(world, OUT | {"timeAdded": "2026-01-01T00:00:00Z"})
    world.pass_time(20)
    taint(world)
    world.pass_time(60)
    assert world.phase("p") == "Running"
