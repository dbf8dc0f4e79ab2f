"""Workloads are found by every name that people know them by."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import aliquot

from aliquot.cli.workload_names import KINDS, KindError, parse, workloads_named
from aliquot.inventory.report import Report
from aliquot.model.kinds import decode
from aliquot.model.owners import OWNERS
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.workloads.membership import SOURCES

NOW = datetime(2026, 3, 1, tzinfo=UTC)
API = {kind.__name__: versions[0] for kind, versions in OWNERS.items()}


def reference(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": API[kind], "kind": kind, "name": name, "uid": f"{kind}-{name}", "controller": True}


def owner(kind: str, name: str, above: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"{kind}-{name}"}
    if above is not None:
        metadata["ownerReferences"] = [above]  # type: ignore[assignment]
    return {"apiVersion": API[kind], "kind": kind, "metadata": metadata, "spec": spec}


def pod(name: str, above: dict[str, Any] | None = None, **labels: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "team", "uid": name, "labels": labels}
    if above is not None:
        metadata["ownerReferences"] = [above]
    resources = {"requests": {"nvidia.com/gpu": "1"}}
    spec = {"containers": [{"name": "main", "image": "x", "resources": resources}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def report(*objects: dict[str, Any]) -> Report:
    managed = {"name": "team", "labels": {"aliquot.dev/managed": "true"}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": managed}
    snapshot = Snapshot.of(decode(item) for item in (namespace, *objects))
    policy = Policy(every_pod=True)
    return Report.of(snapshot, decide(snapshot, policy, NOW), policy)


def named(found: Report, text: str) -> list[str]:
    return [f"{state.ref.kind}/{state.ref.name}" for state in workloads_named(found, parse(text), "team")]


@pytest.mark.parametrize("kind", [*SOURCES, *API])
def test_every_kind_that_pods_are_grouped_by_can_be_written(kind: str) -> None:
    for written in (kind, kind.lower(), f"{kind.lower()}s"):
        assert kind in parse(f"{written}/x").kinds


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("deploymant/web", "did you mean 'deployment'?"),
        ("configmap/web", "write one of pod, job, jobset"),
        ("/x", "write"),
    ],
)
def test_other_kinds_are_refused_with_what_to_write(text: str, fix: str) -> None:
    with pytest.raises(KindError) as raised:
        parse(text)
    assert fix in raised.value.fix


def test_explain_refuses_them_without_asking_the_cluster(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = aliquot(capsys, "explain", "deploymant/web", "--kubeconfig", str(tmp_path / "none"))
    assert result.code == 2
    assert (
        result.err == "error: there is nothing to explain of kind 'deploymant'; did you mean 'deployment'?\n"
    )


def test_a_deployment_stands_for_its_pods() -> None:
    found = report(
        owner("Deployment", "web", replicas=2),
        owner("ReplicaSet", "web-5d8", reference("Deployment", "web"), replicas=2),
        pod("web-5d8-a", reference("ReplicaSet", "web-5d8")),
        pod("web-5d8-b", reference("ReplicaSet", "web-5d8")),
        pod("other"),
    )
    for text in ("deployment/web", "deploy/web", "web", "replicaset/web-5d8", "rs/web-5d8"):
        assert named(found, text) == ["Pod/web-5d8-a", "Pod/web-5d8-b"]
    assert named(found, "web-5d8-a") == named(found, "po/web-5d8-a") == ["Pod/web-5d8-a"]
    assert named(found, "statefulset/web") == named(found, "deployment/other") == []


def test_a_ray_job_stands_for_its_cluster() -> None:
    found = report(
        owner("RayJob", "tune"),
        owner("RayCluster", "tune-x7", reference("RayJob", "tune")),
        pod(
            "tune-x7-head",
            reference("RayCluster", "tune-x7"),
            **{"ray.io/cluster": "tune-x7", "ray.io/node-type": "head"},
        ),
    )
    for text in ("rayjob/tune", "rayjobs/tune", "raycluster/tune-x7", "tune", "pod/tune-x7-head"):
        assert named(found, text) == ["RayCluster/tune-x7"]
    assert named(found, "rayservice/tune") == []


def test_a_leader_worker_set_stands_for_its_groups_each_of_which_has_a_name_with_a_slash() -> None:
    name = "leaderworkerset.sigs.k8s.io"
    members = [
        pod(
            f"serve-{group}-{worker}",
            **{f"{name}/name": "serve", f"{name}/group-index": group, f"{name}/worker-index": worker},
        )
        for group in "01"
        for worker in "01"
    ]
    found = report(owner("LeaderWorkerSet", "serve", leaderWorkerTemplate={"size": 2}), *members)
    assert named(found, "lws/serve") == ["LeaderWorkerSet/serve/0", "LeaderWorkerSet/serve/1"]
    assert named(found, "lws/serve/1") == ["LeaderWorkerSet/serve/1"]
    assert named(found, "pod/serve-1-0") == ["LeaderWorkerSet/serve/1"]


def test_a_training_job_goes_by_its_kind() -> None:
    labels = {
        "training.kubeflow.org/job-name": "fit",
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
    }
    found = report(owner("PyTorchJob", "fit"), pod("fit-master-0", reference("PyTorchJob", "fit"), **labels))
    assert named(found, "pytorchjob/fit") == named(found, "fit") == ["PyTorchJob/fit"]
    assert named(found, "tfjob/fit") == []


def test_a_pod_group_of_any_scheduler_goes_by_the_same_kind() -> None:
    assert json.dumps(sorted(parse("podgroup/x").kinds)) == json.dumps(
        sorted(kind for kind in SOURCES if kind.endswith("PodGroup"))
    )
    assert KINDS["vcpodgroup"] == {"VolcanoPodGroup"}
