"""All stand-ins of the embedded cluster, driven by the changes of its objects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.registry import Registry
from aliquot.embedded.standins.binder import Binder
from aliquot.embedded.standins.budgets import DisruptionBudgets
from aliquot.embedded.standins.deployments import Deployments
from aliquot.embedded.standins.device_taints import DeviceTaintEviction
from aliquot.embedded.standins.event_expiry import EventExpiry
from aliquot.embedded.standins.garbage import GarbageCollector
from aliquot.embedded.standins.jobs import Jobs
from aliquot.embedded.standins.kubelet import Kubelet
from aliquot.embedded.standins.namespaces import Namespaces, ServiceAccounts
from aliquot.embedded.standins.nodes import PodsOfLostNodes, TaintEviction
from aliquot.embedded.standins.replicasets import ReplicaSets
from aliquot.embedded.standins.resource_claims import ResourceClaims
from aliquot.embedded.standins.standin import Cluster, StandIn
from aliquot.embedded.standins.statefulsets import StatefulSets
from aliquot.embedded.standins.view import Key, View

#: Keys worked off in one transaction before other tasks of the process get their turn.
BATCH = 64
#: Batches that owners of many pods may have to wait while their pods keep changing.
PATIENCE = 8
#: Longest sleep of :meth:`StandIns.run`; a clock that jumps is noticed after at most this many seconds.
LONGEST_WAIT = 5.0


class StandIns:
    """The stand-ins for a control plane on one registry.

    Their state follows from the objects alone: a new StandIns on the same objects goes on where another
    stopped. ``clock`` is the registry's unless given. ``start_seconds``: how long a bound pod takes to run.
    ``quarantine_seconds``: how long pods outlive their node. ``namespace_seconds``: how long content outlives
    the deletion of its namespace.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Callable[[], datetime] | None = None,
        *,
        start_seconds: float = 0.0,
        quarantine_seconds: float = 40.0,
        namespace_seconds: float = 5.0,
    ) -> None:
        view = View(registry)
        cluster = Cluster(registry, view, clock or registry.clock)
        self._registry = registry
        self._view = view
        self._cluster = cluster
        self._changed = asyncio.Event()
        self._parts: tuple[StandIn, ...] = (
            Namespaces(cluster, namespace_seconds),
            ServiceAccounts(cluster),
            GarbageCollector(cluster),
            Jobs(cluster),
            Deployments(cluster),
            ReplicaSets(cluster),
            StatefulSets(cluster),
            ResourceClaims(cluster),
            Binder(cluster),
            Kubelet(cluster, start_seconds),
            PodsOfLostNodes(cluster, quarantine_seconds),
            TaintEviction(cluster),
            DeviceTaintEviction(cluster),
            DisruptionBudgets(cluster),
            EventExpiry(cluster),
        )
        self._prompt = tuple(part for part in self._parts if not part.patient)
        self._patient = tuple(part for part in self._parts if part.patient)
        self._batches = 0
        view.on_any(self._wake)

    def _wake(self, key: Key, before: Object | None, after: Object | None) -> None:
        self._changed.set()

    def settle(self, most: int = 1_000_000) -> int:
        """Work until nothing is due at the present time; returns how many keys were looked at.

        Raises RuntimeError after ``most`` of them: then two parts undo each other's work.
        """
        count = 0
        while (done := self._batch()) > 0:
            count += done
            if count > most:
                raise RuntimeError(f"no rest after {most} steps")
        return count

    def next_time(self) -> float | None:
        """When something becomes due by the clock, in seconds since the epoch."""
        times = [time for part in self._parts if (time := part.queue.next_time()) is not None]
        return min(times) if times else None

    def _batch(self, *, tolerant: bool = False) -> int:
        """One transaction's worth of keys; returns how many.

        Looking at an owner costs as much as it has pods, so owners wait until their pods have come to rest,
        but no longer than PATIENCE batches.
        """
        self._view.fill()
        with self._registry.bulk():
            count = _round(self._prompt, tolerant=tolerant)
            self._batches += 1
            if count < BATCH or self._batches >= PATIENCE:
                self._batches = 0
                count += _round(self._patient, tolerant=tolerant)
        return count

    async def run(self) -> None:
        """Work for ever, in batches; ends when the task is cancelled."""
        while True:
            self._changed.clear()
            if self._batch(tolerant=True):
                await asyncio.sleep(0)
                continue
            next_time = self.next_time()
            wait = LONGEST_WAIT
            if next_time is not None:
                wait = min(max(next_time - self._cluster.seconds(), 0.0), LONGEST_WAIT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)


def _round(parts: Iterable[StandIn], *, tolerant: bool) -> int:
    """Work on the parts in turn until nothing is due or a batch is full."""
    parts = tuple(parts)
    count = 0
    progress = True
    while progress and count < BATCH:
        progress = False
        for part in parts:
            if part.work(tolerant=tolerant):
                progress = True
                count += 1
    return count
