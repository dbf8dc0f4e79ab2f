"""`aliquot agents` against a cluster: a tenant is contained, an agent runs, and is stopped."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.agents.test_containment import tenant
from tests.cli.world import Cluster, Result, aliquot

from aliquot.store.switches import SwitchFile

Capsys = pytest.CaptureFixture[str]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: coder-1, namespace: lab}
spec:
  serviceAccountName: coder
  runtimeClassName: gvisor
  containers: [{name: main, image: agent}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("agents") / "state").running() as running:
        running.apply(
            "apiVersion: aliquot.dev/v1alpha1\nkind: Queue\nmetadata: {name: agents}\nspec: {}\n---\n"
            "apiVersion: aliquot.dev/v1alpha1\nkind: TokenBudget\nmetadata: {name: company}\nspec: {}\n"
        )
        yield running


def agents(capsys: Capsys, cluster: Cluster, *arguments: str) -> Result:
    return aliquot(capsys, "agents", *arguments, "--kubeconfig", str(cluster.kubeconfig))


def test_a_tenant_is_contained_and_its_agent_stopped(
    cluster: Cluster, capsys: Capsys, tmp_path: Path
) -> None:
    path = tmp_path / "tenant.yaml"
    path.write_text(yaml.safe_dump(tenant()))

    plan = agents(capsys, cluster, "contain", "-f", str(path), "--plan")
    assert plan.code == 1
    assert "create   namespace/lab" in plan.out
    assert agents(capsys, cluster, "contain", "-f", str(path), "--yes").code in (0, 2)
    again = agents(capsys, cluster, "contain", "lab", "--plan")
    assert again.code == 0, again.out
    cluster.apply(POD)

    shown = agents(capsys, cluster, "list")
    assert shown.out.splitlines()[1].split()[:5] == ["lab/coder", "lab", "Sandbox", "1", "Running"]

    unasked = agents(capsys, cluster, "stop", "lab/coder", "--reason", "loops")
    assert (unasked.code, "cut calls" in unasked.out) == (2, True)
    switches = tmp_path / "stopped.json"
    stopped = agents(
        capsys,
        cluster,
        "stop",
        "lab/coder",
        "--reason=loops",
        "--by=ann",
        "--yes",
        "--switches",
        str(switches),
    )
    assert (stopped.code, stopped.err) == (0, "lab/coder is stopped; 1 of 1 pods leave\n")
    assert [switch.reason for switch in SwitchFile(switches).read()] == ["loops"]
    table = json.loads(agents(capsys, cluster, "list", "-o", "json").out)
    assert {item["agent"]: item["state"] for item in table["items"]} == {
        "lab/coder": "Stopped",
        "lab/reviewer": "Idle",
    }

    assert agents(capsys, cluster, "resume", "lab/coder", "--switches", str(switches)).code == 0
    assert SwitchFile(switches).read() == ()
    assert agents(capsys, cluster, "resume", "lab/coder").code == 1


def test_what_would_be_made_is_printed_without_a_cluster(capsys: Capsys, tmp_path: Path) -> None:
    path = tmp_path / "tenant.yaml"
    path.write_text(yaml.safe_dump(tenant()))

    result = aliquot(capsys, "agents", "contain", "-f", str(path), "--dry-run")

    assert [one["kind"] for one in yaml.safe_load_all(result.out)][:3] == [
        "Namespace",
        "RuntimeClass",
        "NetworkPolicy",
    ]


def test_an_agent_of_a_gateway_without_a_cluster_is_stopped_by_its_file(
    capsys: Capsys, tmp_path: Path
) -> None:
    switches = str(tmp_path / "stopped.json")
    stop = ("agents", "stop", "bot", "--reason=loops", "--yes", "--no-cluster")

    assert aliquot(capsys, *stop).code == 2
    assert aliquot(capsys, *stop, "--switches", switches).code == 0
    shown = aliquot(capsys, "agents", "list", "--no-cluster", "--switches", switches)
    assert "Stopped" in shown.out
    log = ("--audit-log", str(tmp_path / "audit.db"))
    assert aliquot(capsys, *stop, "--switches", switches, "--by=ann", *log).code == 0
    assert aliquot(capsys, "agents", "resume", "bot", "--no-cluster", "--switches", switches, *log).code == 0
    told = aliquot(capsys, "audit", "search", "--agent=bot", "--log", str(tmp_path / "audit.db"))
    assert [line.split()[3] for line in told.out.splitlines()[1:]] == ["agent", "agent"]


@pytest.mark.parametrize("name", ["", " ", "/"])
def test_nobody_is_stopped_by_an_empty_name(name: str, capsys: Capsys, tmp_path: Path) -> None:
    switches = tmp_path / "stopped.json"
    result = aliquot(
        *(capsys, "agents", "stop", name, "--reason=loops", "--yes", "--no-cluster"),
        *("--switches", str(switches)),
    )
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {name!r} names no agent; write NAMESPACE/SERVICEACCOUNT, or what its key or token says\n"
    )
    assert not switches.exists()
