"""`decide` with a memory of its own, and what else is known by the same account of the cluster."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import Amount
from aliquot.scheduling.decide import decide, opened
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy

ByResource = Mapping[str, Amount]


@dataclass(frozen=True, slots=True)
class Accounts:
    """What queues hold (used) and are entitled to (shares), by queue and resource, and what there is in all
    (capacity), all in billionths."""

    used: Mapping[str, ByResource]
    shares: Mapping[str, ByResource]
    capacity: ByResource


class Deciding:
    """Decisions about one cluster. Calls may come from several threads, one at a time."""

    def __init__(self) -> None:
        self._memory = Memory()
        self._lock = threading.Lock()

    def decide(self, snapshot: Snapshot, policy: Policy, now: datetime) -> Plan:
        with self._lock:
            return decide(snapshot, policy, now, memory=self._memory)

    def accounts(self, snapshot: Snapshot, policy: Policy, now: datetime) -> Accounts:
        """The accounts of all queues that have a way up to the top."""
        with self._lock:
            session = opened(snapshot, policy, now, self._memory)
            names = session.tree.names
            return Accounts(
                used={name: session.state.queues.of(name) for name in names},
                shares={
                    name: {
                        resource: session.shares.share(name, resource)
                        for resource in session.shares.resources
                    }
                    for name in names
                },
                capacity=dict(session.shares.total),
            )
