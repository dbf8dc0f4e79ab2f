"""LeaderWorkerSets, Ray clusters, replicas and model servers: how many of which pods start together."""

from typing import Any

import pytest
from tests.workloads.builders import (
    Shown,
    constraints,
    gangs_of,
    obj,
    only,
    owner,
    pod,
    priority_class,
    shown,
)

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject

LWS = "leaderworkerset.sigs.k8s.io"


def worker(group: int, index: int, size: int = 4, part: int | None = None, **fields: Any) -> Pod:
    labels = {f"{LWS}/name": "llm", f"{LWS}/group-index": str(group), f"{LWS}/worker-index": str(index)}
    if part is not None:
        labels[f"{LWS}/subgroup-index"] = str(part)
    annotations = {f"{LWS}/size": str(size), **fields.pop("annotations", {})}
    name = f"llm-{group}" if index == 0 else f"llm-{group}-{index}"
    return pod(name, labels, annotations, **fields)


def leader_worker_set(size: int = 4, **spec: Any) -> KubernetesObject:
    template = {"size": size, **spec.pop("template", {})}
    return obj(
        "LeaderWorkerSet",
        "leaderworkerset.x-k8s.io/v1",
        "llm",
        spec={"replicas": 2, "leaderWorkerTemplate": template, **spec},
    )


@pytest.mark.parametrize("known", [True, False])
def test_every_group_of_a_leader_worker_set_is_a_gang(known: bool) -> None:
    pods = [worker(group, index) for group in range(2) for index in (3, 2, 1, 0)]
    found = gangs_of([*([leader_worker_set()] if known else []), *pods])
    assert {name: gang.minimum for name, gang in found.items()} == {
        "leaderworkerset/team/llm/0": 4,
        "leaderworkerset/team/llm/1": 4,
    }
    members = found["leaderworkerset/team/llm/1"].members
    assert [item.name for item in members] == ["llm-1", "llm-1-1", "llm-1-2", "llm-1-3"]


@pytest.mark.parametrize(
    ("leader", "minimum"), [({}, 1), ({"node": "n"}, 1), ({"node": "n", "ready": True}, 4)]
)
def test_workers_that_are_made_after_their_leader_is_ready(leader: dict[str, Any], minimum: int) -> None:
    assert only([leader_worker_set(startupPolicy="LeaderReady"), worker(0, 0, **leader)]).minimum == minimum


@pytest.mark.parametrize(("node", "minimum"), [("", 1), ("n", 4)])
def test_workers_follow_a_leader_to_its_own_domain(node: str, minimum: int) -> None:
    gang = only([worker(0, 0, node=node, annotations={f"{LWS}/exclusive-topology": "rack"})])
    assert (gang.minimum, constraints(gang.root)) == (minimum, {"": ("", "rack", "")})


@pytest.mark.parametrize(
    ("size", "length", "policy", "tree"),
    [
        (8, 4, "LeaderWorker", {"part-0": 4, "part-1": 4}),
        (9, 4, "LeaderWorker", {"part-0": 5, "part-1": 4}),
        (9, 4, "LeaderExcluded", {"leader": 1, "part-0": 4, "part-1": 4}),
    ],
)
def test_parts_of_a_group_are_subgroups(size: int, length: int, policy: str, tree: Shown) -> None:
    marks = {
        f"{LWS}/subgroup-size": str(length),
        f"{LWS}/subgroup-policy-type": policy,
        f"{LWS}/subgroup-exclusive-topology": "block",
    }
    parts: dict[int, int | None] = {0: None if policy == "LeaderExcluded" else 0}
    rest = (size - 1) % length
    for index in range(1, size):
        parts[index] = (index - 1) // length if policy == "LeaderExcluded" or not rest else index // length
    pods = [worker(0, index, size, part, annotations=marks) for index, part in parts.items()]
    gang = only([leader_worker_set(size), *pods])
    assert shown(gang.root) == tree
    assert constraints(gang.root) == dict.fromkeys(("part-0", "part-1"), ("", "block", ""))
    counted: dict[str, int] = {}
    for leaf in gang.leaf_of.values():
        counted[leaf] = counted.get(leaf, 0) + 1
    assert counted == tree


def ray_pod(role: str, number: int = 0, group: str = "gpu", **fields: Any) -> Pod:
    labels = {"ray.io/cluster": "ray", "ray.io/node-type": role, "ray.io/group": group}
    name = "ray-head" if role == "head" else f"ray-{group}-{number}"
    return pod(name, labels, owner=owner("RayCluster", "ray.io/v1", "ray"), **fields)


def ray_cluster(*groups: dict[str, Any], **fields: Any) -> KubernetesObject:
    spec = {"workerGroupSpecs": list(groups), **fields.pop("spec", {})}
    return obj("RayCluster", "ray.io/v1", "ray", spec=spec, **fields)


def group(name: str, replicas: int, least: int = 0, most: int = 10, **fields: Any) -> dict[str, Any]:
    return {"groupName": name, "replicas": replicas, "minReplicas": least, "maxReplicas": most, **fields}


@pytest.mark.parametrize(
    ("groups", "autoscaling", "tree", "maximum"),
    [
        ([group("gpu", 4)], False, {"head": 1, "gpu": 4}, 11),
        ([group("gpu", 4, 2)], True, {"head": 1, "gpu": 2}, 11),
        ([group("gpu", 1, 2)], False, {"head": 1, "gpu": 2}, 11),
        ([group("tpu", 2, most=2, numOfHosts=4)], False, {"head": 1, "tpu": 8}, 9),
        ([group("gpu", 4, suspend=True), group("cpu", 2)], False, {"head": 1, "gpu": 0, "cpu": 2}, 21),
    ],
)
def test_a_ray_cluster_needs_its_head_and_its_workers(
    groups: list[dict[str, Any]], autoscaling: bool, tree: Shown, maximum: int
) -> None:
    cluster = ray_cluster(*groups, spec={"enableInTreeAutoscaling": autoscaling})
    pods = [ray_pod("worker", number) for number in range(2)]
    gang = only([cluster, *pods, ray_pod("head")])
    assert {**shown(gang.root)} == {"gpu": 0, **tree}  # type: ignore[dict-item]
    assert gang.maximum == maximum
    assert gang.members[0].name == "ray-head"


