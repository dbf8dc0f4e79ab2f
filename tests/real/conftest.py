"""One real cluster for all tests here; without one they are skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.server import Api, real_connection
from tests.real.cluster import MADE, Cluster, Controller
from tests.real.history import History

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: real}
nodes:
- {count: 3, type: dgx-h100, zone: a}
- {count: 1, type: dgx-h100, zone: a, mig: {dynamic: true}}
- {count: 1, type: dgx-b200, zone: b}
- {count: 1, type: dgx-a100, zone: b, mig: {layout: [1g.5gb, 1g.5gb, 2g.10gb, 3g.20gb]}}
"""


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    connection = real_connection()
    if connection is None:
        pytest.skip("neither ALIQUOT_REAL_KUBECONFIG nor KUBECONFIG names a cluster")
    api = Api(connection)
    cluster = Cluster(api, tmp_path_factory.mktemp("real"))
    foreign = [
        node["metadata"]["name"]
        for node in cluster.items("/api/v1/nodes")
        if MADE not in (node["metadata"].get("labels") or {})
    ]
    if foreign:
        api.close()
        pytest.skip(
            f"the cluster has nodes of its own ({', '.join(foreign[:3])}); these tests make nodes that do not"
            " exist and say that pods run, so they want a control plane without any"
        )
    cluster.clear()
    cluster.fleet(FLEET)
    cluster.run_pods()
    yield cluster
    cluster.stop()
    api.close()


@pytest.fixture(scope="session")
def warnings(real: Cluster) -> list[str]:
    """Aliquot's manifests applied; what the server warned of."""
    return real.install()


@pytest.fixture(scope="session")
def history(real: Cluster, warnings: list[str]) -> History:
    return History(real)


@pytest.fixture(scope="session")
def controller(real: Cluster, history: History) -> Iterator[Controller]:
    with real.controller(lease_seconds=5) as running:
        yield running


@pytest.fixture(scope="session")
def audit_log() -> Path:
    """The audit log of the API server, where it can be read."""
    named = os.environ.get("ALIQUOT_REAL_AUDIT_LOG", "")
    if not named:
        pytest.skip("ALIQUOT_REAL_AUDIT_LOG does not name the API server's audit log")
    return Path(named)
