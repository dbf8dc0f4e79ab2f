"""What may run follows the approved models, whoever changes them and however."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.approvals.admission import REVISION, container, pod
from tests.approvals.test_custom_resource import model

from aliquot import manifests
from aliquot.approvals.roster import NAME
from aliquot.controller.registry import CONFIG_MAPS, MODELS, RegistryKeeper
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.config import load_kubeconfig
from aliquot.kube.errors import ApiError
from aliquot.kube.resources import PODS

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def stored(client: Client, name: str = "llama-1") -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await client.get(MODELS, name))
    return found


async def test_changes_by_any_tool_take_effect_on_new_pods_and_are_told_in_the_status(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "state")
    registry = server.registry
    registry.admission = Admission(registry)
    for document in [
        *manifests.load(),
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "serving", "labels": {"aliquot.dev/models": "enforced"}},
        },
        model(),
    ]:
        resource = registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None
        registry.create(resource, document["metadata"].get("namespace"), document, SYSTEM)
    await server.start()
    async with Client(load_kubeconfig([server.kubeconfig])) as client:
        keeper = RegistryKeeper(client, lambda: NOW)
        served = pod(container("--model", "meta-llama/Llama-3.1-8B", f"--revision={REVISION}"))
        await keeper.look()
        with pytest.raises(ApiError, match="no approved model"):
            await client.create(PODS, served, "serving")

        # As somebody does with kubectl edit; isolation would need another namespace.
        spec: dict[str, Any] = {"state": "Approved", "needs": {"isolation": "None"}}
        await client.patch(MODELS, "llama-1", {"spec": spec})
        running = asyncio.create_task(keeper.run(0.01))
        await _until(client, "llama-1", present=True)
        await cancel_and_wait(running)
        await client.create(PODS, served, "serving")
        keeper = RegistryKeeper(client, lambda: NOW)
        await keeper.look()
        status = (await stored(client))["status"]
        assert (status["running"], status["workloads"][0]["name"]) == (1, "p")
        assert {one["type"]: one["status"] for one in status["conditions"]} == {
            "Ready": "True",
            "StillRunning": "False",
        }

        revoked = {"state": "Revoked", "decision": {"reason": "licence"}}
        await client.patch(MODELS, "llama-1", {"spec": revoked})
        keeper = RegistryKeeper(client, lambda: NOW)
        await keeper.look()
        with pytest.raises(ApiError, match="no approved model"):
            await client.create(PODS, {**served, "metadata": {**served["metadata"], "name": "q"}}, "serving")
        status = (await stored(client))["status"]
        assert {one["type"]: one["status"] for one in status["conditions"]} == {
            "Ready": "False",
            "StillRunning": "True",
        }
        version = (await stored(client))["metadata"]["resourceVersion"]
        keeper = RegistryKeeper(client, lambda: NOW)
        await keeper.look()
        assert (await stored(client))["metadata"]["resourceVersion"] == version, "nothing new was written"
    await server.stop()


async def _until(client: Client, key: str, *, present: bool) -> None:
    async with asyncio.timeout(20):
        while True:
            found = msgspec.json.decode(await client.get(CONFIG_MAPS, NAME, manifests.NAMESPACE))
            if (key in (found.get("data") or {})) is present:
                return
            await asyncio.sleep(0.01)
