"""`aliquot simulate`: what it takes, prints and writes, and that it goes on where it was interrupted."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.cli.world import Result, aliquot
from tests.simulation.clusters import cluster, queue, workload

from aliquot.scheduling.policy import Policy
from aliquot.simulation.settings import START, Settings
from aliquot.simulation.simulation import Simulation
from aliquot.store.journal import Journal

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 4, type: dgx-h100, legacy: {}}
"""

QUEUES = "".join(
    f"""
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {{name: {name}}}
spec: {{resources: [{{name: gpu, quota: "16"}}]}}
"""
    for name in ("research", "product")
)

JOBS = """\
name,submit_seconds,run_seconds,pods,devices,queue
first,0,3600,1,8,research
gang,60,1800,4,8,research
late,600,300,2,4,product
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a fleet, queues and a table of workloads."""
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "queues.yaml").write_text(QUEUES)
    (tmp_path / "jobs.csv").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


HERE = ("simulate", "-f", "fleet.yaml", "-f", "queues.yaml")


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    return aliquot(capsys, *HERE, *arguments)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_trace_gives_a_row_and_waits_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = simulate(capsys, "--trace", "jobs.csv", "--pod-start", "0", "--every", "1s")
    assert (found.code, found.err) == (0, "")
    lines = [line.split() for line in found.out.splitlines()]
    assert lines[0][:5] == ["SIMULATION", "TIME", "DONE", "RUNNING", "WAITING"]
    assert lines[1][:5] == ["aliquot-1", "90m", "3", "0", "0"]
    assert [line[1:4] for line in lines[4:]] == [["2", "to", "8"], ["9", "to", "64"]]


def test_programs_get_exact_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = simulate(capsys, "--trace", "jobs.csv", "--pod-start", "0", "--every", "1s", "-o", "json")
    document = json.loads(found.out)
    (item,) = document["items"]
    assert document["kind"] == "SimulationList"
    assert item["workloads"] == {"submitted": 3, "finished": 3, "running": 0, "waiting": 0}
    # 8 devices for an hour, 32 for half an hour and 8 for five minutes.
    assert item["deviceHours"]["useful"] == pytest.approx(8 + 16 + 8 / 12)
    # The gang comes at 60 s and needs all nodes, of which one is held until 3600 s.
    assert item["waits"]["bySize"]["9 to 64"]["longest"] == 3540
    assert item["seconds"] == 5400


def test_csv_has_a_row_for_each_simulation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = simulate(capsys, "--trace", "jobs.csv", "--seed", "3-4", "-o", "csv")
    rows = list(csv.DictReader(found.out.splitlines()))
    assert [row["simulation"] for row in rows] == ["aliquot-3", "aliquot-4"]


def test_costs_are_shown_where_prices_are_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = FLEET.replace("legacy: {}", 'legacy: {}, labels: {aliquot.dev/price-per-hour: "12.50"}')
    (folder / "fleet.yaml").write_text(text)
    found = simulate(capsys, "--trace", "jobs.csv", "--until", "2h")
    assert found.code == 0
    assert found.out.splitlines()[1].split()[-2] == "100.00"  # four nodes for two hours


def test_policies_and_seeds_go_side_by_side_and_the_bytes_do_not_depend_on_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = (
        "--synthetic",
        "40",
        "--until",
        "12h",
        "--policy",
        "aliquot",
        "--policy",
        "spread",
        "--seed",
        "1-2",
    )
    several = simulate(capfd, *sweep, "--processes", "2", "--out", "several")
    one = simulate(capfd, *sweep, "--processes", "1", "--out", "one")
    assert several.code == one.code == 0
    assert several.out == one.out
    assert "aliquot  2 seeds: allocated" in several.out
    assert "written to several; see several/report.html" in several.err
    written = files(folder / "several")
    assert written == files(folder / "one")
    assert {name.split("/")[0] for name in written} == {
        "aliquot-1", "aliquot-2", "spread-1", "spread-2", "report.html",
    }  # fmt: skip
    assert {name for name in written if name.startswith("spread-2/")} == {
        f"spread-2/{name}"
        for name in ("workloads.csv", "samples.csv", "queues.csv", "interruptions.csv", "result.json")
    }


