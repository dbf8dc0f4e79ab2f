"""The servers under test, and a namespace of its own for each test.

The embedded server is always asked. Where ALIQUOT_REAL_KUBECONFIG or KUBECONFIG names a cluster, the same is
asked of that.
"""

import itertools
import os
import time
from collections.abc import Iterator

import pytest
from tests.conformance.resources import Space
from tests.conformance.server import SECONDS, Api, Embedded, real_connection

_COUNT = itertools.count(1)


def pytest_report_header() -> str:
    connection = real_connection()
    found = "the embedded server"
    return f"conformance: {found}" + (f" and {connection.server}" if connection is not None else " alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api" in metafunc.fixturenames:
        servers = ["embedded"] + (["real"] if real_connection() is not None else [])
        metafunc.parametrize("api", servers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    if request.param == "real":
        connection = real_connection()
        assert connection is not None
        asked = Api(connection)
        yield asked
        asked.close()
        return
    server = Embedded(tmp_path_factory.mktemp("conformance") / "state")
    asked = Api(server.start())
    yield asked
    asked.close()
    server.stop()


@pytest.fixture
def space(api: Api) -> Iterator[Space]:
    """A namespace that is removed afterwards, with everything in it."""
    made = Space(api, f"conformance-{os.getpid()}-{next(_COUNT)}-{time.time_ns() % 100_000}")
    made.open(SECONDS)
    yield made
    made.close()
