from typing import Any

import pytest
from world import World

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.deployments import rolling_bounds, share

DEPLOYMENTS, SETS, STATEFUL = "deployments.apps", "replicasets.apps", "statefulsets.apps"


def workload(world: World, kind: str, name: str = "web", *, image: str = "a", **spec: Any) -> None:
    pod = spec.pop("pod", {})
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": image}]} | pod,
    }
    world.create(
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template} | spec,
        }
    )


def use_image(image: str) -> Any:
    def change(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return change


def images(world: World) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in world.list("pods"))


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node("n1", cpu="1000", pods="1000")


def test_a_deployment_runs_its_replicas_and_reports_them(world: World) -> None:
    workload(world, "Deployment", replicas=3)
    world.settle()
    status = world.get(DEPLOYMENTS, "web")["status"]
    for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        assert status[name] == 3
    assert status["observedGeneration"] == world.get(DEPLOYMENTS, "web")["metadata"]["generation"]
    reasons = {one["type"]: one["reason"] for one in status["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    assert len(world.names(SETS)) == 1


def test_scaling_adds_and_removes_pods(world: World) -> None:
    workload(world, "Deployment", replicas=2)
    world.settle()
    for count in (5, 0, 1):
        world.edit(DEPLOYMENTS, "web", lambda obj, count=count: obj["spec"].update(replicas=count))
        world.settle()
        assert len(world.names("pods")) == count


def test_a_deleted_pod_is_replaced(world: World) -> None:
    workload(world, "Deployment", replicas=2)
    world.settle()
    gone = world.names("pods")[0]
    world.delete("pods", gone)
    world.settle()
    assert len(world.names("pods")) == 2
    assert gone not in world.names("pods")


def test_a_new_template_replaces_all_pods(world: World) -> None:
    workload(world, "Deployment", replicas=4)
    world.settle()
    world.edit(DEPLOYMENTS, "web", use_image("b"))
    world.settle()
    assert images(world) == ["b"] * 4
    world.edit(DEPLOYMENTS, "web", use_image("a"))
    world.settle()
    assert images(world) == ["a"] * 4
    assert len(world.names(SETS)) == 2


def test_a_rollout_stays_within_surge_and_unavailability(world: World) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    workload(world, "Deployment", replicas=6, strategy=rolling)
    world.settle()
    seen: list[tuple[int, int]] = []

    def look(change: str, obj: Object) -> None:
        pods = [one for one in world.list("pods") if not one["metadata"].get("deletionTimestamp")]
        ready = sum(1 for one in pods if one["status"].get("phase") == "Running")
        seen.append((len(pods), ready))

    world.registry.observe(world.registry.resources.named("pods"), look)
    world.edit(DEPLOYMENTS, "web", use_image("b"))
    world.settle()
    assert images(world) == ["b"] * 6
    assert max(total for total, _ in seen) <= 7
    assert min(ready for _, ready in seen) >= 5


def test_a_rollout_to_pods_that_cannot_run_keeps_the_old_ones(world: World) -> None:
    workload(world, "Deployment", replicas=4)
    world.settle()

    def break_it(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such"}

    world.edit(DEPLOYMENTS, "web", break_it)
    world.settle()
    running = [one for one in world.list("pods") if one["status"]["phase"] == "Running"]
    assert len(running) == 3
    assert world.get(DEPLOYMENTS, "web")["status"]["availableReplicas"] == 3


def test_recreate_stops_the_old_pods_first(world: World) -> None:
    workload(world, "Deployment", replicas=3, strategy={"type": "Recreate"})
    world.settle()
    mixed = []

    def look(change: str, obj: Object) -> None:
        mixed.append(len(set(images(world))))

    world.registry.observe(world.registry.resources.named("pods"), look)
    world.edit(DEPLOYMENTS, "web", use_image("b"))
    world.settle()
    assert images(world) == ["b"] * 3
    assert max(mixed) == 1


def test_deleting_a_deployment_removes_sets_and_pods(world: World) -> None:
    workload(world, "Deployment", replicas=2)
    world.settle()
    world.delete(DEPLOYMENTS, "web")
    world.settle()
    assert (world.names(SETS), world.names("pods")) == ([], [])


def test_a_replica_set_adopts_pods_that_its_selector_matches(world: World) -> None:
    world.pod("stray", labels={"app": "web"})
    workload(world, "ReplicaSet", replicas=2)
    world.settle()
    assert len(world.names("pods")) == 2
    assert "stray" in world.names("pods")
    assert world.get("pods", "stray")["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"


@pytest.mark.parametrize(
    ("replicas", "rolling", "bounds"),
    [
        (4, {}, (1, 1)),
        (1, {}, (1, 0)),
        (10, {"maxSurge": "25%", "maxUnavailable": "25%"}, (3, 2)),
        (10, {"maxSurge": 0, "maxUnavailable": "1%"}, (0, 1)),
    ],
)
def test_percentages_round_surge_up_and_unavailability_down(
    replicas: int, rolling: Object, bounds: tuple[int, int]
) -> None:
    assert rolling_bounds({"replicas": replicas, "strategy": {"rollingUpdate": rolling}}) == bounds
    assert share("50%", 3, up=True) == 2


def test_a_stateful_set_makes_its_pods_in_order(world: World) -> None:
    order: list[str] = []

    def look(change: str, obj: Object) -> None:
        if change == "ADDED":
            assert all(one["status"]["phase"] == "Running" for one in world.list("pods")[:-1])
            order.append(obj["metadata"]["name"])

    world.registry.observe(world.registry.resources.named("pods"), look)
    workload(world, "StatefulSet", "db", replicas=3, serviceName="db")
    world.settle()
    assert order == ["db-0", "db-1", "db-2"]
    pod = world.get("pods", "db-1")
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    assert world.get(STATEFUL, "db")["status"]["readyReplicas"] == 3


def test_a_stateful_set_waits_for_a_pod_that_is_not_ready(world: World) -> None:
    workload(world, "StatefulSet", "db", replicas=3, serviceName="db", pod={"nodeSelector": {"no": "such"}})
    world.settle()
    assert world.names("pods") == ["db-0"]


def test_a_stateful_set_replaces_pods_under_their_names_and_scales_down_from_the_top(world: World) -> None:
    workload(world, "StatefulSet", "db", replicas=3, serviceName="db")
    world.settle()
    uid = world.get("pods", "db-1")["metadata"]["uid"]
    world.delete("pods", "db-1")
    world.settle()
    assert world.get("pods", "db-1")["metadata"]["uid"] != uid
    world.edit(STATEFUL, "db", use_image("b"))
    world.settle()
    assert images(world) == ["b"] * 3
    world.edit(STATEFUL, "db", lambda obj: obj["spec"].update(replicas=1))
    world.settle()
    assert world.names("pods") == ["db-0"]
