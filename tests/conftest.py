"""Fixtures that every part's tests may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.acceptance.cluster import Cluster, kubectl_path, start, stop
from tests.web.browser import Page, chromium, tab

# How long an example takes says more about what else the machine does than about what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and traces beside the checkout; tests that need it skip elsewhere."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no shared/ folder beside this checkout")
    return path


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """`aliquot up` on a small fleet, one per worker; each test uses namespaces of its own."""
    kubectl_path()
    state = tmp_path_factory.mktemp("acceptance") / "state"
    running = start(state, Path(__file__).parent / "acceptance" / "fleet.yaml")
    yield running
    assert stop(running) == 0


@pytest.fixture(scope="session")
def browser() -> Iterator[str]:
    """The address of a Chromium, one per worker; each test has a tab of its own."""
    with chromium() as address:
        yield address


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    """An empty tab, in which nothing may go wrong."""
    async with tab(browser) as opened:
        await opened.size(1440, 900)
        yield opened
        assert opened.problems == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share the cluster on one worker."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("cluster"))
