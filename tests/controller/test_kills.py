"""The controller is killed at random points under load: no device is given twice, and in the end all work
ran.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import pytest
from tests.controller.world import Cluster, cluster, until

LEASE_SECONDS = 2


async def start_controller(cluster: Cluster, directory: Path) -> asyncio.subprocess.Process:
    log = (directory / "controller.log").open("ab")
    with log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aliquot", "controller"),
            *("--kubeconfig", str(cluster.server.controller_kubeconfig)),
            *("--state", str(directory / "state"), "--lease-seconds", str(LEASE_SECONDS)),
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )


async def stop(cluster: Cluster, process: asyncio.subprocess.Process) -> None:
    """SIGTERM once the controller leads, and so has begun to listen to signals; it ends with 0.

    What was left may have been done by who was killed before it: an idle cluster shows nothing of this one.
    """
    leases = cluster.server.registry.resources.named("leases", "coordination.k8s.io")

    def leads() -> bool:
        lease = cluster.server.registry.get(leases, "aliquot-system", "aliquot-controller")
        return f"_{process.pid}_" in lease["spec"]["holderIdentity"]

    assert await until(leads, 30.0)
    assert process.returncode is None, "the controller ended by itself"
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def kill_after(
    cluster: Cluster, process: asyncio.subprocess.Process, writes: int, delay: float, seconds: float
) -> None:
    """SIGKILL once the controller has made so many writes and a moment has passed, or after `seconds`.

    With no delay the process dies before the answer to its last write has left the server.
    """
    reached = asyncio.Event()
    target = cluster.witness.controller_writes + writes

    def look() -> None:
        if cluster.witness.controller_writes >= target and not reached.is_set():
            reached.set()
            if not delay:
                process.kill()

    cluster.witness.on_write.append(look)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reached.wait(), seconds)
        if delay:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), delay)
    finally:
        cluster.witness.on_write.remove(look)
    assert process.returncode in (None, -9), "the controller ended by itself"
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def trial(directory: Path, seed: int, kills: int) -> None:
    randomness = random.Random(seed)
    async with cluster(directory, randomness) as running:
        load, witness = running.load, running.witness
        for number in range(kills):
            for _ in range(randomness.randint(3, 7)):
                load.step()
            if number % 10 == 4:
                load.delete_namespace()
            process = await start_controller(running, directory)
            delay = randomness.choice((0.0, 0.0, 0.005, 0.05))
            await kill_after(running, process, randomness.randint(1, 12), delay, 6.0)
            assert witness.broken == []
        process = await start_controller(running, directory)
        done = await until(lambda: not load.unfinished(witness.ran), 60.0)
        await stop(running, process)
        assert witness.broken == []
        assert done, load.unfinished(witness.ran)
        assert witness.allocations > kills


async def test_two_kills_break_no_promise(tmp_path: Path) -> None:
    await trial(tmp_path, seed=1, kills=2)


@pytest.mark.prove
async def test_fifty_kills_break_no_promise(tmp_path: Path) -> None:
    await trial(tmp_path, seed=int(os.environ.get("ALIQUOT_SEED", "2")), kills=50)
