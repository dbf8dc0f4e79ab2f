from typing import Any

import pytest
from world import World, wanting


def events(world: World, name: str, namespace: str = "default") -> list[tuple[str, str, str, int]]:
    return [
        (one["type"], one["reason"], one["message"], one["count"])
        for one in world.list("events", namespace)
        if one["involvedObject"]["name"] == name
    ]


def test_a_missing_template_is_told(world: World) -> None:
    world.node("n1")
    world.pod("p", resourceClaims=wanting("none"))
    world.settle()
    message = 'PodResourceClaim gpu: resource claim template "none": not found'
    told = [one[:3] for one in events(world, "p")]
    assert told.count(("Warning", "FailedResourceClaimCreation", message)) == 1


def test_a_pod_that_does_not_fit_is_told_once_per_reason(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("p", cpu="2")
    world.settle()
    assert events(world, "p") == [
        ("Warning", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", 1)
    ]


@pytest.mark.parametrize(
    ("api_version", "kind", "plural", "spec"),
    [
        ("batch/v1", "Job", "jobs.batch", {}),
        ("apps/v1", "ReplicaSet", "replicasets.apps", {"selector": {"matchLabels": {"a": "b"}}}),
        (
            "apps/v1",
            "StatefulSet",
            "statefulsets.apps",
            {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s"},
        ),
    ],
)
def test_pods_that_are_refused_are_told_at_their_owner_and_tried_again(
    world: World, api_version: str, kind: str, plural: str, spec: dict[str, Any]
) -> None:
    pod_spec: dict[str, Any] = {
        "priorityClassName": "later",
        "containers": [{"name": "c", "image": "i"}],
    }
    if kind == "Job":
        pod_spec["restartPolicy"] = "Never"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec}
    world.create(
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": "w"},
            "spec": spec | {"template": template},
        }
    )
    world.pass_time(1)
    told = events(world, "w")
    assert [(one[0], one[1]) for one in told] == [("Warning", "FailedCreate")]
    assert "no PriorityClass with name later was found" in told[0][2]
    assert told[0][3] > 1
    world.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "later"},
            "value": 1,
        }
    )
    world.pass_time(30)
    assert len(world.names("pods")) == 1


def test_events_go_an_hour_after_they_were_last_seen(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("p", cpu="2")
    world.pass_time(3599)
    assert len(events(world, "p")) == 1
    world.pass_time(1)
    assert events(world, "p") == []