def test_the_same_command_again_does_not_simulate_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--trace", "jobs.csv", "--out", "out")
    before = simulate(capsys, *arguments)

    def refused(self: Simulation) -> bool:
        raise AssertionError("simulated again")

    monkeypatch.setattr(Simulation, "step", refused)
    assert simulate(capsys, *arguments).out == before.out


def test_results_of_something_else_are_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(capsys, "--trace", "jobs.csv", "--out", "out").code == 0
    before = files(folder / "out")
    found = simulate(capsys, "--trace", "jobs.csv", "--out", "out", "--until", "1h")
    assert found.code == 2
    assert "aliquot-1/result.json: is the result of another simulation; remove the folder" in found.err
    assert files(folder / "out") == before


def test_the_page_is_written_beside_the_tables_or_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = simulate(capsys, "--trace", "jobs.csv", "--html", "page.html", "--out", "out")
    assert found.code == 0
    page = (folder / "page.html").read_bytes()
    assert page == (folder / "out/report.html").read_bytes()
    assert b"3 workloads on 4 nodes with 32 devices" in page
    alone = simulate(capsys, "--trace", "jobs.csv", "--html", "alone.html")
    assert alone.err == "written to alone.html\n"
    assert (folder / "alone.html").read_bytes() == page


def test_tables_may_be_parquet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert simulate(capsys, "--trace", "jobs.csv", "--out", "out", "--form", "parquet").code == 0
    table = parquet.read_table(folder / "out/aliquot-1/workloads.parquet").to_pydict()
    assert table["name"] == ["first", "gang", "late"]
    assert table["outcome"] == ["finished"] * 3


def test_parquet_without_its_package_is_said_before_anything_is_simulated(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = simulate(capsys, "--trace", "jobs.csv", "--out", "out", "--form", "parquet")
    assert found.code == 2
    assert "Parquet needs the package pyarrow; install it (pip install 'aliquot[parquet]')" in found.err
    assert not (folder / "out").exists()


def test_drawn_workloads_are_written_as_a_trace_that_gives_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ("--synthetic", "25", "--until", "6h", "--seed", "7")
    told = simulate(capsys, *drawn, "--write-trace", "drawn.csv")
    assert (told.code, told.out) == (0, "")
    assert told.err == "25 workloads written to drawn.csv\n"
    again = simulate(capsys, "--trace", "drawn.csv", "--until", "6h", "--seed", "7")
    assert again.out == simulate(capsys, *drawn).out


def test_what_waits_at_the_end_is_told_with_its_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "jobs.csv").write_text("name,submit_seconds,pods,devices,queue\nhuge,0,9,8,research\n")
    found = simulate(capsys, "--trace", "jobs.csv")
    assert found.code == 0
    assert found.err.startswith("aliquot-1: 1 wait at the end: 1 ")


