"""Commands that need no cluster: help, version, fleet render, plan."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.cli.world import FLEET, ROOT, aliquot

from aliquot import __version__
from aliquot.cli.main import COMMANDS
from aliquot.cli.version import core

Capsys = pytest.CaptureFixture[str]


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom aliquot.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "heavy = {'aiohttp', 'uvicorn', 'starlette', 'yaml', 'rich', 'aliquot.model'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ}
    )

    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "fleet render"])
def test_every_command_explains_itself(command: str, capsys: Capsys) -> None:
    result = aliquot(capsys, *command.split(), "--help")

    assert result.code == 0
    assert result.out.startswith(f"Usage: aliquot {command}")
    if command in ("plan", "explain", "replay", "get"):
        assert "Exit status" in result.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vers"], "No such command"),
        (["plan"], "give files with -f"),
        (["plan", "-f", "x", "--openb", "a", "b"], "not both"),
        (["get", "sandwiches"], "nothing called 'sandwiches'"),
        (["get", "devices", "-n", "a", "-A"], "exclude each other"),
        (["get", "devices", "-l", "a=(b"], "--selector"),
        (["explain", "sandwich/a"], "of kind 'sandwich'"),
        (["replay", "--journal", "/nonexistent/journal.db"], "does not exist"),
        (["fleet", "render", "/nonexistent.yaml"], "cannot be read"),
        (["fleet", "render", "x", "--kubernetes", "1.20"], "1.34"),
        (["controller", "--kubeconfig", "/nonexistent/config"], "/nonexistent/config"),
    ],
)
def test_misuse_is_answered_on_stderr_with_status_2(arguments: list[str], said: str, capsys: Capsys) -> None:
    result = aliquot(capsys, *arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_version(capsys: Capsys) -> None:
    assert aliquot(capsys, "version").out == f"aliquot {__version__} ({core()} core)\n"
    assert aliquot(capsys, "--version").out == f"aliquot {__version__}\n"
    assert json.loads(aliquot(capsys, "version", "-o", "json").out)["version"] == __version__
    assert json.loads(aliquot(capsys, "version", "-o", "json").out)["core"] == core()
    assert yaml.safe_load(aliquot(capsys, "version", "-o", "yaml").out)["version"] == __version__


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return str(path)


def test_a_rendered_fleet_can_be_applied(fleet: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "fleet", "render", fleet)
    listed = aliquot(capsys, "fleet", "render", fleet, "-o", "json")

    documents = list(yaml.safe_load_all(result.out))
    assert {document["kind"] for document in documents} == {"Node", "ResourceSlice", "DeviceClass"}
    assert json.loads(listed.out) == {"apiVersion": "v1", "kind": "List", "items": documents}
    assert "3 Nodes" in result.err


def test_a_plan_of_a_rendered_fleet_is_that_of_the_fleet(fleet: str, tmp_path: Path, capsys: Capsys) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(aliquot(capsys, "fleet", "render", fleet).out)
    plans = [
        json.loads(
            aliquot(
                capsys,
                "plan",
                "-f",
                name,
                str(ROOT / "examples"),
                "-o",
                "json",
                "--at",
                "2026-01-01T00:00:00Z",
            ).out
        )
        for name in (fleet, str(rendered))
    ]

    for plan in plans:
        for item in plan["items"]:
            del item["id"]
    assert plans[0] == plans[1]


def test_a_plan_with_something_waiting(fleet: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "plan", "-f", fleet, "-f", str(ROOT / "examples"), "-o", "json")
    plan = json.loads(result.out)

    assert result.code == 1
    assert plan["kind"] == "Plan"
    assert plan["summary"]["nodes"] == 3
    assert plan["summary"]["devices"] == 24
    assert plan["summary"]["placed"] + plan["summary"]["waiting"] == plan["summary"]["pods"]
    assert sum(plan["summary"]["reasons"].values()) == plan["summary"]["waiting"] == 3
    (waiting,) = [item for item in plan["items"] if item["verdict"]]
    assert waiting["workload"]["name"] == "too-much"
    assert waiting["verdict"]["reason"] == "OverLimit"
    assert waiting["message"]
    placed = {spot["pod"]: spot["node"] for item in plan["items"] for spot in item["placements"]}
    assert placed["shared-gpu-1"] == placed["shared-gpu-2"]


def test_the_plan_as_a_table_fits_kubectl_habits(fleet: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "plan", fleet, str(ROOT / "examples"))
    wide = aliquot(capsys, "plan", fleet, str(ROOT / "examples"), "-o", "wide")

    assert result.out.startswith("NAMESPACE   WORKLOAD")
    assert "\x1b" not in result.out
    assert "MESSAGE" not in result.out
    assert "would exceed its limit" in wide.out
    assert "placed (81%)" in result.out


def test_a_plan_with_nothing_left_to_say(fleet: str, tmp_path: Path, capsys: Capsys) -> None:
    names = ("00-namespaces.yaml", "10-queues.yaml", "20-one-gpu.yaml")
    files = [str(ROOT / "examples" / name) for name in names]

    assert aliquot(capsys, "plan", fleet, *files).code == 0
    assert aliquot(capsys, "plan", fleet).code == 0


def test_an_error_in_one_file_prints_nothing_else(fleet: str, tmp_path: Path, capsys: Capsys) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a, lables: {}}\nspec: {containers: []}\n")
    result = aliquot(capsys, "plan", fleet, str(bad))

    assert (result.code, result.out) == (2, "")
    assert result.err == (f"error: {bad}:3: metadata.lables: unknown field 'lables'; did you mean labels?\n")


OPENB_NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,64000,2,T4\nn2,8000,64000,0,\n"
OPENB_PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
p1,1000,1000,1,460,
p2,1000,1000,1,540,
p3,1000,1000,1,1000,
p4,1000,1000,1,100,
p5,1000,1000,0,0,
"""


