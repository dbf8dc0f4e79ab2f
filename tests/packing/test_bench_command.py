"""`aliquot bench openb`, on a small trace of its own."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from aliquot.cli.main import main

NODES = """sn,cpu_milli,memory_mib,gpu,model
node-a,96000,393216,8,G2
node-b,104000,524288,2,T4
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos
pod-a,12000,16384,1,1000,,LS
pod-b,6000,12288,1,460,T4,LS
pod-c,8000,12288,0,0,,LS
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(NODES)
    (tmp_path / "openb_pod_list_tiny.csv").write_text(PODS)
    return tmp_path


def bench(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str], command: str = "openb"
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", command, *arguments])
    shown = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, shown.out, shown.err


def test_json_of_a_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = bench(
        ["--trace", "tiny", "--data", str(folder), "--policy", "bestfit", "-o", "json"], capsys
    )
    found = json.loads(out)
    assert status == 0
    assert found["policy"] == "BestFit"
    assert list(found["allocated_percent"]) == ["95", "100", "110", "120", "130"]
    assert 50 < found["allocated_percent"]["110"] <= 100
    assert found["allocated_percent"]["130"] is None, "no pod arrives between 129 and 131 %"
    assert (found["trace"], found["seeds"]) == ("tiny", [42])
    assert "decisions/s" in err


def test_files_instead_of_a_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "arrivals.txt").write_text("pod-a\npod-b-tuned-7\npod-c\npod-b\n" + "pod-a\n" * 10)
    (folder / "order.txt").write_text("node-b\nnode-a\n")
    arguments = [
        *("--pods", str(folder / "openb_pod_list_tiny.csv")),
        *("--nodes", str(folder / "openb_node_list_gpu_node.csv")),
        *("--arrivals", str(folder / "arrivals.txt")),
        *("--node-order", str(folder / "order.txt")),
        *("--placements", str(folder / "out.csv"), "--policy", "BestFit", "-o", "json"),
    ]
    status, out, _ = bench(arguments, capsys)
    assert status == 0
    assert json.loads(out)["allocated_percent"]["110"] == 99.2
    rows = (folder / "out.csv").read_text().splitlines()
    assert rows[0] == "i,pod,node,arrived_gpu_milli,used_gpu_milli"
    assert rows[1] == "0,pod-a,node-b,1000,1000"
    assert rows[2] == "1,pod-b,node-b,1460,1460"
    assert rows[-1].split(",")[2:] == ["", "11920", "9920"]


def test_a_table_of_several_policies_and_seeds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = bench(
        ["--trace", "tiny", "--data", str(folder), "--policy", "all", "--seed", "1-3"], capsys
    )
    names = [line.split()[1] for line in out.splitlines()[1:]]
    assert status == 0
    assert names == ["Random", "DotProd", "GpuClustering", "GpuPacking", "BestFit", "FGD", "Aliquot"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "best"], ["--policy", "'best'", "BestFit"]),
        (["--seed", "x"], ["--seed", "'x'", "42-51"]),
        (["--seed", "9-1"], ["--seed", "42-51"]),
        (["--trace", "nowhere"], ["openb_pod_list_nowhere.csv", "--data"]),
        (["--trace", "../etc"], ["--trace", "'../etc'"]),
        (["--pods", "a.csv", "--trace", "tiny"], ["--pods", "--trace"]),
        (["--pods", "missing.csv"], ["cannot be read"]),
    ],
)
def test_errors_name_the_place_and_the_fix(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    status, _, err = bench(["--data", str(folder), *arguments], capsys)
    assert status == 2
    assert all(word in err for word in words)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("--arrivals", "pod-a\npod-x\n", [":2:", "'pod-x'"]),
        ("--arrivals", "\n", ["names no pod"]),
        ("--node-order", "node-a\n", ["'node-b' is missing"]),
        ("--node-order", "node-a\nnode-a\n", [":2:", "twice"]),
        ("--pods", "name,cpu_milli\n", ["memory_mib"]),
        ("--nodes", "sn,cpu_milli,memory_mib,gpu,model\nn,1,1,0,\n", ["no node with GPUs"]),
    ],
)
def test_files_that_do_not_fit_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: list[str]
) -> None:
    (folder / "given").write_text(text)
    files = {
        "--pods": str(folder / "openb_pod_list_tiny.csv"),
        "--nodes": str(folder / "openb_node_list_gpu_node.csv"),
        name: str(folder / "given"),
    }
    status, _, err = bench([part for pair in files.items() for part in pair], capsys)
    assert status == 2
    assert all(word in err for word in words)


TIMES = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time,deletion_time
pod-a,12000,16384,1,1000,,LS,0,50
pod-b,6000,12288,1,460,T4,LS,10,400
pod-c,8000,12288,0,0,,LS,20,30
"""


def test_departures_compare_who_waits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "openb_pod_list_tiny.csv").write_text(TIMES)
    status, out, _ = bench(
        [
            *("--trace", "tiny", "--data", str(folder), "--seed", "1-2", "--load", "90", "--load", "130"),
            *("--pods", "2000", "--longest", "100", "--gangs", "20", "-o", "json"),
        ],
        capsys,
        "departures",
    )
    found = json.loads(out)
    assert status == 0
    assert [(line["load"], line["policy"]) for line in found] == [
        (load, policy) for load in (90, 130) for policy in ("BestFit", "FGD", "Aliquot")
    ]
    assert found[0]["seeds"] == [1, 2]
    assert all(0 < line["allocated_percent"] <= 100 and line["wait_seconds"] >= 0 for line in found)
    assert all(line["longest_seconds"] >= line["wait_99_seconds"] for line in found)
    assert all(found[n + 3]["wait_seconds"] > found[n]["wait_seconds"] for n in range(3))


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (PODS, [], ["openb_pod_list_tiny.csv:2", "run time", "deletion_time"]),
        (TIMES.replace("10,400", "10,4"), [], [":3", "run time"]),
        (TIMES, ["--pods", "100", "--longest", "100000"], ["--pods", "--longest"]),
        (TIMES, ["--seed", "x"], ["--seed", "'x'"]),
    ],
)
def test_departures_refuse_what_tells_no_run_times(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], words: list[str]
) -> None:
    (folder / "openb_pod_list_tiny.csv").write_text(text)
    status, _, err = bench(["--trace", "tiny", "--data", str(folder), *arguments], capsys, "departures")
    assert status == 2
    assert all(word in err for word in words)
