"""One running cluster for all acceptance tests of a worker; each test uses namespaces of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster, kubectl_path, start, stop


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    kubectl_path()
    state = tmp_path_factory.mktemp("acceptance") / "state"
    running = start(state, Path(__file__).with_name("fleet.yaml"))
    yield running
    assert stop(running) == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share the cluster on one worker."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("cluster"))
