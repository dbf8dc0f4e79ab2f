"""Disruption budgets say how many pods may go, and the Eviction API counts on it."""

from typing import Any

import pytest
from world import World

from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.status import StatusError

BUDGETS = "poddisruptionbudgets.policy"


def budget(world: World, **spec: Any) -> None:
    document = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec},
    }
    world.create(document)
    world.settle()


def pods(world: World, *names: str) -> None:
    if world.find("nodes", "n1") is None:
        world.node("n1")
    for name in names:
        world.pod(name)
        world.edit("pods", name, lambda obj: obj["metadata"].update(labels={"app": "x"}))
    world.settle()


def allowed(world: World) -> int:
    found: int = world.find(BUDGETS, "b")["status"]["disruptionsAllowed"]
    return found


def evict(world: World, name: str) -> None:
    registry = world.registry
    body = {"metadata": {"name": name}, "deleteOptions": {}}
    registry.create_subresource(
        registry.resources.named("pods", ""), "default", name, "eviction", body, SYSTEM
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 1}, 2),
        ({"minAvailable": "50%"}, 1),
        ({"maxUnavailable": 1}, 1),
        ({"maxUnavailable": 0}, 0),
        ({}, 1),
    ],
)
def test_what_may_go_is_what_is_ready_beyond_what_has_to_stay(
    world: World, spec: dict[str, Any], expected: int
) -> None:
    pods(world, "p1", "p2", "p3")
    budget(world, **spec)
    assert allowed(world) == expected


def test_evictions_go_on_once_there_are_enough_pods_again(world: World) -> None:
    pods(world, "p1", "p2")
    budget(world, minAvailable=1)
    evict(world, "p1")
    with pytest.raises(StatusError, match="disruption budget"):
        evict(world, "p2")
    world.settle()
    assert allowed(world) == 0
    pods(world, "p3")
    assert allowed(world) == 1
    evict(world, "p2")
    world.settle()
    assert world.names("pods") == ["p3"]
