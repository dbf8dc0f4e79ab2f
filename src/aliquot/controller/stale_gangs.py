"""Noting on pods since when their gang runs with fewer members than it needs, so that every later decision,
also after a restart, knows how long that has been."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from aliquot.controller.writing import Writer
from aliquot.kube.marks import marking
from aliquot.kube.reflector import Failure
from aliquot.kube.resources import PODS
from aliquot.model.core import Pod
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.plan import Staleness
from aliquot.workloads.labels import STALE_SINCE

_log = logging.getLogger(__name__)


class StaleGangs:
    """Writes the annotation `aliquot.dev/stale-since` through `writer`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def note(self, found: Iterable[Staleness]) -> None:
        """Put the annotation on, or take it off. What the server refuses is found again by the next decision.

        Raises NotLeadingError.
        """
        await asyncio.gather(*(self._write(pod, item.since) for item in found for pod in item.pods))

    async def _write(self, ref: ObjectRef, since: datetime | None) -> None:
        text = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if since is not None else None
        pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
        if pod is None or pod.metadata.uid != ref.uid:
            return
        guard = {"uid": ref.uid, "resourceVersion": pod.metadata.resource_version}
        patch = {"metadata": {**guard, **marking(pod, {STALE_SINCE: text})}}
        client = self._writer.client
        try:
            body = await self._writer.once(lambda: client.patch(PODS, ref.name, patch, ref.namespace))
            self._writer.keep(Pod, body)
        except Failure as error:
            _log.debug("annotation of %s: %s", ref, error)
