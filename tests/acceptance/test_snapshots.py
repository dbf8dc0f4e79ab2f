"""A cluster under load is saved, and deciding on the file gives the same plan, byte for byte."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.cluster import Cluster

from aliquot.cli import snapshot_files
from aliquot.model.kinds import encode_json
from aliquot.scheduling.decide import decide

NAMESPACE = "saving"
JOBS = 12


def load() -> str:
    """Jobs of one to four pods that come, run a moment and go, more than the fleet holds at once."""
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"aliquot.dev/managed": "true"}},
        },
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": "gpus", "namespace": NAMESPACE},
            "spec": {
                "spec": {
                    "devices": {
                        "requests": [
                            {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 3}}
                        ]
                    }
                }
            },
        },
    ]
    for number in range(JOBS):
        pods = 1 + number % 4
        items.append(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": f"work-{number}", "namespace": NAMESPACE},
                "spec": {
                    "parallelism": pods,
                    "completions": pods,
                    "template": {
                        "metadata": {"annotations": {"aliquot.dev/run-seconds": str(1 + number % 3)}},
                        "spec": {
                            "restartPolicy": "Never",
                            "resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "gpus"}],
                            "containers": [
                                {"name": "main", "image": "work", "resources": {"claims": [{"name": "gpus"}]}}
                            ],
                        },
                    },
                },
            }
        )
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


@pytest.mark.prove
def test_what_is_saved_under_load_replays_to_the_same_plan(cluster: Cluster, tmp_path: Path) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=load())
    try:
        decided = 0
        for number in range(4):
            live, recorded = tmp_path / f"live-{number}.json.gz", tmp_path / f"recorded-{number}.json"
            cluster.aliquot("snapshot", "save", str(live))
            cluster.aliquot("snapshot", "save", str(recorded), "--decision", "last")
            for path in (live, recorded):
                saved = snapshot_files.read(path)
                assert saved.plan is not None
                decided += len(saved.plan.decisions)
                again = decide(saved.snapshot, saved.policy, saved.time)
                assert encode_json(again) == encode_json(saved.plan)
                shown = json.loads(cluster.aliquot("snapshot", "show", str(path), "-o", "json").stdout)
                assert shown["replay"] == "same"
                assert cluster.aliquot("replay", str(path)).stdout.endswith(
                    "1/1 records give the same plan\n"
                )
        assert decided, "nothing was decided in any of the snapshots: there was no load"
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def test_a_snapshot_that_is_cut_off_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    cluster.aliquot("snapshot", "save", str(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    refused = cluster.aliquot("snapshot", "show", str(path), check=False)

    assert refused.returncode == 2
    assert "is cut off at line" in refused.stderr
    assert "Traceback" not in refused.stderr
