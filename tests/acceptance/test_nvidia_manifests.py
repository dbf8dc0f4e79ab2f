"""Claims in the forms that NVIDIA's DRA driver documents, in namespaces that Aliquot does not manage."""

from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster

MANIFESTS = Path(__file__).with_name("manifests")


def devices(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    return sorted(
        (result["pool"], result["device"])
        for claim in cluster.objects("resourceclaims", "-n", namespace)
        for result in claim["status"]["allocation"]["devices"]["results"]
    )


@pytest.mark.parametrize(
    ("name", "pods", "claims", "results"),
    [
        ("one-gpu-each", "pod1 pod2", 2, 2),
        ("two-containers-share", "pod", 1, 1),
        ("two-pods-share", "pod1 pod2", 1, 1),
        ("mig-on-one-parent", "pod", 1, 4),
        ("four-gpus-match", "pod", 1, 4),
        ("first-available", "pod", 1, 1),
        ("time-slicing-and-mps", "pod", 1, 2),
    ],
)
def test_documented_form_runs_unmodified(
    cluster: Cluster, name: str, pods: str, claims: int, results: int
) -> None:
    path = str(MANIFESTS / f"{name}.yaml")
    cluster.kubectl("apply", "-f", path)

    cluster.wait_running(pods, name)

    found = devices(cluster, name)
    assert len(cluster.objects("resourceclaims", "-n", name)) == claims
    assert len(found) == results
    assert len({pool for pool, _ in found}) == 1 or claims > 1
    if name == "mig-on-one-parent":
        parents = {device.split("-mig-")[0] for _, device in found}
        assert len(parents) == 1
        assert all("-mig-" in device for _, device in found)
    cluster.delete(name, "-f", path)
