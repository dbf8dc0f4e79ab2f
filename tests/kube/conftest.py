"""The embedded server as the other side of the client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.kube.faults import FaultyProxy

from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client
from aliquot.kube.config import Connection, load_kubeconfig


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    running = EmbeddedServer(tmp_path / "cluster")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def connection(server: EmbeddedServer) -> Connection:
    return load_kubeconfig([server.kubeconfig])


@pytest.fixture
async def client(connection: Connection) -> AsyncIterator[Client]:
    async with Client(connection) as made:
        yield made


@pytest.fixture
async def proxy(connection: Connection) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(connection) as made:
        yield made


@pytest.fixture
async def faulty(proxy: FaultyProxy) -> AsyncIterator[Client]:
    """A client that reaches the server through the proxy."""
    async with Client(proxy.connection) as made:
        yield made
