"""`plan` refuses what an API server would refuse, and makes what controllers would make."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from aliquot.cli import cluster_input, expansion
from aliquot.cli.manifests import InputError
from aliquot.model.core import PLACEMENT_GATE

NOW = datetime(2026, 3, 1, tzinfo=UTC)

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec:\n  containers:\n  - {name: main, image: x%s}\n"
QUEUE = "apiVersion: aliquot.dev/v1alpha1\nkind: Queue\nmetadata: {name: %s}\nspec: {parent: %s}\n"
FLEET = "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes: [{count: 1, %s}]\n"

WRONG = {
    "an unknown field": (
        POD % ", imagePolicy: Always",
        ":6",
        "unknown field 'imagePolicy'",
        "imagePullPolicy",
    ),
    "an unknown field at the top": (
        POD.replace("spec:", "specs:") % "",
        ":4",
        "'specs'",
        "did you mean spec",
    ),
    "a number for text": (POD.replace("name: main", "name: 7") % "", ":6", "number", "type"),
    "a bad quantity": (POD % ", resources: {requests: {cpu: lots}}", ":6", "quantit", ""),
    "a missing field": (POD.replace("name: main, ", "") % "", ":6", "spec.containers[0].name", "Required"),
    "a bad name": (POD.replace("bad", "Bad_Name") % "", ":3", "metadata.name", "RFC 1123"),
    "no name": ("apiVersion: v1\nkind: Namespace\nmetadata: {}\n", ":3", "metadata.name", "required"),
    "no kind": ("apiVersion: v1\nmetadata: {name: a}\n", ":1", "kind", "missing"),
    "an unknown kind": (
        "apiVersion: v1\nkind: Pood\nmetadata: {name: a}",
        ":2",
        "'Pood'",
        "did you mean Pod",
    ),
    "a kind of another group": (
        "apiVersion: v1\nkind: Job\nmetadata: {name: a}",
        ":1",
        "Job is not read as v1",
        "batch/v1",
    ),
    "a queue's limit": (
        "apiVersion: aliquot.dev/v1alpha1\nkind: Queue\nmetadata: {name: a}\n"
        "spec: {resources: [{name: gpu, limit: many}]}",
        ":4",
        "limit",
        "",
    ),
    "a queue's unknown field": (
        "apiVersion: aliquot.dev/v1alpha1\nkind: Queue\nmetadata: {name: a}\nspec: {parents: b}",
        ":4",
        "'parents'",
        "did you mean parent",
    ),
    "its own parent": (QUEUE % ("a", "a"), ":4", "parent", ""),
    "a queue without parent": (QUEUE % ("a", "b"), ":4", "there is no queue 'b'", "remove spec.parent"),
    "cyclic queues": (
        f"{QUEUE % ('a', 'b')}---\n{QUEUE % ('b', 'c')}---\n{QUEUE % ('c', 'a')}",
        ":4",
        "cyclic: a -> b -> c -> a",
        "no parent",
    ),
    "a node type": (FLEET % "type: dgx-h1000", ":3", "dgx-h1000", "dgx-h100"),
    "a field of a fleet": (FLEET % "typ: dgx-h100", ":3", "typ", "type"),
    "a fleet among others": (f"{FLEET % 'type: dgx-h100'}---\n{QUEUE % ('a', '')}", ":2", "fleet", "its own"),
    "a claim without class": (
        "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: a}\n"
        "spec: {devices: {requests: [{name: r, exactly: {count: 1}}]}}",
        ":4",
        "deviceClassName",
        "",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_manifests_are_refused_with_place_and_fix(case: str, tmp_path: Path) -> None:
    text, line, said, also = WRONG[case]
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        cluster_input.load([str(path)], NOW)

    message = str(caught.value)
    assert message.startswith(f"{path}{line}:"), message
    assert said in message
    assert also in message


def load(text: str, tmp_path: Path) -> cluster_input.ClusterInput:
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    return cluster_input.load([str(path)], NOW)


def test_kinds_that_do_not_matter_are_counted_and_unknown_groups_let_be(tmp_path: Path) -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80}]}
---
apiVersion: example.com/v1
kind: Whatever
metadata: {name: a}
---
apiVersion: v1
kind: Namespace
metadata: {name: a}
"""
    read = load(text, tmp_path)

    assert read.ignored == {"Service": 1, "Whatever": 1}
    assert [namespace.name for namespace in read.snapshot.namespaces] == ["a"]