WRONG = [
    (("--trace", "none.csv"), "none.csv: cannot be read: No such file"),
    (("--trace", "jobs.csv", "--policy", "x"), "--policy: there is no 'x'; write one of aliquot, "),
    (("--trace", "jobs.csv", "--seed", "5-1"), "--seed: '5-1' is not a range"),
    (("--trace", "jobs.csv", "--seed", "one"), "--seed: 'one' is not a seed"),
    (("--trace", "jobs.csv", "--until", "soon"), "--until: 'soon' is not a duration; write 7d, 24h, 90m"),
    (("--trace", "jobs.csv", "--node-mtbf", "-1"), "--node-mtbf: '-1' is not a duration"),
    (("--trace", "jobs.csv", "--at", "noon"), "--at: 'noon' is not a time"),
    (("--trace", "jobs.csv", "--html", "none/page.html"), "--html: the folder none does not exist"),
    (("--trace", "jobs.csv", "--out", "jobs.csv"), "is a file"),
    (("--trace", "jobs.csv", "--out", "jobs.csv/out"), "cannot be written"),
    (("--trace", "jobs.csv", "--fail-on", "later>0"), "--fail-on needs --change"),
    (("--trace", "jobs.csv", "--change", "drain h100-0", "--html", "x.html"), "leave out --out and --html"),
    (("--synthetic", "0"), "0 is not in the range"),
    ((), "there are no workloads: the cluster has none; name some with --trace"),
    (("--trace", "queues.yaml"), "queues.yaml:"),
    (("--journal", "none.db"), "journal none.db: does not exist"),
    (("--openb", "jobs.csv", "jobs.csv"), "jobs.csv:1: column sn"),
    (("--trace", "lost.csv"), "workload default/a: the queue 'nowhere' does not exist; name one of"),
]