def test_an_openb_trace_is_placed_to_the_last_thousandth(tmp_path: Path, capsys: Capsys) -> None:
    nodes, pods = tmp_path / "nodes.csv", tmp_path / "pods.csv"
    nodes.write_text(OPENB_NODES)
    pods.write_text(OPENB_PODS)
    result = aliquot(capsys, "plan", "--openb", str(nodes), str(pods), "-o", "json")
    summary = json.loads(result.out)["summary"]

    assert result.code == 1
    assert (summary["devices"], summary["pods"], summary["placed"], summary["waiting"]) == (2, 5, 4, 1)
    assert summary["gpusAllocated"] == 2
    assert summary["percentAllocated"] == 100


def test_a_broken_trace_is_pointed_at(tmp_path: Path, capsys: Capsys) -> None:
    nodes, pods = tmp_path / "nodes.csv", tmp_path / "pods.csv"
    nodes.write_text(OPENB_NODES)
    pods.write_text(OPENB_PODS.replace("540", "many"))
    result = aliquot(capsys, "plan", "--openb", str(nodes), str(pods))

    assert result.code == 2
    assert result.err.startswith(f"error: {pods}:3: gpu_milli: ")


TWO_TEAMS = ROOT / "examples/saved/two-teams.yaml"
"""Research holds all eight GPUs of a node, of which half are serving's by quota; serving wants four."""


def test_a_plan_says_who_has_to_leave_for_whom_and_what_is_lost(capsys: Capsys) -> None:
    arguments = ("plan", "-f", str(TWO_TEAMS), "--at", "2026-03-01T12:00:00Z")
    result = aliquot(capsys, *arguments)
    document = json.loads(aliquot(capsys, *arguments, "-o", "json").out)

    assert result.code == 1
    lines = [line.split() for line in result.out.splitlines()]
    assert ["serving", "pod/model", "serving", "Promised", "1", "0", "gpu-0", "RoomPromised"] in lines
    assert ["LEAVES", "QUEUE", "NODE", "DEVICES", "LOSES", "FOR", "REASON"] in lines
    assert ["research/sweep-2", "research", "gpu-0", "4", "60m", "pod/model", "Reclaimed"] in lines
    assert ["evicted", "1"] in lines
    assert document["summary"]["evicted"] == 1
    (waits,) = document["items"]
    assert waits["promised"] == [{"namespace": "serving", "pod": "model", "node": "gpu-0"}]
    (leaves,) = document["evictions"]
    assert leaves["workload"] == {"kind": "Pod", "namespace": "research", "name": "sweep-2"}
    assert (leaves["devices"], leaves["lostSeconds"], leaves["forQueue"]) == ("4", 3600, "serving")
    assert leaves["message"] == (
        "has to leave for pod/serving/model: queue serving held 0 gpu with a fair share of 4, "
        "queue research held 8 gpu with a fair share of 4"
    )
