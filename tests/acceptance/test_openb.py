"""The openb production trace is placed in one go."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.cluster import ROOT


@pytest.mark.prove
def test_the_openb_cluster_is_placed_and_every_pod_accounted_for(shared: Path) -> None:
    trace = shared / "traces" / "openb"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "aliquot", "plan", "-o", "json", "--openb"),
            *(str(trace / "openb_node_list_gpu_node.csv"), str(trace / "openb_pod_list_default.csv")),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )

    assert done.returncode in (0, 1), done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["nodes"] == 1213
    assert summary["devices"] == 6212
    assert summary["pods"] == 8152
    assert summary["placed"] + summary["waiting"] == 8152
    assert sum(summary["reasons"].values()) == summary["waiting"]
    # 6086.8 GPUs are asked for, and best-fit places more than nine tenths of the fleet's 6,212.
    assert 0.90 * 6212 < summary["gpusAllocated"] <= 6086.8
