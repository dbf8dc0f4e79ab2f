"""Opening a decision: the gangs that wait, the fair shares, and what is not to be touched."""

from collections.abc import Callable, Collection
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Verdict
from aliquot.queues.past_use import past_use
from aliquot.queues.runtimes import MinRuntimes
from aliquot.queues.shares import fair_shares
from aliquot.scheduling.cluster import Cluster
from aliquot.scheduling.crews import Crews
from aliquot.scheduling.gang_state import Crew, Status
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import fairness
from aliquot.scheduling.served import given_up
from aliquot.scheduling.session import Session
from aliquot.scheduling.settling import Settling


def open_session(
    cluster: Cluster,
    memory: Memory,
    now: datetime,
    gone: Collection[Key],
    check: Callable[[Crew], Verdict | None],
    idle: Callable[[Collection[Pod]], list[ResourceClaim]],
) -> Session:
    """A session in the state of a cluster. gone: waiting pods that are being replaced."""
    policy, state, tree, placer = cluster.policy, cluster.state, cluster.tree, cluster.placer
    queues = state.queues
    crews = Crews(cluster, memory, gone)
    for key, crew in crews.waiting.items():
        if crew.wanted is None:
            waiting = [member for member in crew.members if member.status is Status.WAITING]
            crew.wanted = placer.wanted(waiting)
        cluster.pending.count(key, crew.gang.queue, crew.wanted)
    # Who waits for what stays counted from decision to decision; whatever comes now is taken back.
    state.settle()
    for _, pod in sorted(cluster.leaving.items()):
        state.let_leave(pod)
    for _, claim in sorted(cluster.links.left_behind.items()):
        state.let_go_back(claim)
    rules = fairness(policy)
    past = past_use(cluster.index.snapshot.queues)
    shares = memory.shares = fair_shares(tree, cluster.capacity, queues, rules, past, memory.shares)
    runtimes = MinRuntimes(tree, rules)
    settling = _settling(cluster, now)
    return Session(policy, now, tree, state, shares, runtimes, crews, placer, check, idle, settling)


def _settling(cluster: Cluster, now: datetime) -> Settling:
    """What is left to the scheduler, or has to be seen by it, before the other of the two decides."""
    state, index, policy = cluster.state, cluster.index, cluster.policy
    claims = index.snapshot.resource_claims
    found = Settling(state.devices.fleet, state.take_devices, index.nodes, claims, now, policy.settle_seconds)
    patience = policy.bind_patience_seconds
    found.recall(
        node
        for key in cluster.in_flight
        for pod, node in cluster.shares[key].portion.in_flight
        if not given_up(pod, now, patience)
    )
    return found
