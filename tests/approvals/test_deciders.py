"""Who decides about models: with exactly the verbs that the policy asks for, and no others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.approvals.test_custom_resource import model
from tests.cli.world import Result, aliquot
from tests.install.access import Asked, Recorded, allowed, recording

from aliquot import manifests
from aliquot.cel.libraries.authorization import AuthorizationQuery, Decision
from aliquot.embedded import server as embedded_server
from aliquot.embedded.admission import Admission, expressions
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.server import EmbeddedServer

Capsys = pytest.CaptureFixture[str]


@contextlib.asynccontextmanager
async def decider(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *verbs: str
) -> AsyncIterator[tuple[EmbeddedServer, Recorded]]:
    """A server with a proposed model, whose controller's token may do this with models, and nothing else."""
    rule = {"apiGroups": ["aliquot.dev"], "resources": ["approvedmodels"], "verbs": list(verbs)}
    recorded = Recorded([{"metadata": {"name": "decider"}, "rules": [rule]}])
    monkeypatch.setattr(embedded_server, "Application", recording(recorded))

    def decide(query: AuthorizationQuery) -> Decision:
        asked = Asked(query.verb, query.group, query.resource, query.namespace, query.name)
        return Decision(allowed(recorded.roles, asked), "by role")

    server = EmbeddedServer(folder / "cluster")
    registry = server.registry
    registry.admission = Admission(registry)
    for document in [*manifests.load(), model()]:
        resource = registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None
        registry.create(resource, document["metadata"].get("namespace"), document, SYSTEM)
    monkeypatch.setattr(expressions, "_everything", decide)
    await server.start()
    try:
        yield server, recorded
    finally:
        await server.stop()


async def models(capsys: Capsys, server: EmbeddedServer, *arguments: str) -> Result:
    kubeconfig = str(server.controller_kubeconfig)
    return await asyncio.to_thread(aliquot, capsys, "models", *arguments, "--kubeconfig", kubeconfig)


def state(server: EmbeddedServer) -> Any:
    resource = server.registry.resources.named("approvedmodels", "aliquot.dev")
    return server.registry.get(resource, None, "llama-1")["spec"]["state"]


async def test_the_verbs_that_the_documents_name_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    async with decider(tmp_path, monkeypatch, "get", "list", "patch", "approve", "revoke") as (server, seen):
        approved = await models(capsys, server, "approve", "llama-1", "--reason", "evaluated")
        assert (approved.code, state(server)) == (0, "Approved")
        assert "is the controller's to write" in approved.err
        revoked = await models(capsys, server, "revoke", "llama-1", "--reason", "licence", "--yes")
        assert (revoked.code, state(server)) == (0, "Revoked")
        assert "pods may not be listed" in revoked.err

    used = {one.verb for one in seen.asked - seen.refused}
    assert used == {"get", "list", "patch"}


@pytest.mark.parametrize("verbs", [("approve",), ("revoke",), ()])
async def test_each_decision_needs_its_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys, verbs: tuple[str, ...]
) -> None:
    async with decider(tmp_path, monkeypatch, "get", "list", "patch", *verbs) as (server, _):
        approved = await models(capsys, server, "approve", "llama-1", "--reason", "evaluated")
        assert approved.code == (0 if "approve" in verbs else 2)
        revoked = await models(capsys, server, "revoke", "llama-1", "--reason", "licence", "--yes")
        assert revoked.code == (0 if "revoke" in verbs else 2)

    refused = approved if "approve" not in verbs else revoked
    assert "on approvedmodels.aliquot.dev is needed for the state" in refused.err
