"""The status of Queues: what is used, and whether the queue has a way up to the top."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from aliquot.cel.quantity import Quantity
from aliquot.controller.live import Live
from aliquot.controller.writing import Writer
from aliquot.dra.fleet import Fleet
from aliquot.inventory.owners import Owners
from aliquot.inventory.queues import queue_usage
from aliquot.kube.clock import Clock
from aliquot.kube.reflector import Failure
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import Condition
from aliquot.model.queue import Queue
from aliquot.model.snapshot import Snapshot
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import Amount, QueueProblem, QueueTree
from aliquot.scheduling.policy import Policy

_log = logging.getLogger(__name__)

READY = "Ready"
EVERY_SECONDS = 5.0

_PROBLEMS = {"missing": "NotFound", "parentMissing": "ParentNotFound", "cycle": "Cycle"}


class QueueStatuses:
    """Keeps the status of every Queue up to date, with a delay of EVERY_SECONDS at most."""

    def __init__(self, writer: Writer, policy: Policy, live: Live, clock: Clock) -> None:
        self._writer = writer
        self._policy = policy
        self._live = live
        self._clock = clock
        self._written: dict[str, dict[str, Any]] = {}
        self._fleet: Fleet | None = None

    async def run(self) -> None:
        """Until cancelled. Raises NotLeadingError when leadership is lost on the way."""
        async for _ in self._live.subscribe():
            snapshot = self._live.snapshot
            if snapshot.queues:
                await self.write(snapshot)
                await self._clock.sleep(EVERY_SECONDS)

    async def write(self, snapshot: Snapshot) -> None:
        """Write the statuses that differ from what was written last."""
        tree, usage = await asyncio.to_thread(self._usage, snapshot)
        known = {queue.metadata.uid for queue in snapshot.queues}
        self._written = {uid: status for uid, status in self._written.items() if uid in known}
        for queue in snapshot.queues:
            status = self._status(queue, tree, usage)
            if self._written.get(queue.metadata.uid) != status:
                await self._write_one(queue, status)

    def _usage(self, snapshot: Snapshot) -> tuple[QueueTree, Ledger]:
        self._fleet = Fleet.of(
            snapshot.resource_slices,
            snapshot.device_classes,
            snapshot.device_taint_rules,
            previous=self._fleet,
        )
        index = SnapshotIndex.of(snapshot)
        tree = QueueTree.of(snapshot.queues)
        owners = Owners.of(index, tree, self._policy.default_queue)
        usage, _ = queue_usage(snapshot, index, tree, owners, self._fleet)
        return tree, usage

    def _status(self, queue: Queue, tree: QueueTree, usage: Ledger) -> dict[str, Any]:
        used = usage.of(queue.name)
        names = dict.fromkeys([term.name for term in queue.spec.resources] + sorted(used))
        reason, message = _readiness(tree.problem(queue.name))
        status = "False" if tree.problem(queue.name) else "True"
        condition = {
            "type": READY,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": queue.metadata.generation,
            "lastTransitionTime": self._since(queue, status),
        }
        return {
            "observedGeneration": queue.metadata.generation,
            "used": [{"name": name, "quantity": _quantity(used.get(name, 0))} for name in names][:64],
            "conditions": [condition],
        }

    def _since(self, queue: Queue, status: str) -> str:
        for condition in _ready(queue):
            if condition.status == status and condition.last_transition_time is not None:
                return _second(condition.last_transition_time)
        written = self._written.get(queue.metadata.uid)
        if written is not None and written["conditions"][0]["status"] == status:
            return str(written["conditions"][0]["lastTransitionTime"])
        return _second(self._clock.now())

    async def _write_one(self, queue: Queue, status: dict[str, Any]) -> None:
        resource = self._writer.mirror.resource(Queue)
        if resource is None:
            return
        patch = {"metadata": {"uid": queue.metadata.uid}, "status": status}
        client = self._writer.client
        try:
            body = await self._writer.once(
                lambda: client.patch(resource, queue.name, patch, subresource="status")
            )
            self._writer.keep(Queue, body)
            self._written[queue.metadata.uid] = status
        except Failure as error:
            _log.debug("status of queue %s: %s", queue.name, error)


def _ready(queue: Queue) -> Iterator[Condition]:
    return (condition for condition in queue.status.conditions if condition.type == READY)


def _readiness(problem: QueueProblem | None) -> tuple[str, str]:
    if problem is None:
        return "Ready", "workloads can be placed"
    if problem.kind == "cycle":
        return _PROBLEMS[problem.kind], f"its chain of parents leads in a circle through {problem.subject}"
    return _PROBLEMS.get(problem.kind, "Invalid"), f"there is no queue {problem.subject}"


def _quantity(amount: Amount) -> str:
    """The amount as a Kubernetes quantity. A part that no decimal number can express is rounded up: 1/7 of a
    device in billionths is 142857143 n."""
    return str(Quantity(-(-amount // 1)))


def _second(moment: Any) -> str:
    return str(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
