"""Commands that look at a cluster: get, explain, replay."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cli.world import Cluster, Result, aliquot

Capsys = pytest.CaptureFixture[str]

OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {aliquot.dev/managed: "true", aliquot.dev/queue: red}}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: red, labels: {colour: red}}
spec: {resources: [{name: gpu, quota: 2, limit: 4}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: two, namespace: team}
spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu.nvidia.com, count: 2}}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: fits, namespace: team, labels: {app: a}}
spec:
  containers: [{name: main, image: x, resources: {claims: [{name: c}]}}]
  resourceClaims: [{name: c, resourceClaimTemplateName: two}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: six, namespace: team}
spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu.nvidia.com, count: 6}}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: too-big, namespace: team}
spec:
  template:
    metadata: {labels: {app: b}}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: x, resources: {claims: [{name: c}]}}]
      resourceClaims: [{name: c, resourceClaimTemplateName: six}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cli") / "state").running() as running:
        running.apply(OBJECTS)
        running.until_running("team", "fits")
        yield running


def get(capsys: Capsys, cluster: Cluster, *arguments: str) -> Result:
    return aliquot(capsys, *arguments, "--kubeconfig", str(cluster.kubeconfig))


def test_devices_with_holder_and_total(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "get", "devices")
    lines = result.out.splitlines()

    assert result.code == 0
    assert lines[0].split()[:3] == ["NODE", "DEVICE", "PRODUCT"]
    assert lines[-1].split()[:4] == ["*", "24", "2/24", "(8%)"]
    assert sum("team/pod/fits" in line for line in lines) == 2


def test_devices_for_programs(cluster: Cluster, capsys: Capsys) -> None:
    table = json.loads(get(capsys, cluster, "get", "devices", "-o", "json").out)
    same = yaml.safe_load(get(capsys, cluster, "get", "devices", "-o", "yaml").out)
    rows = list(csv.DictReader(io.StringIO(get(capsys, cluster, "get", "devices", "-o", "csv").out)))

    assert table == same
    assert table["apiVersion"] == "aliquot.dev/v1alpha1"
    assert table["summary"]["devices"] == len(table["items"]) == len(rows) == 24
    assert table["summary"]["allocated"] == "2"
    held = [item for item in table["items"] if item["allocated"] == "1"]
    assert {holder["workload"]["name"] for item in held for holder in item["parts"][0]["holders"]} == {"fits"}
    assert {row["queue"] for row in rows if row["claim"]} == {"red"}


def test_devices_of_one_node_one_label_one_namespace(cluster: Cluster, capsys: Capsys) -> None:
    def names(*arguments: str) -> set[str]:
        return set(get(capsys, cluster, "get", "devices", *arguments, "-o", "name").out.split())

    assert len(names("split-0")) == 8
    assert len(names("-l", "topology.kubernetes.io/zone=a")) == 16
    assert len(names("-l", "topology.kubernetes.io/zone notin (a,c)")) == 8
    assert len(names("-n", "team")) == 2


def test_workloads_with_reason_and_position(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "get", "workloads", "-n", "team")
    items = json.loads(get(capsys, cluster, "get", "wl", "-o", "json").out)["items"]
    by_name = {item["name"]: item for item in items}

    assert [line.split()[1] for line in result.out.splitlines()[1:]] == ["job/too-big", "pod/fits"]
    assert by_name["too-big"]["status"] == "Waiting"
    assert by_name["too-big"]["position"] == 1
    assert by_name["too-big"]["verdict"]["reason"] == "OverLimit"
    assert by_name["fits"]["status"] == "Running"
    assert by_name["fits"]["devices"] == "2"
    only = get(capsys, cluster, "get", "wl", "job/too-big", "--no-headers").out
    assert only.startswith("team")
    assert len(only.splitlines()) == 1


def test_expected_starts_of_workloads(cluster: Cluster, capsys: Capsys) -> None:
    shown = get(capsys, cluster, "get", "workloads", "--expect")
    items = json.loads(get(capsys, cluster, "get", "workloads", "--expect", "-o", "json").out)["items"]
    starts = {item["name"]: item["expectedStart"] for item in items}
    without = json.loads(get(capsys, cluster, "get", "workloads", "-o", "json").out)["items"]

    assert shown.code == 0
    assert "STARTS IN" in shown.out.splitlines()[0]
    assert next(line for line in shown.out.splitlines() if "fits" in line).count(">24h") == 0
    assert next(line for line in shown.out.splitlines() if "too-big" in line).count(">24h") == 1
    assert starts["fits"] is None
    assert starts["too-big"]["earliestSeconds"] is None
    assert not any("expectedStart" in item for item in without)
    wrong = get(capsys, cluster, "get", "queues", "--expect")
    assert wrong.code == 2
    assert "--expect: queues do not start" in wrong.err


def test_queues_with_use_of_limit(cluster: Cluster, capsys: Capsys) -> None:
    lines = get(capsys, cluster, "get", "queues").out.splitlines()
    (item,) = json.loads(get(capsys, cluster, "get", "queues", "-o", "json").out)["items"]

    wide = get(capsys, cluster, "get", "queues", "-o", "wide").out
    (resource,) = item["resources"]
    assert lines[0].split() == ["NAME", "QUOTA", "SHARE", "LIMIT", "USED", "WANTED", "WAITING", "STATUS"]
    assert lines[1].split() == ["red", "2", "4", "4", "2", "6", "1", "UnderShare"]
    assert max(map(len, lines)) <= 80
    assert "2/4 (50%)" in wide
    assert lines[-1].startswith("*")
    assert (resource["quota"], resource["limit"], resource["used"]) == ("2", "4", "2")
    assert (resource["fairShare"], resource["wanted"], resource["balance"]) == ("4", "6", "-2")
    assert resource["terms"]["guaranteed"] == "2"
    assert get(capsys, cluster, "get", "queues", "-l", "colour=blue", "-o", "name").out == ""


def test_a_queue_with_its_fair_share_term_by_term(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "explain", "queue/red")
    document = json.loads(get(capsys, cluster, "explain", "queue/red", "-o", "json").out)

    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert lines[0] == "queue/red holds 2 gpu, 2 less than its fair share."
    for line in (
        "24 what the cluster has",
        "2 quota",
        "4 limit",
        "2 held",
        "6 wanted by work that waits",
        "4 asked for, within the limit",
        "2 guaranteed: the quota, as far as it is asked for",
        "= 4 fair share",
        "4 may be held without others having a claim on it",
        "nobody: no other queue holds more than it is entitled to",
        "nobody that waits",
    ):
        assert line in lines
    # What its part is depends on how long it has held its devices.
    assert any(line.startswith("+ 2 of 22 over: part ") for line in lines)
    assert max(map(len, result.out.splitlines())) <= 80
    (terms,) = document["resources"]
    assert (terms["guaranteed"], terms["share"]) == ("2", "4")
    (surplus,) = terms["surplus"]
    assert (surplus["over"], surplus["given"], surplus["rest"]) == ("22", "2", False)
    assert (document["mayTakeFrom"], document["mayBeTakenFromBy"], document["refusal"]) == ([], [], None)


def test_a_queue_that_is_not_there_cannot_be_explained(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "explain", "queue/green")

    assert result.code == 2
    assert "there is no queue 'green'; queues are red" in result.err


def test_sorting_by_a_column(cluster: Cluster, capsys: Capsys) -> None:
    found = get(capsys, cluster, "get", "devices", "-o", "csv", "--sort-by", "device", "--no-headers").out
    wrong = get(capsys, cluster, "get", "devices", "--sort-by", "colour")

    devices = [row[1] for row in csv.reader(io.StringIO(found))]
    assert devices == sorted(devices)
    assert wrong.code == 2
    assert "there is no column 'colour'; columns are node, device" in wrong.err


def test_nothing_of_that_name_is_a_finding(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "get", "queues", "green")

    assert result.code == 1
    assert "no queue 'green' found" in result.err


def test_why_a_workload_waits(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "explain", "job/too-big", "-n", "team")

    assert result.code == 1
    assert result.out.startswith("job/too-big in namespace team waits: OverLimit.\n")
    assert "queue red would exceed its limit" in " ".join(result.out.split())
    assert "position  1 of 1 in its queue" in result.out
    assert "History" in result.out
    assert max(len(line) for line in result.out.splitlines()) <= 80


def test_why_a_workload_runs_where_it_runs(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "explain", "pod/fits", "-n", "team")
    told = json.loads(get(capsys, cluster, "explain", "fits", "-n", "team", "-o", "json").out)

    assert result.code == 0
    assert "runs on" in result.out
    assert told["status"] == "Running"
    assert [device["share"] for device in told["devices"]] == ["1", "1"]
    assert told["history"][-1]["outcome"] == "Placed"


def test_a_pod_of_a_gang_stands_for_its_gang(cluster: Cluster, capsys: Capsys) -> None:
    (name,) = [name for name in cluster.pods("team") if name.startswith("too-big")]
    result = get(capsys, cluster, "explain", f"pod/{name}", "-n", "team")

    assert result.out.startswith("job/too-big in namespace team waits")


def test_a_workload_of_another_namespace_is_pointed_to(cluster: Cluster, capsys: Capsys) -> None:
    result = get(capsys, cluster, "explain", "pod/fits")

    assert result.code == 2
    assert "there is one in team: add -n team" in result.err


def test_every_recorded_decision_can_be_made_again(cluster: Cluster, capsys: Capsys) -> None:
    journal = str(cluster.folder / "journal.db")
    result = aliquot(capsys, "replay", "--journal", journal, "--all", "--check", "-o", "json")
    replayed = json.loads(result.out)

    assert result.code == 0
    assert replayed["same"] == len(replayed["items"]) > 0
    told = json.loads(get(capsys, cluster, "explain", "fits", "-n", "team", "-o", "json").out)
    one = aliquot(capsys, "replay", "--journal", journal, told["history"][0]["decision"])
    assert one.code == 0
    assert "1/1 records give the same plan" in one.out


def test_a_decision_that_is_not_there(cluster: Cluster, capsys: Capsys) -> None:
    result = aliquot(capsys, "replay", "--journal", str(cluster.folder / "journal.db"), "nonsense")

    assert result.code == 2
    assert "there is no decision 'nonsense'" in result.err


def test_a_cluster_that_does_not_answer(tmp_path: Path, capsys: Capsys, cluster: Cluster) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    result = aliquot(capsys, "get", "devices", "--kubeconfig", str(path))

    assert (result.code, result.out) == (2, "")
    assert "https://127.0.0.1:1" in result.err
