"""The registry of models, kept in force: what the admission policies read, and what models' status says.

Whoever changes an ApprovedModel, by whatever tool, changes what may run within SECONDS: the ConfigMap that
the admission policies read (`approvals.roster`) is brought up to date, and nothing is written where nothing
changed. The status tells what serves each model, for whoever revokes one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aliquot.approvals.documents import KIND, PLURAL, ServingWorkload, parse_all
from aliquot.approvals.model import ApprovedModel, State
from aliquot.approvals.references import workloads_of
from aliquot.approvals.roster import NAME, changed, roster
from aliquot.kube.client import Client
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import CONFIG_MAPS, PODS, Resource
from aliquot.manifests import NAMESPACE

_log = logging.getLogger(__name__)

SECONDS = 2.0
"""How often models are looked at."""
STATUS_EVERY = 15
"""Every how many looks pods are looked at, too."""
MAX_WORKLOADS = 100

MODELS = Resource("aliquot.dev", "v1alpha1", PLURAL, KIND, False)

Json = dict[str, Any]


class RegistryKeeper:
    """Keeps the roster and the status of models. now: aware, UTC."""

    def __init__(self, client: Client, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now
        self._looks = 0

    async def run(self, seconds: float = SECONDS) -> None:
        """Look again and again, until cancelled; trouble is logged and does not end it."""
        while True:
            try:
                await self.look()
            except (ApiError, TransportError, msgspec.DecodeError) as error:
                _log.warning("models: %s", error)
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Bring everything up to date once. Raises ApiError and TransportError."""
        try:
            documents = await self._list(MODELS)
        except ApiError as error:
            if error.not_found:
                # The custom resource is not installed: nobody has models.
                return
            raise
        models, problems = parse_all(documents)
        for problem in problems:
            _log.warning("%s", problem)
        await self._publish(models)
        if self._looks % STATUS_EVERY == 0:
            await self._tell(models, {document["metadata"]["name"]: document for document in documents})
        self._looks += 1

    async def _publish(self, models: Sequence[ApprovedModel]) -> None:
        stored = msgspec.json.decode(await self._client.get(CONFIG_MAPS, NAME, NAMESPACE))
        patch = changed(stored.get("data") or {}, roster(models))
        if patch:
            _log.info("models that may run changed: %s", ", ".join(sorted(patch)))
            await self._client.patch(CONFIG_MAPS, NAME, {"data": dict(patch)}, NAMESPACE)

    async def _tell(self, models: Sequence[ApprovedModel], documents: Mapping[str, Json]) -> None:
        pods = await self._list(PODS) if models else []
        for model in models:
            document = documents[model.name]
            before = document.get("status") or {}
            generation = document["metadata"].get("generation", 0)
            wanted = status_of(model, workloads_of(model, pods), before, generation, self._now())
            if wanted != before:
                await self._client.patch(MODELS, model.name, {"status": wanted}, subresource="status")

    async def _list(self, resource: Resource) -> list[Json]:
        found: list[Json] = []
        async for page in self._client.pages(resource):
            for item in msgspec.json.decode(page).get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                found.append(item)
        return found


def status_of(
    model: ApprovedModel,
    workloads: Sequence[ServingWorkload],
    before: Mapping[str, Any],
    generation: int,
    now: datetime,
) -> Json:
    """The status of an ApprovedModel; a condition keeps its time as long as its status stays."""
    running = sum(one.pods for one in workloads)
    revoked = model.state is State.REVOKED
    if model.usable:
        ready = ("True", model.state.value, "the model may run and be called")
    else:
        ready = ("False", model.state.value, "the model may neither run nor be called")
    still = ("True", "PodsServe", f"{running} pods serve the revoked model")
    if not (revoked and running):
        still = ("False", "NoneServes" if revoked else "NotRevoked", "")
    conditions = []
    known = {one.get("type"): one for one in before.get("conditions") or ()}
    for kind, (status, reason, message) in (("Ready", ready), ("StillRunning", still)):
        old = known.get(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        conditions.append(
            {
                "type": kind,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "reason": reason,
                "message": message,
            }
        )
    return {
        "observedGeneration": generation,
        "running": running,
        "workloads": [
            {"kind": one.kind, "namespace": one.namespace, "name": one.name, "pods": one.pods}
            for one in workloads[:MAX_WORKLOADS]
        ],
        "conditions": conditions,
    }
