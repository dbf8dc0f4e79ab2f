"""An embedded cluster with everything but a controller, and somebody who watches it."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.controller.load import Load
from tests.controller.witness import Witness

from aliquot.embedded.admission import Admission
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.kube.client import cancel_and_wait

NODES, DEVICES = 3, 4


class Cluster:
    """An embedded cluster in this process, with everything but a controller."""

    def __init__(self, server: EmbeddedServer, load: Load, witness: Witness) -> None:
        self.server = server
        self.load = load
        self.witness = witness


@contextlib.asynccontextmanager
async def cluster(directory: Path, randomness: random.Random) -> AsyncIterator[Cluster]:
    server = EmbeddedServer(directory / "cluster")
    server.registry.admission = Admission(server.registry)
    witness = Witness(server.registry)
    standins = asyncio.create_task(StandIns(server.registry).run())
    load = Load(server.registry, randomness)
    load.install(NODES, DEVICES)
    await server.start()
    try:
        yield Cluster(server, load, witness)
    finally:
        await cancel_and_wait(standins)
        await server.stop()


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True
