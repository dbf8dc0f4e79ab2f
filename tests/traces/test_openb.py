"""The openb trace with its times."""

from pathlib import Path

import pytest

from aliquot.simulation.results import Outcome
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.traces.errors import TraceError
from aliquot.traces.openb import read_openb

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time\n"
    "p1,1000,1024,1,500,,LS,Running,1000,1600\n"
    "p2,1000,1024,1,500,P100,LS,Running,1100,1300\n"
    "p3,1000,1024,2,1000,,LS,Running,1200,1500\n"
    "p4,1000,1024,1,1000,T4,LS,Running,1200,1500\n"
)


def files(folder: Path, nodes: str, pods: str) -> tuple[Path, Path]:
    (folder / "nodes.csv").write_text(nodes)
    (folder / "pods.csv").write_text(pods)
    return folder / "nodes.csv", folder / "pods.csv"


def test_pods_come_and_go_at_the_times_of_the_trace(tmp_path: Path) -> None:
    snapshot, come = read_openb(*files(tmp_path, NODES, PODS))
    assert [(item.submitted, item.run_seconds) for item in come] == [
        (0, 600),
        (100, 200),
        (200, 300),
        (200, 300),
    ]
    found = Simulation.of(snapshot, come, Settings(until=5000)).run()
    first, second, third, fourth = found.workloads
    assert (first.finished, second.finished) == (600, 300)
    # Both halves of one device were in use, so that the pod of two devices had to wait for the first.
    assert (third.placed, third.finished) == (600, 900)
    assert fourth.outcome is Outcome.WAITING


def test_arrivals_can_be_moved_closer(tmp_path: Path) -> None:
    _, come = read_openb(*files(tmp_path, NODES, PODS), faster=10)
    assert [item.submitted for item in come] == [0, 10, 20, 20]
    assert [item.run_seconds for item in come] == [600, 200, 300, 300]


@pytest.mark.parametrize(
    ("nodes", "pods", "problem"),
    [
        (NODES, PODS[:-20], r"pods\.csv:5: 7 cells under 10 columns"),
        (NODES, PODS.splitlines()[0] + "\n", r"pods\.csv: holds no pods"),
        (NODES.splitlines()[0] + "\n", PODS, r"nodes\.csv: holds no nodes"),
        (PODS, NODES, r"nodes\.csv:1: column sn: there is no such column"),
        (
            NODES,
            PODS.replace("1000,1600", "1000,"),
            r"pods\.csv:2: column creation_time: is empty or missing",
        ),
        (NODES, PODS.replace("1000,1600", "1000,900"), r"pods\.csv:2: column deletion_time: is before"),
    ],
)
def test_a_damaged_trace_is_refused(tmp_path: Path, nodes: str, pods: str, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        read_openb(*files(tmp_path, nodes, pods))


def test_the_published_trace_is_read(shared: Path) -> None:
    folder = shared / "traces" / "openb"
    nodes, pods = folder / "openb_node_list_gpu_node.csv", folder / "openb_pod_list_default.csv"
    snapshot, come = read_openb(nodes, pods)
    assert (len(snapshot.nodes), len(come)) == (1213, 8152)
