"""The status of Queues: what they use and have used, their fair share, whether they have a way to the top."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aliquot.cel.quantity import Quantity
from aliquot.controller.deciding import Accounts, Deciding
from aliquot.controller.live import Live
from aliquot.controller.writing import Writer
from aliquot.kube.clock import Clock
from aliquot.kube.reflector import Failure
from aliquot.model.kinds import plain
from aliquot.model.meta import Condition
from aliquot.model.queue import Queue, ResourceUsage
from aliquot.model.snapshot import Snapshot
from aliquot.queues.past_use import UseRules, advance, part_used
from aliquot.queues.tree import Amount, QueueProblem, QueueTree
from aliquot.scheduling.policy import Policy

_log = logging.getLogger(__name__)

READY = "Ready"
EVERY_SECONDS = 5.0

USAGE_SECONDS = 60.0
"""What was used over time is written this often at most ..."""

USAGE_GRAIN = 1_000_000
"""... and only when it differs by this many billionths of all there was to use: a reader carries on an old
value by itself as long as the queue holds the same."""

MOST_RESOURCES = 64
"""What the schema of Queue admits."""

_PROBLEMS = {"missing": "NotFound", "parentMissing": "ParentNotFound", "cycle": "Cycle"}


@dataclass(slots=True)
class _Past:
    """What a queue has used so far, by resource, and what it has held since."""

    records: dict[str, ResourceUsage]
    held: Mapping[str, Amount] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    written_at: float = float("-inf")


class QueueStatuses:
    """Keeps the status of every Queue up to date, with a delay of EVERY_SECONDS at most."""

    def __init__(self, writer: Writer, policy: Policy, live: Live, clock: Clock, deciding: Deciding) -> None:
        self._writer = writer
        self._policy = policy
        self._live = live
        self._clock = clock
        self._deciding = deciding
        self._rules = UseRules(half_life=policy.usage_half_life_seconds)
        self._written: dict[str, dict[str, Any]] = {}
        self._past: dict[str, _Past] = {}
        self._capacity: Mapping[str, Amount] = {}

    async def run(self) -> None:
        """Until cancelled. Raises NotLeadingError when leadership is lost on the way."""
        # Another leader may have carried on what this one knew.
        self._past.clear()
        self._written.clear()
        async for _ in self._live.subscribe():
            snapshot = self._live.snapshot
            if snapshot.queues:
                await self.write(snapshot)
                await self._clock.sleep(EVERY_SECONDS)

    async def write(self, snapshot: Snapshot) -> None:
        """Write the statuses that differ from what was written last."""
        now = self._clock.now()
        accounts = await asyncio.to_thread(self._deciding.accounts, snapshot, self._policy, now)
        tree = QueueTree.of(snapshot.queues)
        known = {queue.metadata.uid for queue in snapshot.queues}
        self._written = {uid: status for uid, status in self._written.items() if uid in known}
        self._past = {uid: past for uid, past in self._past.items() if uid in known}
        for queue in snapshot.queues:
            past = self._carry_on(queue, accounts, now)
            status = self._status(queue, tree, accounts)
            due = self._usage_is_due(past)
            if due or self._written.get(queue.metadata.uid) != status:
                await self._write_one(queue, status, past if due else None)
        self._capacity = accounts.capacity

    def _carry_on(self, queue: Queue, accounts: Accounts, now: datetime) -> _Past:
        """What the queue has used up to now: by what it held, and what there was, until now."""
        past = self._past.get(queue.metadata.uid)
        held = accounts.used.get(queue.name, {})
        if past is None:
            records = {record.name: record for record in queue.status.usage}
            past = self._past[queue.metadata.uid] = _Past(records, held)
            past.written = {name: part_used(record) for name, record in records.items()}
        for name, capacity in accounts.capacity.items():
            record = past.records.get(name, ResourceUsage(name=name))
            whole = self._capacity.get(name, capacity)
            past.records[name] = advance(record, past.held.get(name, 0), whole, now, self._rules)
        past.held = held
        return past

    def _usage_is_due(self, past: _Past) -> bool:
        if self._clock.monotonic() - past.written_at < USAGE_SECONDS:
            return False
        return any(
            abs(part_used(record) - past.written.get(name, 0)) >= USAGE_GRAIN
            for name, record in past.records.items()
        )

    def _status(self, queue: Queue, tree: QueueTree, accounts: Accounts) -> dict[str, Any]:
        used = accounts.used.get(queue.name, {})
        shares = accounts.shares.get(queue.name, {})
        names = dict.fromkeys([term.name for term in queue.spec.resources] + sorted(used))
        problem = tree.problem(queue.name)
        reason, message = _readiness(problem)
        status = "False" if problem else "True"
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
            "used": _amounts({name: used.get(name, 0) for name in names}),
            "fairShares": _amounts(shares),
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

    async def _write_one(self, queue: Queue, status: dict[str, Any], past: _Past | None) -> None:
        """past: what to write of use over time, None to leave that as it is: it enters the fair shares, so
        that writing it whenever those change would never end."""
        resource = self._writer.mirror.resource(Queue)
        if resource is None:
            return
        usage = (
            {} if past is None else {"usage": [plain(past.records[name]) for name in sorted(past.records)]}
        )
        meta = queue.metadata
        guard = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": guard, "status": {**status, **usage}}
        client = self._writer.client
        try:
            body = await self._writer.once(
                lambda: client.patch(resource, queue.name, patch, subresource="status")
            )
            self._writer.keep(Queue, body)
        except Failure as error:
            _log.debug("status of queue %s: %s", queue.name, error)
            return
        self._written[queue.metadata.uid] = status
        if past is not None:
            past.written = {name: part_used(record) for name, record in past.records.items()}
            past.written_at = self._clock.monotonic()


def _ready(queue: Queue) -> Iterator[Condition]:
    return (condition for condition in queue.status.conditions if condition.type == READY)


def _readiness(problem: QueueProblem | None) -> tuple[str, str]:
    if problem is None:
        return "Ready", "workloads can be placed"
    if problem.kind == "cycle":
        return _PROBLEMS[problem.kind], f"its chain of parents leads in a circle through {problem.subject}"
    return _PROBLEMS.get(problem.kind, "Invalid"), f"there is no queue {problem.subject}"


def _amounts(amounts: Mapping[str, Amount]) -> list[dict[str, str]]:
    return [{"name": name, "quantity": _quantity(amount)} for name, amount in amounts.items()][
        :MOST_RESOURCES
    ]


def _quantity(amount: Amount) -> str:
    """The amount as a Kubernetes quantity. A part that no decimal number can express is rounded up: 1/7 of a
    device in billionths is 142857143 n."""
    return str(Quantity(-(-amount // 1)))


def _second(moment: Any) -> str:
    return str(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
