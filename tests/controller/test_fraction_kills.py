"""The controller is killed at random points while pods ask for parts of devices by annotation."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.controller.load import Load, _pod
from tests.controller.test_kills import kill_after, start_controller, stop
from tests.controller.witness import Witness
from tests.controller.world import Cluster, until

from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.fractions.overuse import overuse
from aliquot.kube.client import cancel_and_wait
from aliquot.model.core import Pod

NODES = 2
HOSTNAME = "kubernetes.io/hostname"


class PartsLoad(Load):
    """Pods and gangs that ask for parts of the two devices of each node with a device plugin."""

    def _node(self, name: str, devices: int) -> None:
        amounts = {"cpu": "64", "memory": "512Gi", "pods": "200", "nvidia.com/gpu": str(devices)}
        labels = {HOSTNAME: name, "nvidia.com/gpu.memory": "24000", "aliquot.dev/fractions": "ours"}
        status = {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": status,
        }
        self.create("nodes", None, node)
        nodes = self._registry.resources.named("nodes", "")
        self._registry.update(nodes, None, name, node, SYSTEM, subresource="status")

    def step(self) -> None:
        self._random.choice([self.part] * 5 + [self.several] * 2 + [self.delete_pod])()

    def part(self) -> None:
        """A pod with a part of one device or of two, some with an affinity of their own."""
        name, space = self._name("part"), self._random.choice(self.spaces)
        pod = _pod(name, [], self._duration())
        self._ask(pod)
        created = self.create("pods", space, pod)
        self._bare[space, name] = created["metadata"]["uid"]

    def several(self) -> None:
        """A Job of which two pods start together."""
        space, name = self._random.choice(self.spaces), self._name("parts")
        template = _pod("", [], self._duration())
        template["spec"]["restartPolicy"] = "Never"
        self._ask(template)
        del template["apiVersion"], template["kind"], template["metadata"]["name"]
        spec = {"parallelism": 2, "completions": 2, "backoffLimit": 1000, "template": template}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        self.create("jobs.batch", space, job)
        self.jobs.add((space, name))

    def _ask(self, pod: dict[str, Any]) -> None:
        pod["spec"].pop("resourceClaims")
        notes = pod["metadata"]["annotations"]
        if self._random.random() < 0.5:
            notes["gpu-fraction"] = self._random.choice(("0.3", "0.5", "0.7"))
        else:
            notes["aliquot.dev/gpu-memory"] = self._random.choice(("6000", "9Gi"))
        if self._random.random() < 0.2:
            notes["gpu-fraction-num-devices"] = "2"
        if self._random.random() < 0.4:
            term = {"matchExpressions": [{"key": HOSTNAME, "operator": "Exists"}]}
            required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
            pod["spec"]["affinity"] = {"nodeAffinity": required}


class PartsWitness(Witness):
    """Notes every moment at which devices are given out beyond what they have: by the marks on pods that are
    bound or let go. given: how many pods were let go with parts."""

    given = 0

    def _pod_changed(self, before: Pod | None, after: Pod) -> None:
        super()._pod_changed(before, after)
        at = after.metadata.resource_version
        if after.spec.node_name and GROUPS_ANNOTATION not in after.metadata.annotations:
            self.broken.append(f"{at}: {after.key} was bound without its part")
        if before is not None and before.gated and not after.gated:
            self.given += 1
        there: dict[str, list[Pod]] = {}
        for pod in self._pods.values():
            if not pod.gated:
                there.setdefault(pod.spec.node_name or pod.spec.node_selector[HOSTNAME], []).append(pod)
        for name, pods in there.items():
            self.broken += [f"{at}: on {name} {told}" for told in overuse(self._nodes["", name], pods)]


@contextlib.asynccontextmanager
async def cluster(directory: Path, randomness: random.Random) -> AsyncIterator[Cluster]:
    server = EmbeddedServer(directory / "cluster")
    server.registry.admission = Admission(server.registry)
    witness = PartsWitness(server.registry)
    standins = asyncio.create_task(StandIns(server.registry).run())
    load = PartsLoad(server.registry, randomness)
    load.install(NODES, 2)
    await server.start()
    try:
        yield Cluster(server, load, witness)
    finally:
        await cancel_and_wait(standins)
        await server.stop()


async def trial(directory: Path, seed: int, kills: int) -> None:
    randomness = random.Random(seed)
    async with cluster(directory, randomness) as running:
        load, witness = running.load, running.witness
        assert isinstance(load, PartsLoad)
        assert isinstance(witness, PartsWitness)
        for _ in range(kills):
            for _ in range(randomness.randint(3, 7)):
                load.step()
            process = await start_controller(running, directory)
            delay = randomness.choice((0.0, 0.0, 0.005, 0.05))
            await kill_after(running, process, randomness.randint(1, 8), delay, 6.0)
            assert witness.broken == []
        process = await start_controller(running, directory)
        done = await until(lambda: not load.unfinished(witness.ran), 60.0)
        await stop(running, process)
        assert witness.broken == []
        assert done, load.unfinished(witness.ran)
        assert witness.given > kills


@pytest.mark.prove
async def test_five_kills_give_no_part_of_a_device_twice(tmp_path: Path) -> None:
    await trial(tmp_path, seed=int(os.environ.get("ALIQUOT_SEED", "3")), kills=5)
