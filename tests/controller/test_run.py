"""The controller as a whole, from start to stop."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
from tests.controller.world import Cluster, cluster, until

from aliquot.controller.live import Live
from aliquot.controller.run import ControllerConfig, Part, run
from aliquot.kube.client import Client
from aliquot.kube.config import Connection, load_kubeconfig
from aliquot.kube.credentials import StaticCredential
from aliquot.kube.resources import LEASES
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal


@contextlib.asynccontextmanager
async def controller(
    running: Cluster,
    directory: Path,
    name: str,
    lease_seconds: int = 15,
    policy: Policy | None = None,
    parts: Callable[[Client], Sequence[Part]] | None = None,
) -> AsyncIterator[Live]:
    stop, live = asyncio.Event(), Live()
    config = ControllerConfig(
        connection=load_kubeconfig([running.server.controller_kubeconfig]),
        identity=name,
        lease_seconds=lease_seconds,
    )
    with Journal.open(directory / f"{name}.db") as journal:
        task = asyncio.create_task(
            run(config, policy or Policy(), journal=journal, stop=stop, live=live, parts=parts)
        )
        try:
            yield live
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)


async def test_work_is_placed_and_runs_and_everybody_can_see_it(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, controller(running, tmp_path, "a") as live:
        assert await until(lambda: live.leading and live.version > 0, 10)
        for _ in range(4):
            running.load.gang()
            running.load.pair()
        assert await until(lambda: not running.load.unfinished(running.witness.ran), 30)
        assert running.witness.broken == []
        assert any(pod.status.phase == "Succeeded" for pod in live.snapshot.pods)


async def test_a_fault_in_what_stands_beside_the_decisions_holds_nobody_up(tmp_path: Path) -> None:
    begun: list[str] = []

    async def broken() -> None:
        begun.append("broken")
        raise RuntimeError("a fault of its own")

    async with (
        cluster(tmp_path, random.Random(1)) as running,
        controller(running, tmp_path, "a", parts=lambda client: [broken]) as live,
    ):
        assert await until(lambda: bool(begun), 10)
        running.load.gang()
        assert await until(lambda: not running.load.unfinished(running.witness.ran), 30)
        assert live.leading
        assert running.witness.broken == []


async def test_who_stops_hands_over_at_once_and_who_waits_sees_the_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running:
        async with controller(running, tmp_path, "a", lease_seconds=60) as first:
            assert await until(lambda: first.leading, 30)
            async with controller(running, tmp_path, "b", lease_seconds=2) as second:
                assert await until(lambda: len(second.snapshot.nodes) == 3, 30)
                assert not second.leading
        connection = load_kubeconfig([running.server.kubeconfig])
        async with Client(connection) as client:
            lease = msgspec.json.decode(await client.get(LEASES, "aliquot-controller", "aliquot-system"))
        assert lease["spec"]["holderIdentity"] == ""
        async with controller(running, tmp_path, "c", lease_seconds=60) as third:
            assert await until(lambda: third.leading, 30)


async def test_an_unreachable_server_is_waited_for_and_stopping_works(tmp_path: Path) -> None:
    stop = asyncio.Event()
    nowhere = Connection(server="http://127.0.0.1:1", credentials=StaticCredential("t"))
    config = ControllerConfig(connection=nowhere, identity="a")
    with Journal.open(tmp_path / "journal.db") as journal:
        task = asyncio.create_task(run(config, Policy(), journal=journal, stop=stop))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(task)
        assert not task.done()
        stop.set()
        await asyncio.wait_for(task, 10)
