"""Two controllers behind bad networks: every promise about devices holds, and in the end all work ran."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.controller.world import Cluster, cluster, until
from tests.kube.faults import Fault, FaultyProxy, Plan

from aliquot.controller.live import Live
from aliquot.controller.run import ControllerConfig, run
from aliquot.kube.config import load_kubeconfig
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal

LONGEST_DELAY = 0.2
"""Shorter than the time between a leader's giving up (two thirds of a lease) and another's taking over."""


def unreliable(randomness: random.Random, rate: float) -> Plan:
    """One request in 1/rate goes wrong, in one of many ways."""

    def plan(method: str, path: str, query: dict[str, str]) -> Fault | None:
        if randomness.random() >= rate:
            return None
        if "watch" in query:
            return randomness.choice(
                (
                    Fault(status=500),
                    Fault(status=410, body=b'{"code":410,"reason":"Expired"}'),
                    Fault(duplicate=True),
                    Fault(drop_after=randomness.randint(1, 5)),
                    Fault(inject=b'{"type":"ERROR","object":{"code":410,"reason":"Expired"}}'),
                    Fault(inject=b'{"type":"MODI'),
                )
            )
        return randomness.choice(
            (
                Fault(status=409, body=b'{"code":409,"reason":"Conflict","message":"no"}'),
                Fault(status=429, headers={"Retry-After": "0"}),
                Fault(status=500),
                Fault(status=503),
                Fault(lose_answer=True),
                Fault(cut=randomness.randint(0, 200)),
                Fault(delay=LONGEST_DELAY * randomness.random(), lose_answer=randomness.random() < 0.5),
            )
        )

    return plan


@contextlib.asynccontextmanager
async def controller(
    running: Cluster, directory: Path, name: str, randomness: random.Random, rate: float
) -> AsyncIterator[tuple[FaultyProxy, Live]]:
    connection = load_kubeconfig([running.server.controller_kubeconfig])
    stop, live = asyncio.Event(), Live()
    async with FaultyProxy(connection) as proxy:
        proxy.plan = unreliable(randomness, rate)
        config = ControllerConfig(connection=proxy.connection, identity=name, lease_seconds=2)
        with Journal.open(directory / f"{name}.db") as journal:
            task = asyncio.create_task(
                run(config, Policy(), journal=journal, stop=stop, live=live, randomness=randomness)
            )
            try:
                yield proxy, live
            finally:
                stop.set()
                await task


async def trial(directory: Path, seed: int, rounds: int, rate: float) -> None:
    randomness = random.Random(seed)
    async with (
        cluster(directory, randomness) as running,
        controller(running, directory, "a", random.Random(seed + 1), rate) as (first, live_a),
        controller(running, directory, "b", random.Random(seed + 2), rate) as (second, live_b),
    ):
        load, witness = running.load, running.witness
        both_led = set()
        for number in range(rounds):
            for _ in range(randomness.randint(1, 4)):
                load.step()
            if number % 20 == 9:
                load.delete_namespace()
            before = witness.allocations
            await until(lambda b=before: witness.allocations > b, randomness.random())  # type: ignore[misc]
            both_led |= {name for name, live in (("a", live_a), ("b", live_b)) if live.leading}
            if number % 10 == 5:
                for proxy in (first, second):
                    proxy.break_watches()
            assert witness.broken == []
        first.plan = second.plan = lambda method, path, query: None
        done = await until(lambda: not load.unfinished(witness.ran), 60.0)
        assert witness.broken == []
        assert done, load.unfinished(witness.ran)
        assert witness.allocations > rounds / 2


async def test_promises_hold_behind_an_unreliable_network(tmp_path: Path) -> None:
    await trial(tmp_path, seed=1, rounds=12, rate=0.1)


@pytest.mark.prove
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
async def test_promises_hold_behind_an_unreliable_network_for_long(tmp_path: Path, rate: float) -> None:
    await trial(tmp_path, seed=int(os.environ.get("ALIQUOT_SEED", "1")), rounds=60, rate=rate)
