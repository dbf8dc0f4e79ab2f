"""Two replicas as real processes: the leader is killed, and the other goes on within the lease's time."""

import asyncio
import contextlib
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from tests.controller.world import Cluster, cluster, until

LEASE_SECONDS = 3
START_SECONDS = 60.0
"""A machine under load takes its time to start an interpreter."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Replica:
    """A controller process with one address for metrics and probes."""

    def __init__(self, running: Cluster, directory: Path, name: str) -> None:
        self._running = running
        self._directory = directory
        self._name = name
        self.address = f"127.0.0.1:{free_port()}"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._directory / f"{self._name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "aliquot", "controller", "--leader-elect"),
                *("--kubeconfig", str(self._running.server.controller_kubeconfig)),
                *("--state", str(self._directory / self._name), "--lease-seconds", str(LEASE_SECONDS)),
                *("--metrics-bind-address", self.address, "--health-probe-bind-address", self.address),
                stdout=log,
                stderr=log,
                env=dict(os.environ),
            )

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 while nobody answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://{self.address}/{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def ready(self) -> None:
        """Return once the probe succeeds."""
        async with asyncio.timeout(START_SECONDS):
            while (await self.get("readyz"))[0] != 200:
                assert self.process is not None
                assert self.process.returncode is None
                await asyncio.sleep(0.1)

    async def leads(self) -> bool:
        _, text = await self.get("metrics")
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return values.get("aliquot_leader") == 1.0

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def replicas(running: Cluster, directory: Path) -> AsyncIterator[list[Replica]]:
    made = [Replica(running, directory, name) for name in ("a", "b")]
    try:
        for replica in made:
            await replica.start()
        for replica in made:
            await replica.ready()
        yield made
    finally:
        for replica in made:
            await replica.kill()


async def leader(among: list[Replica]) -> Replica:
    """The one that leads, once one does."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            found = [replica for replica in among if await replica.leads()]
            assert len(found) <= 1
            if found:
                return found[0]
            await asyncio.sleep(0.05)


async def test_the_other_replica_goes_on_when_the_leader_is_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, replicas(running, tmp_path) as both:
        load, witness = running.load, running.witness
        first = await leader(both)
        load.gang()
        load.pod()
        assert await until(lambda: not load.unfinished(witness.ran), 60.0)
        await first.kill()
        killed = time.monotonic()
        load.gang()
        load.pod()
        (other,) = (replica for replica in both if replica is not first)
        assert await leader([other]) is other
        took = time.monotonic() - killed
        # The lease, and the fifth of it after which a candidate looks again; the rest is the machine's.
        assert took < LEASE_SECONDS * 1.25 + 5.0
        assert await until(lambda: not load.unfinished(witness.ran), 60.0)
        assert witness.broken == []


async def test_a_leader_that_is_told_to_stop_hands_over_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, replicas(running, tmp_path) as both:
        first = await leader(both)
        assert first.process is not None
        first.process.terminate()
        assert await asyncio.wait_for(first.process.wait(), 20) == 0
        (other,) = (replica for replica in both if replica is not first)
        assert await leader([other]) is other
        assert (await other.get("readyz"))[1] == "leads\n"
