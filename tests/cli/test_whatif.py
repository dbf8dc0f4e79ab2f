"""What-if on the command line: from a live cluster, a saved snapshot and files, with every kind of change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import Cluster, Result, aliquot

Capsys = pytest.CaptureFixture[str]

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 4, type: aws-p5.48xlarge, name: gpu, rack: r, nodesPerRack: 2}
"""
MORE = FLEET.replace("count: 4", "count: 2").replace("rack: r", "rack: new")
QUEUES = """
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {aliquot.dev/managed: "true", aliquot.dev/queue: red}}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: red}
spec: {resources: [{name: gpu, quota: 32}]}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: blue}
spec: {resources: [{name: gpu, quota: 0}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: eight, namespace: team}
spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu.nvidia.com, count: 8}}]}}}
"""


def job(name: str, pods: int, seconds: int) -> str:
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: team, annotations: {{aliquot.dev/expected-seconds: "{seconds}"}}}}
spec:
  parallelism: {pods}
  completions: {pods}
  template:
    metadata: {{annotations: {{aliquot.dev/expected-seconds: "{seconds}"}}}}
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: x, resources: {{claims: [{{name: c}}]}}}}]
      resourceClaims: [{{name: c, resourceClaimTemplateName: eight}}]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """A cluster of 32 devices in files: one job takes all of it for an hour, another one waits."""
    texts = {
        "fleet": FLEET,
        "queues": QUEUES,
        "first": job("first", 4, 3600),
        "second": job("second", 2, 600),
    }
    found: list[str] = []
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        found += ("-f", str(tmp_path / f"{name}.yaml"))
    return tuple(found)


def plan(capsys: Capsys, *arguments: str) -> Result:
    return aliquot(capsys, "plan", *arguments, "--at", "2026-03-01T12:00:00Z")


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def effects(result: Result) -> dict[str, tuple[str, Any]]:
    items = json.loads(result.out)["items"]
    return {item["name"]: (item["effect"], item["shiftSeconds"]) for item in items}


def test_one_more_pool(files: tuple[str, ...], tmp_path: Path, capsys: Capsys) -> None:
    change = "add=" + written(tmp_path, "more.yaml", MORE)
    shown = plan(capsys, *files, "--change", change)
    assert shown.code == 0
    (row,) = [line for line in shown.out.splitlines() if line.startswith("team/second")]
    assert row.split() == ["team/second", "red", "in", "60m", "now", "-60m", "0"]
    assert max(map(len, shown.out.splitlines())) <= 80
    told = json.loads(plan(capsys, *files, "--change", change, "-o", "json").out)
    metrics = {item["name"]: item["difference"] for item in told["metrics"]}
    assert metrics["cost"] > 0
    assert metrics["energy"] > 0
    assert metrics["wait.longest"] == -3600


def test_a_job_not_yet_submitted(files: tuple[str, ...], tmp_path: Path, capsys: Capsys) -> None:
    change = "submit=" + written(tmp_path, "third.yaml", job("third", 4, 60))
    found = effects(plan(capsys, *files, "--change", change, "-o", "json"))
    assert found == {"first": ("same", 0), "second": ("same", 0), "third": ("new", None)}


def test_another_quota(files: tuple[str, ...], tmp_path: Path, capsys: Capsys) -> None:
    found = plan(capsys, *files, "--change", "limit=red=8", "--fail-on", "never>0", "-o", "json")
    assert found.code == 1
    assert {effect for effect, _ in effects(found).values()} == {"never"}
    assert json.loads(found.out)["conditions"] == [{"condition": "never>0", "holds": True}]


def test_a_drained_rack(files: tuple[str, ...], tmp_path: Path, capsys: Capsys) -> None:
    found = plan(capsys, *files, "--change", "drain=rack/r-0", "-o", "json")
    assert effects(found)["first"][0] == "never"


def test_another_sharing_mode(files: tuple[str, ...], capsys: Capsys) -> None:
    layout = "share=rack/r-0:mig=3g.40gb,4g.40gb"
    assert effects(plan(capsys, *files, "--change", layout, "-o", "json"))["first"][0] == "never"


