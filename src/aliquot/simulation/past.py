"""What queues have used over time, written to their status as the controller does, for it enters fair shares.

Accelerators only: what queues used of CPU and memory is not kept in a simulation.
"""

from datetime import datetime

from msgspec.structs import replace

from aliquot.model.queue import ResourceUsage
from aliquot.queues.amounts import GPU, Amount
from aliquot.queues.past_use import UseRules, advance
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.policy import Policy
from aliquot.simulation.cluster import Cluster
from aliquot.simulation.meter import Account


def note_use(
    cluster: Cluster,
    tree: QueueTree,
    accounts: dict[str, Account],
    capacity: Amount,
    policy: Policy,
    now: datetime,
) -> None:
    """Carry on the past use of every queue to now, by what it holds now."""
    held: dict[str, int] = dict.fromkeys(tree.names, 0)
    for name, account in accounts.items():
        for step in tree.path(name):
            held[step] += account.allocated
    rules = UseRules(half_life=policy.usage_half_life_seconds)
    for queue in cluster.queues.sorted():
        others = tuple(item for item in queue.status.usage if item.name != GPU)
        known = next((item for item in queue.status.usage if item.name == GPU), ResourceUsage(name=GPU))
        record = advance(known, held.get(queue.name, 0), capacity, now, rules)
        if record != known:
            usage = tuple(sorted((*others, record), key=lambda item: item.name))
            cluster.queues.put(replace(queue, status=replace(queue.status, usage=usage)))
