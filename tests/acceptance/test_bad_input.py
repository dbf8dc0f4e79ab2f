"""Wrong input gets a clear error and changes nothing."""

from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster, kubectl_path

QUEUE = """
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: %s}
spec:
  parent: %s
"""

FLEET = "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nnodes: [{count: 1, %s}]"

POD = """
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: default}
spec:
  containers:
    - {name: main, image: x%s}
"""


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (POD % ", imagePolicy: Always", "unknown field"),
        (POD % ", resources: {requests: {cpu: lots}}", "quantities"),
        (POD.replace("kind: Pod", "kind: Pood") % "", "no matches for kind"),
        (POD.replace("name: bad", "name: Bad_Name") % "", "RFC 1123"),
        (QUEUE % ("selfish", "selfish"), "parent"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: bad\n", "error"),
        (QUEUE % ("bad", '""') + "  resources: [{name: gpu, limit: many}]", "limit"),
    ],
    ids=["unknown-field", "quantity", "kind", "name", "own-parent", "truncated", "queue-limit"],
)
def test_kubectl_apply_is_refused_as_a_cluster_would(cluster: Cluster, manifest: str, said: str) -> None:
    before = cluster.kubectl("get", "pods,queues", "-A", "-o", "name")
    refused = cluster.run(kubectl_path(), "apply", "-f", "-", stdin=manifest, check=False)

    assert refused.returncode != 0
    assert said in refused.stderr
    assert cluster.kubectl("get", "pods,queues", "-A", "-o", "name") == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "fleet.yaml",
            "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes: [{count: 1, type: dgx-h1000}]",
            "dgx-h100",
        ),
        (
            "fleet.yaml",
            "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes: [{count: 1, typ: dgx-h100}]",
            "typ",
        ),
        ("cut.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a", "line"),
        ("kind.yaml", "apiVersion: v1\nkind: Sandwich\nmetadata: {name: a}", "Sandwich"),
        (
            "cycle.yaml",
            "\n---\n".join(QUEUE % pair for pair in (("a", "b"), ("b", "a"))),
            "cycl",
        ),
    ],
    ids=["fleet-type", "fleet-field", "truncated", "kind", "cyclic-queues"],
)
def test_plan_names_the_file_the_field_and_the_fix(
    cluster: Cluster, tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)

    refused = cluster.aliquot("plan", "-f", str(path), check=False)

    assert refused.returncode > 1
    assert name in refused.stderr
    assert said in refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