def test_a_file_of_changes_and_conditions_that_do_not_hold(
    files: tuple[str, ...], tmp_path: Path, capsys: Capsys
) -> None:
    written(tmp_path, "more.yaml", MORE)
    text = """
apiVersion: aliquot.dev/v1alpha1
kind: Change
changes:
  - add: more.yaml
  - queue: {name: red, quota: 48}
  - remove: {node: gpu-0}
"""
    change = written(tmp_path, "change.yaml", text)
    conditions = ("--fail-on", "start.team/second>30m", "--fail-on", "later>0")
    shown = plan(capsys, *files, "--change", change, *conditions)
    assert (shown.code, "fails:" in shown.err) == (1, True)
    assert "fails: start.team/second>30m" in shown.err
    assert "fails: later>0" not in shown.err
    assert plan(capsys, *files, "--change", change, "--fail-on", "evictions>0").code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("quota=rad=8", "--change quota=rad=8: name: there is no such queue; name one of: blue, red"),
        ("quota=red=many", "quota: 'many' is no amount; write a number, or `none` for no bound"),
        ("quota=red=-4", "quota: '-4' is no amount; write a number, or `none` for no bound"),
        ("limit=red=-0.5", "limit: '-0.5' is no amount; write a number, or `none` for no bound"),
        ("quota=red=NaN", "quota: 'NaN' is no amount; write a number, or `none` for no bound"),
        ("quota=red", "names no queue and amount; write quota=QUEUE=16"),
        ("drain=rack/r-7", "no node has rack r-7; see `kubectl get nodes --show-labels`"),
        ("drain=node/gpu-9", "there is no node 'gpu-9'; did you mean 'gpu-"),
        ("drain=team=none", "no node has labels team=none"),
        ("share=rack/r-0:mig", "says no way of sharing; write share=rack/r1:mig=dynamic"),
        ("share=rack/r-0:mig=9g", "there is no MIG profile '9g'"),
        ("policy=kay", "there is no policy 'kay'; write one of aliquot, kai, or a file"),
        ("submit=none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("quta=red=8", "'quta=red=8' is neither a file nor a change; did you mean quota=...?"),
    ],
)
def test_changes_that_cannot_be_made_name_the_place_and_the_fix(
    files: tuple[str, ...], change: str, told: str, capsys: Capsys
) -> None:
    result = plan(capsys, *files, "--change", change)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--fail-on", "evictoins>0", "--change", "limit=red=8"), "there is no figure 'evictoins'"),
        (("--fail-on", "evictions", "--change", "limit=red=8"), "is no condition; write one such as"),
        (("--fail-on", "start.team/x>0", "--change", "limit=red=8"), "there is no workload team/x"),
        (("--fail-on", "evictions>0"), "there is nothing to compare; give --change"),
        (
            ("--change", "limit=red=8", "--ahead", "soon"),
            "--ahead: 'soon' is no duration; write 90s, 8h or 2d",
        ),
        (
            ("--change", "limit=red=8", "--ahead", "-1h"),
            "--ahead: '-1h' is before now; write 90s, 8h or 2d",
        ),
        (("--change", "limit=red=8", "--expect"), "--expect: does not go with --change"),
    ],
)
def test_conditions_and_options_that_cannot_be_read_are_told(
    files: tuple[str, ...], arguments: tuple[str, ...], told: str, capsys: Capsys
) -> None:
    result = plan(capsys, *files, *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_a_broken_change_file_is_pointed_at(files: tuple[str, ...], tmp_path: Path, capsys: Capsys) -> None:
    head = "apiVersion: aliquot.dev/v1alpha1\nkind: Change\nchanges:\n"
    for text, told in (
        ("changes: [", "broken.yaml:2:1: is not valid YAML"),
        (
            head + "  - drian: {rack: r}\n",
            "changes[0].drian: there is no change 'drian'; did you mean 'drain'?",
        ),
        (head + "  - drain: {wreck: r}\n", "unknown field 'wreck'; did you mean 'rack'?"),
        (QUEUES, "is no change; write apiVersion: aliquot.dev/v1alpha1 and kind: Change"),
    ):
        result = plan(capsys, *files, "--change", written(tmp_path, "broken.yaml", text))
        assert (result.code, result.out) == (2, "")
        assert told in result.err


def test_expected_starts_of_a_plan(files: tuple[str, ...], capsys: Capsys) -> None:
    shown = plan(capsys, *files, "--expect")
    assert shown.code == 1
    assert "STARTS IN" in shown.out
    items = json.loads(plan(capsys, *files, "--expect", "-o", "json").out)["items"]
    starts = {item["workload"]["name"]: item["expectedStart"] for item in items}
    assert starts["first"] is None
    assert starts["second"]["earliestSeconds"] <= 3600 <= starts["second"]["latestSeconds"]
    without = json.loads(plan(capsys, *files, "-o", "json").out)["items"]
    assert not any("expectedStart" in item for item in without)


def test_simulate_takes_the_same_changes(files: tuple[str, ...], capsys: Capsys) -> None:
    result = aliquot(capsys, "simulate", *files, "--until", "6h", "--change", "drain=rack/r-0", "-o", "json")
    assert result.code == 0
    assert effects(result)["first"][0] == "never"


def test_calibration_of_a_simulation(tmp_path: Path, capsys: Capsys) -> None:
    fleet = written(tmp_path, "fleet.yaml", FLEET.replace("count: 4", "count: 1"))
    trace = written(
        tmp_path,
        "jobs.csv",
        "name,submit_seconds,run_seconds,expected_seconds,devices\n"
        + "".join(f"job-{number},{number * 300},1200,1200,8\n" for number in range(8)),
    )
    run = ("simulate", "-f", fleet, "--trace", trace, "--calibrate", "15m")
    (whole, first) = json.loads(aliquot(capsys, *run, "-o", "json").out)["items"]
    assert whole["forecasts"] >= first["forecasts"] >= 3
    assert whole["held"] >= 0.8
    assert whole["widthSecondsP50"] <= whole["waitSecondsP50"]
    assert 0 < whole["leftSecondsP50"] <= whole["waitSecondsP50"]
    assert "often; write 60s or more" in aliquot(capsys, *run[:-1], "1s").err


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("whatif") / "state").running() as running:
        running.apply(QUEUES + "---" + job("first", 3, 3600) + "---" + job("second", 1, 600))
        running.until_decided("team", "second")
        yield running