@pytest.mark.parametrize(("arguments", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_wrong_input_is_answered_with_the_place_and_the_fix(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str
) -> None:
    (folder / "lost.csv").write_text("name,submit_seconds,queue\na,0,nowhere\n")
    found = simulate(capsys, *arguments)
    assert (found.code, found.out) == (2, "")
    assert problem in found.err
    assert "Traceback" not in found.err


def test_a_cluster_without_nodes_or_queues_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_nodes = aliquot(capsys, "simulate", "-f", "queues.yaml", "--synthetic", "3")
    assert "there are no nodes; give a fleet file" in without_nodes.err
    without_queues = aliquot(capsys, "simulate", "-f", "fleet.yaml", "--trace", "jobs.csv")
    assert "the queue 'research' does not exist; add a file with queues with -f" in without_queues.err
    assert without_nodes.code == without_queues.code == 2


def test_a_journal_is_simulated_with_the_workloads_that_it_tells_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    come = [
        workload("first", run_seconds=1000, devices=8, queue="research"),
        workload("gang", submitted=100, run_seconds=500, pods=2, devices=8, queue="product"),
        workload("last", submitted=1500, devices=1, queue="research"),
    ]
    there = cluster(2, "claims", queue("research", 8), queue("product", 8))
    simulation = Simulation.of(there, come, Settings(until=2000))
    with Journal.open(folder / "journal.db") as journal:

        def keep(now: Simulation) -> None:
            moment = START + timedelta(seconds=now.now)
            journal.record(moment, now.last_snapshot, Policy(), now.last_plan)

        before = simulation.run(keep).workloads
    quick = ("--pod-start", "0", "--every", "1s", "--until", "2000", "--out", "out")
    found = aliquot(capsys, "simulate", "--journal", "journal.db", *quick)
    assert found.code == 0
    with (folder / "out/aliquot-1/workloads.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [
        tuple(row[name] for name in ("submit_seconds", "placed_seconds", "finished_seconds", "devices"))
        for row in rows
    ] == [("0", "0", "1000", "8"), ("100", "1000", "1250", "16"), ("1500", "1500", "", "1")]
    # The gang ended after it was last seen, at 1000, and before the record at 1500: in the middle of these.
    assert [item.finished for item in before] == [1000, 1500, None]
    assert [item.placed for item in before] == [0, 1000, 1500]


def test_truncated_journals_and_snapshots_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.db").write_bytes(b"SQLite format 3\0" + bytes(200))
    (folder / "cut.snapshot.gz").write_bytes(b"\x1f\x8b\x08\x00 no more")
    for arguments in (("--journal", "cut.db"), ("-f", "cut.snapshot.gz")):
        found = aliquot(capsys, "simulate", *arguments)
        assert found.code == 2
        assert arguments[1] in found.err
        assert "Traceback" not in found.err


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aliquot", *HERE, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def wait_for(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("how", "processes"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_interrupted_and_taken_up_again_it_writes_the_same_bytes(
    folder: Path, capfd: pytest.CaptureFixture[str], how: signal.Signals, processes: str
) -> None:
    sweep = ("--synthetic", "80", "--until", "1d", "--seed", "1-2", "--processes", processes)
    process = start(folder, *sweep, "--out", "cut")
    wait_for(lambda: catches(process, signal.SIGTERM), process)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    assert not (folder / "cut/report.html").exists()
    assert simulate(capfd, *sweep, "--out", "cut").code == 0
    assert simulate(capfd, *sweep, "--out", "whole").code == 0
    assert files(folder / "cut") == files(folder / "whole")


def test_when_the_command_is_killed_its_processes_end_too(folder: Path) -> None:
    process = start(
        folder, "--synthetic", "2000", "--until", "3d", "--seed", "1-2", "--processes", "2", "--out", "out"
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 2, process)
    workers = children.read_text().split()
    process.kill()
    process.communicate(timeout=30)
    end = time.monotonic() + 30
    while any(_alive(int(worker)) for worker in workers):
        assert time.monotonic() < end, "a worker is left behind"
        time.sleep(0.05)


def _alive(process: int) -> bool:
    """Whether a process runs still; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_damaged_state_is_refused_and_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out/aliquot-1").mkdir(parents=True)
    (folder / "out/aliquot-1/state.z").write_bytes(b"nonsense")
    found = simulate(capsys, "--trace", "jobs.csv", "--out", "out")
    assert found.code == 2
    assert "state.z: is damaged or cut off; remove it to begin anew" in found.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_progress_is_shown_on_a_terminal_only_and_never_on_stdout(folder: Path) -> None:
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aliquot", *HERE, "--synthetic", "80", "--until", "1d", "--seed", "1-2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.stdout is not None
    out = process.stdout.read()
    assert process.wait(60) == 0
    os.close(leader)
    process.stdout.close()
    assert b"of 2 simulations" in shown
    assert b"done" in shown
    assert b"\x1b" not in out
    assert out.startswith(b"SIMULATION")


def test_equal_simulations_are_equal_in_every_byte(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = (
        "--synthetic",
        "30",
        "--until",
        "12h",
        "--node-mtbf",
        "20h",
        "--device-mtbf",
        "50h",
        "--seed",
        "5",
    )
    for name in ("first", "second"):
        assert simulate(capsys, *chosen, "--out", name).code == 0
    assert files(folder / "first") == files(folder / "second")
    assert simulate(capsys, *chosen[:-1], "6", "--out", "third").code == 0
    third = {name.replace("-6", "-5"): content for name, content in files(folder / "third").items()}
    assert third["aliquot-5/workloads.csv"] != files(folder / "first")["aliquot-5/workloads.csv"]


WAITING = """
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {aliquot.dev/managed: "true", aliquot.dev/queue: product}}
"""
JOB = """
---
apiVersion: batch/v1
kind: Job
metadata: {{name: job-{number}, namespace: team, annotations: {{aliquot.dev/expected-seconds: "3600"}}}}
spec:
  template:
    metadata: {{annotations: {{aliquot.dev/expected-seconds: "3600"}}}}
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: x, resources: {{limits: {{nvidia.com/gpu: "8"}}}}}}]
"""


def test_of_what_waits_in_the_cluster_it_says_from_when_to_when_it_may_start(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "work.yaml").write_text(WAITING + "".join(JOB.format(number=number) for number in range(5)))
    shown = simulate(capsys, "-f", "work.yaml", "--until", "6h")
    traced = simulate(capsys, "-f", "work.yaml", "--trace", "jobs.csv", "--until", "6h")

    rows = shown.out.split("STARTS IN")[1].splitlines()[1:]
    assert shown.code == 0
    # Four of the five start at once on the four nodes.
    assert [row.split()[:2] for row in rows] == [["team", "job/job-4"]]
    assert "STARTS IN" not in traced.out