def test_without_its_cluster_each_worker_joins_the_head_on_its_own() -> None:
    gang = only([ray_pod("head"), ray_pod("worker", 0), ray_pod("worker", 1)])
    assert shown(gang.root) == {"head": 1, "gpu": 0}


def test_a_ray_job_gives_its_cluster_a_queue_and_a_priority_and_its_submitter_is_apart() -> None:
    above = owner("RayJob", "ray.io/v1", "rj")
    made_by = obj(
        "RayJob",
        "ray.io/v1",
        "rj",
        labels={"kai.scheduler/queue": "research", "ray.io/priority-class-name": "urgent"},
    )
    submitter = obj("Job", "batch/v1", "rj-submit", owner=above, spec={"parallelism": 1, "completions": 1})
    found = gangs_of(
        [
            made_by,
            submitter,
            priority_class("urgent", 900),
            ray_cluster(group("gpu", 1), owner=above),
            ray_pod("head"),
            ray_pod("worker"),
            pod("rj-submit-x", owner=owner("Job", "batch/v1", "rj-submit")),
        ]
    )
    assert {name: (gang.minimum, gang.queue, gang.priority) for name, gang in found.items()} == {
        "raycluster/team/ray": (2, "research", 900),
        "job/team/rj-submit": (1, "research", 900),
    }


def replicas(kind: str, name: str, count: int, **fields: Any) -> KubernetesObject:
    return obj(kind, "apps/v1", name, spec={"replicas": count}, **fields)


def deployment(count: int = 3, **fields: Any) -> list[KubernetesObject]:
    return [
        replicas("Deployment", "web", count, **fields),
        replicas("ReplicaSet", "web-1", count, owner=owner("Deployment", "apps/v1", "web")),
    ]


def deployment_pods(count: int = 3, **fields: Any) -> list[Pod]:
    above = owner("ReplicaSet", "apps/v1", "web-1")
    return [pod(f"web-1-{number}", owner=above, **fields) for number in range(count)]


def test_pods_of_a_deployment_are_each_on_their_own_in_its_queue() -> None:
    labels = {"kueue.x-k8s.io/queue-name": "serving", "aliquot.dev/preemptible": "false"}
    found = gangs_of([*deployment(labels=labels), *deployment_pods()])
    assert sorted(found) == ["pod/team/web-1-0", "pod/team/web-1-1", "pod/team/web-1-2"]
    for gang in found.values():
        assert (gang.minimum, gang.queue, gang.preemptible) == (1, "serving", False)
        assert shown(gang.root) == 1


def test_an_annotated_deployment_or_stateful_set_is_a_gang() -> None:
    gang = only([*deployment(annotations={"aliquot.dev/gang-size": "2"}), *deployment_pods()])
    assert (gang.minimum, str(gang.ref)) == (2, "replicaset/team/web-1")
    above = owner("StatefulSet", "apps/v1", "db")
    pods = [
        pod(f"db-{number}", {"apps.kubernetes.io/pod-index": str(number)}, owner=above)
        for number in (10, 9, 0)
    ]
    gang = only([replicas("StatefulSet", "db", 11, annotations={"aliquot.dev/gang-size": "11"}), *pods])
    assert (gang.minimum, [item.name for item in gang.members]) == (11, ["db-0", "db-9", "db-10"])


def kserve_pod(name: str, app: str, set_name: str) -> Pod:
    labels = {"serving.kserve.io/inferenceservice": "llm", "component": "predictor", "app": app}
    return pod(name, labels, owner=owner("ReplicaSet", "apps/v1", set_name))


def test_a_server_of_kserve_that_spans_nodes_is_a_gang_of_head_and_workers() -> None:
    service = obj(
        "InferenceService",
        "serving.kserve.io/v1beta1",
        "llm",
        spec={"predictor": {"workerSpec": {"pipelineParallelSize": 3}}},
    )
    sets = [replicas("ReplicaSet", "llm-head-1", 1), replicas("ReplicaSet", "llm-worker-1", 2)]
    pods = [
        kserve_pod("a-worker", "isvc.llm-predictor-worker", "llm-worker-1"),
        kserve_pod("b-head", "isvc.llm-predictor", "llm-head-1"),
    ]
    gang = only([service, *sets, *pods])
    assert shown(gang.root) == {"head": 1, "workers": 2}
    assert gang.members[0].name == "b-head"


def test_other_servers_are_each_on_their_own() -> None:
    plain = obj("InferenceService", "serving.kserve.io/v1beta1", "llm", spec={"predictor": {}})
    assert len(gangs_of([plain, kserve_pod("a", "isvc.llm", "x"), kserve_pod("b", "isvc.llm", "x")])) == 2
    seldon = obj("SeldonDeployment", "machinelearning.seldon.io/v1", "s", labels={"aliquot.dev/queue": "q"})
    above = owner("SeldonDeployment", "machinelearning.seldon.io/v1", "s")
    made = [
        replicas("Deployment", "web", 2, owner=above),
        replicas("ReplicaSet", "web-1", 2, owner=owner("Deployment", "apps/v1", "web")),
    ]
    found = gangs_of([seldon, *made, *deployment_pods(2)])
    assert [gang.queue for gang in found.values()] == ["q", "q"]