def test_a_live_cluster_and_its_snapshot_give_the_same_difference(
    cluster: Cluster, tmp_path: Path, capsys: Capsys
) -> None:
    target = ("--kubeconfig", str(cluster.kubeconfig))
    saved = str(tmp_path / "saved.json.gz")
    assert aliquot(capsys, "snapshot", "save", saved, *target).code == 0
    change = ("--change", "add=" + written(tmp_path, "more.yaml", MORE), "-o", "json")
    live = aliquot(capsys, "plan", "--from", "live", *change, *target)
    later = aliquot(capsys, "plan", "--from", saved, *change)
    assert live.code == later.code == 0
    for found in (live, later):
        names = {name: effect for name, (effect, _) in effects(found).items()}
        assert names == {"first": "same", "second": "earlier"}
    assert later.out == aliquot(capsys, "plan", "--from", saved, *change).out
    simulated = aliquot(capsys, "simulate", "--until", "6h", *change, *target)
    assert effects(simulated)["second"][0] == "earlier"


def test_a_live_workload_is_told_when_it_may_start(cluster: Cluster, capsys: Capsys) -> None:
    target = ("--kubeconfig", str(cluster.kubeconfig))
    shown = aliquot(capsys, "explain", "job/second", "-n", "team", "--expect", *target)
    assert shown.code == 1
    assert "  starts    in " in shown.out
    told = json.loads(
        aliquot(capsys, "explain", "job/second", "-n", "team", "--expect", "-o", "json", *target).out
    )
    start = told["expectedStart"]
    assert start["earliestSeconds"] < 3600 < start["latestSeconds"]
    runs = json.loads(
        aliquot(capsys, "explain", "job/first", "-n", "team", "--expect", "-o", "json", *target).out
    )
    assert runs["expectedStart"] is None
