"""A driver moves over to Aliquot and back, by one write each, while a controller runs."""

import random
from pathlib import Path
from typing import Any

from tests.controller.test_run import controller
from tests.controller.world import cluster, until

from aliquot import manifests
from aliquot.embedded.hooks import SYSTEM


class Moving:
    """The list of drivers, and pods, of a running cluster."""

    def __init__(self, running: Any) -> None:
        self._registry = running.server.registry
        self._load = running.load

    def manage(self, **drivers: str) -> None:
        resource = self._registry.resources.named("configmaps")
        found = self._registry.get(resource, manifests.NAMESPACE, manifests.DRIVERS)
        written = {name.replace("_", "."): value for name, value in drivers.items()}
        self._registry.update(
            resource, manifests.NAMESPACE, manifests.DRIVERS, found | {"data": written}, SYSTEM
        )

    def pod(self, name: str, count: int = 1) -> None:
        spec = {
            "restartPolicy": "Never",
            "containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "1"}}}],
            "resourceClaims": [{"name": "a", "resourceClaimTemplateName": f"gpus-{count}"}],
        }
        metadata = {"name": name}
        self._load.create(
            "pods", "steady", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )

    def is_gated(self, name: str) -> bool:
        return bool(self._pod(name)["spec"].get("schedulingGates"))

    def runs(self, name: str) -> bool:
        return bool((self._pod(name).get("status") or {}).get("phase") == "Running")

    def allocated(self) -> int:
        claims, _, _ = self._registry.list(
            self._registry.resources.named("resourceclaims", "resource.k8s.io")
        )
        return sum(bool((claim.get("status") or {}).get("allocation")) for claim in claims)

    def _pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._registry.get(self._registry.resources.named("pods"), "steady", name)
        return found


async def test_a_driver_moves_over_and_back_and_nobody_is_left_waiting_for_aliquot(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(5)) as running:
        people = Moving(running)
        people.manage()
        async with controller(running, tmp_path, "a") as live:
            assert await until(lambda: live.leading and live.version > 0, 20)
            people.pod("before")
            assert people.is_gated("before")
            assert await until(lambda: not people.is_gated("before"), 8), "it is not Aliquot's to place"
            assert people.allocated() == 0

            people.manage(gpu_nvidia_com="")
            assert await until(lambda: people.runs("before"), 20)
            for number in range(11):
                people.pod(f"p{number}")
            assert await until(lambda: all(people.runs(f"p{number}") for number in range(11)), 30)
            people.pod("late")
            assert await until(lambda: bool(live.plan.decisions), 20)
            assert people.is_gated("late"), "all devices are given out"

            people.manage()
            assert await until(lambda: not people.is_gated("late"), 20)
            assert people.allocated() == 12, "who runs keeps its device"
        assert running.witness.broken == []
