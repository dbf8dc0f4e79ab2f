"""The controller is killed while pods leave for a gang: they leave once, and for a gang that then starts."""

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from tests.controller.test_kills import start_controller
from tests.controller.world import DEVICES, NODES, Cluster, cluster, until

from aliquot.embedded.hooks import SYSTEM

WHOLE = NODES * DEVICES
HALF = WHOLE // 2


class Teams:
    """Two teams with half of the cluster each: one that borrows all of it, one that takes its half back.

    left: uids of the first team's pods that were told to go, in that order. bound: pods of the second team
    that have a node, by Job.
    """

    def __init__(self, running: Cluster) -> None:
        self._running = running
        self._registry = running.server.registry
        self.left: list[str] = []
        self.on_leaving: Any = None
        self.bound: dict[str, set[str]] = {}
        self._alive: dict[str, bool] = {}
        load = running.load
        load.create("queues.aliquot.dev", None, _queue("lab", "", WHOLE))
        for team in ("borrower", "owner"):
            load.create("queues.aliquot.dev", None, _queue(team, "lab", HALF))
            load.namespace(team)
            space = self._registry.get(self._registry.resources.named("namespaces", ""), None, team)
            space["metadata"]["labels"]["aliquot.dev/queue"] = team
            self._registry.update(self._registry.resources.named("namespaces", ""), None, team, space, SYSTEM)
        self._registry.observe(self._registry.resources.named("pods", ""), self._pod_changed)

    def start(self, team: str, name: str, pods: int, enough: int) -> None:
        self._running.load.create("jobs.batch", team, _job(name, pods, enough))

    def end(self, team: str, name: str) -> None:
        self._registry.delete(self._registry.resources.named("jobs", "batch"), team, name, SYSTEM)

    def borrowed(self) -> int:
        return sum(self._alive.values())

    def _pod_changed(self, change: str, obj: dict[str, Any]) -> None:
        meta, node = obj["metadata"], obj["spec"].get("nodeName")
        if meta["namespace"] == "owner" and node:
            self.bound.setdefault(meta["labels"]["batch.kubernetes.io/job-name"], set()).add(meta["uid"])
        if meta["namespace"] != "borrower":
            return
        leaves = change == "DELETED" or bool(meta.get("deletionTimestamp"))
        self._alive[meta["uid"]] = bool(node) and not leaves
        if leaves and node and meta["uid"] not in self.left:
            self.left.append(meta["uid"])
            if self.on_leaving is not None:
                self.on_leaving()


def _queue(name: str, parent: str, gpus: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"resources": [{"name": "gpu", "quota": gpus}]}
    if parent:
        spec["parent"] = parent
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": spec}


def _job(name: str, pods: int, enough: int) -> dict[str, Any]:
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "annotations": {"aliquot.dev/gang-min": str(enough)}},
        "spec": {
            "parallelism": pods,
            "completions": pods,
            "podFailurePolicy": {"rules": [ignore]},
            "template": {
                "metadata": {"annotations": {"aliquot.dev/stop-seconds": "0.3"}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "none"}],
                    "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "gpus-1"}],
                },
            },
        },
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


async def trial(directory: Path, seed: int, kill_at: list[int]) -> None:
    """For each number: kill the controller when so many pods have been told to go for a gang of HALF pods."""
    async with cluster(directory, random.Random(seed)) as running, contextlib.AsyncExitStack() as stack:
        teams, witness = Teams(running), running.witness
        process = await start_controller(running, directory)
        stack.push_async_callback(lambda: _end(process))
        teams.start("borrower", "greedy", WHOLE, 1)
        assert await until(lambda: teams.borrowed() == WHOLE, 30.0)
        for round_number, number in enumerate(kill_at):
            teams.left.clear()
            victim = process

            def leaving(number: int = number, victim: Any = victim) -> None:
                if len(teams.left) == number and victim.returncode is None:
                    victim.kill()

            teams.on_leaving = leaving
            gang = f"gang-{round_number}"
            teams.start("owner", gang, HALF, HALF)
            assert await until(lambda n=number: len(teams.left) >= n, 30.0)  # type: ignore[misc]
            await process.wait()
            assert process.returncode == -9, "the controller ended by itself"
            process = await start_controller(running, directory)
            started = await until(lambda g=gang: len(teams.bound.get(g, ())) == HALF, 40.0)  # type: ignore[misc]
            assert started, f"{len(teams.left)} left, and {teams.bound.get(gang)} of the gang started"
            assert len(teams.left) == HALF, "more had to leave than the gang needs"
            assert witness.broken == []
            teams.on_leaving = None
            teams.end("owner", gang)
            assert await until(lambda: teams.borrowed() == WHOLE, 40.0)
            assert len(teams.left) == HALF, "pods went on leaving when nobody needed their places"
        assert witness.broken == []


async def test_a_kill_between_evictions_evicts_nobody_twice_or_for_nothing(tmp_path: Path) -> None:
    await trial(tmp_path, seed=1, kill_at=[1, HALF])


@pytest.mark.prove
async def test_kills_at_every_eviction(tmp_path: Path) -> None:
    seed = int(os.environ.get("ALIQUOT_SEED", "1"))
    await trial(tmp_path, seed=seed, kill_at=[number for number in range(1, HALF + 1) for _ in range(2)])
