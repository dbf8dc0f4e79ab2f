"""`aliquot plan --defragment`: files in, a plan to look at out; nothing is touched."""

import json
from pathlib import Path

import pytest
import yaml
from tests.cli.world import aliquot

Capsys = pytest.CaptureFixture[str]


def node(name: str) -> dict[str, object]:
    amounts = {"cpu": "32", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "4"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, gpus: int, where: str = "") -> dict[str, object]:
    amounts = {"cpu": "1", "nvidia.com/gpu": str(gpus)}
    made: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}"},
        "spec": {
            "containers": [
                {"name": "main", "image": "x", "resources": {"requests": amounts, "limits": amounts}}
            ],
            **({"nodeName": where} if where else {}),
        },
    }
    if where:
        made["status"] = {"phase": "Running", "startTime": "2026-06-01T11:00:00Z"}
    return made


@pytest.fixture
def files(tmp_path: Path) -> str:
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "team", "labels": {"aliquot.dev/managed": "true"}},
    }
    objects = [space, node("n1"), node("n2"), pod("a", 1, "n1"), pod("b", 2, "n2"), pod("big", 4)]
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


AT = ("--at", "2026-06-01T12:00:00Z")


def test_the_table_names_pods_places_cost_and_gain(files: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "plan", "--defragment", "-f", files, *AT)

    assert result.code == 0, result.err
    header, row, *rest = result.out.splitlines()
    assert header.split() == [
        "EMPTIES",
        "NAMESPACE",
        "POD",
        "WORKLOAD",
        "DEVICES",
        "FROM",
        "TO",
        "LOST",
        "WORK",
    ]
    assert row.split() == ["n1", "team", "a", "pod/a", "1", "n1", "n2", "1:00:00"]
    said = "\n".join(rest)
    assert "idle nodes  1, before 0" in said
    assert "starts      pod/big of team" in said
    assert "nothing has been moved" in said


def test_the_document_has_the_same_for_programs(files: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "plan", "--defragment", "-f", files, "-o", "json", *AT)
    found = json.loads(result.out)

    assert found["kind"] == "Defragmentation"
    assert found["cost"] == {"moves": 1, "lostDeviceSeconds": 3600}
    assert (found["gain"]["idleNodesBefore"], found["gain"]["idleNodes"]) == (0, 1)
    assert [ref["name"] for ref in found["gain"]["starts"]] == ["big"]
    (relief,) = found["items"]
    assert [(move["pod"]["name"], move["from"], move["to"]) for move in relief["moves"]] == [
        ("a", "n1", "n2")
    ]


@pytest.mark.parametrize("option", [("--budget", "0"), ("--lost-work", "3599")])
def test_what_the_budget_does_not_allow_is_not_planned(
    option: tuple[str, str], files: str, capsys: Capsys
) -> None:
    result = aliquot(capsys, "plan", "--defragment", "-f", files, *option, *AT)

    assert result.code == 0
    assert "no node can be emptied" in result.out


def test_without_files_it_is_the_cluster_that_is_asked(tmp_path: Path, capsys: Capsys) -> None:
    result = aliquot(capsys, "plan", "--defragment", "--kubeconfig", str(tmp_path / "none"))

    assert result.code == 2
    assert "none" in result.err
