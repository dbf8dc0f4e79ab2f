"""A server, a client, and a mirror that runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.kube.conftest import client as client
from tests.kube.conftest import connection as connection
from tests.kube.conftest import faulty as faulty
from tests.kube.conftest import proxy as proxy
from tests.kube.conftest import server as server
from tests.kube.faults import FaultyProxy

from aliquot.controller.writing import Writer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.clock import SystemClock
from aliquot.kube.mirror import Mirror


@pytest.fixture
async def mirror(faulty: Client) -> AsyncIterator[Mirror]:
    """A synced mirror behind the proxy."""
    made = Mirror(faulty)
    task = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        await made.wait_synced()
    yield made
    await cancel_and_wait(task)


@pytest.fixture
def writer(faulty: Client, mirror: Mirror) -> Writer:
    """Writes through the proxy, as the leader."""
    return Writer(faulty, mirror, lambda: True)


class _Hasty(SystemClock):
    def __init__(self, haste: float) -> None:
        self._haste = haste

    def monotonic(self) -> float:
        return super().monotonic() * self._haste

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._haste)


@pytest.fixture
async def hasty(proxy: FaultyProxy, writer: Writer, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """For who writes time flies between attempts: so many times as fast as it does, 200 unless told."""
    async with Client(proxy.connection, clock=_Hasty(getattr(request, "param", 200.0))) as client:
        writer.client = client
        yield