def test_namespaces_that_are_only_mentioned_are_taken_as_managed(tmp_path: Path) -> None:
    read = load(POD.replace("name: bad", "name: p, namespace: team") % "", tmp_path)

    assert read.notes == ("namespace team is not in the input and taken as managed",)
    assert read.snapshot.namespaces[0].managed


def test_every_example_and_fleet_of_the_project_is_read(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    fleets = [str(path) for path in sorted((root / "fleets").glob("*.yaml")) if path.name != "large.yaml"]
    read = cluster_input.load([*fleets[:1], str(root / "examples")], NOW)

    assert read.snapshot.nodes
    assert read.snapshot.pods


TEMPLATE = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: gpu, namespace: team}
spec: {metadata: {labels: {a: b}}, spec: {devices: {requests: [{name: r, exactly: {deviceClassName: x}}]}}}
---
"""
OWNER = """
apiVersion: %(version)s
kind: %(kind)s
metadata: {name: owner, namespace: team, labels: {app: a}}
spec:
  %(size)s
  %(selector)s
  template:
    metadata: {labels: {app: a}}
    spec:
      %(restart)s
      containers: [{name: m, image: x, resources: {claims: [{name: g}]}}]
      resourceClaims: [{name: g, resourceClaimTemplateName: gpu}]
"""
SELECTOR = "selector: {matchLabels: {app: a}}"

OWNERS = {
    "a Job": ("batch/v1", "Job", "parallelism: 3", "", "restartPolicy: Never", 3),
    "a Job with few completions": ("batch/v1", "Job", "{parallelism: 3, completions: 2}", "", "", 2),
    "a suspended Job": ("batch/v1", "Job", "{parallelism: 3, suspend: true}", "", "", 0),
    "a Deployment": ("apps/v1", "Deployment", "replicas: 2", SELECTOR, "", 2),
    "a Deployment without number": ("apps/v1", "Deployment", "", SELECTOR, "", 1),
    "a StatefulSet": ("apps/v1", "StatefulSet", "replicas: 2", f"{SELECTOR}\n  serviceName: s", "", 2),
    "a ReplicaSet of none": ("apps/v1", "ReplicaSet", "replicas: 0", SELECTOR, "", 0),
}


@pytest.mark.parametrize("case", OWNERS)
def test_owners_make_gated_pods_and_templates_make_claims(case: str, tmp_path: Path) -> None:
    version, kind, size, selector, restart, count = OWNERS[case]
    if kind == "Job":
        restart = "restartPolicy: Never"
    size = size.strip("{}").replace(", ", "\n  ")
    text = OWNER % {
        "version": version,
        "kind": kind,
        "size": size,
        "selector": selector,
        "restart": restart,
    }
    snapshot = load(TEMPLATE + text, tmp_path).snapshot

    assert [pod.name for pod in snapshot.pods] == [f"owner-{number}" for number in range(count)]
    assert [claim.name for claim in snapshot.resource_claims] == [f"owner-{n}-g" for n in range(count)]
    for pod, claim in zip(snapshot.pods, snapshot.resource_claims, strict=True):
        assert [gate.name for gate in pod.spec.scheduling_gates] == [PLACEMENT_GATE]
        assert pod.metadata.controller is not None
        assert pod.metadata.controller.kind == kind
        assert pod.status.resource_claim_statuses[0].resource_claim_name == claim.name
        assert claim.metadata.owner_references[0].uid == pod.metadata.uid
        assert claim.metadata.labels == {"a": "b"}


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def test_pods_and_claims_of_a_saved_cluster_are_not_made_again() -> None:
    made = expansion.expand(
        documents(
            TEMPLATE
            + OWNER
            % {
                "version": "batch/v1",
                "kind": "Job",
                "size": "parallelism: 2",
                "selector": "",
                "restart": "",
            }
        ),
        NOW,
    )
    again = expansion.expand(made, NOW)

    assert again == made


def test_expansion_is_the_same_every_time_and_leaves_its_input_alone() -> None:
    given = documents(TEMPLATE + POD % "")
    before = yaml.safe_dump(given)

    assert expansion.expand(given, NOW) == expansion.expand(given, NOW)
    assert yaml.safe_dump(given) == before


def test_unmanaged_namespaces_get_no_gates() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    pod = documents(POD % ", resources: {limits: {nvidia.com/gpu: '1'}}")
    managed = expansion.expand(pod, NOW)
    free = expansion.expand([*pod, namespace], NOW)

    def gates(objects: list[dict[str, Any]]) -> list[Any]:
        return [item["spec"].get("schedulingGates") for item in objects if item["kind"] == "Pod"]

    assert gates(managed) == [[{"name": PLACEMENT_GATE}]]
    assert gates(free) == [None]
