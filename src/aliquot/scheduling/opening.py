"""Opening a decision: the state of the cluster from a snapshot, the gangs that wait, the fair shares."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from aliquot.fractions.groups import reserves
from aliquot.fractions.requests import GpuRequest
from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, total
from aliquot.queues.past_use import past_use
from aliquot.queues.runtimes import MinRuntimes
from aliquot.queues.shares import fair_shares
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.accounts import Holding, plugin_charges, running_usage
from aliquot.scheduling.affinity import is_ready
from aliquot.scheduling.claims import live_consumers
from aliquot.scheduling.closeness import Closeness
from aliquot.scheduling.crews import Crews
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Status
from aliquot.scheduling.holdings import WHOLE_DEVICES
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import NodeTable
from aliquot.scheduling.parts import PartsInUse
from aliquot.scheduling.pending import Board
from aliquot.scheduling.placing import Placer
from aliquot.scheduling.policy import Policy, fairness
from aliquot.scheduling.requests import CPU, MEMORY
from aliquot.scheduling.served import given_up
from aliquot.scheduling.session import Session
from aliquot.scheduling.settling import Settling
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.topologies import Topologies


def open_session(
    index: SnapshotIndex,
    tree: QueueTree,
    board: Board,
    memory: Memory,
    policy: Policy,
    now: datetime,
    gone: Collection[Key],
    check: Callable[[Crew], Verdict | None],
    idle: Callable[[list[Pod]], list[ResourceClaim]],
) -> tuple[Session, list[Holding]]:
    """A session in the snapshot's state, and who holds what of which queue. gone: waiting pods that are being
    replaced."""
    snapshot = index.snapshot
    fleet = memory.fleet(snapshot, policy)
    table = NodeTable(snapshot.nodes)
    devices = memory.devices(fleet, snapshot, policy, table.nodes)
    parts = PartsInUse.of(table, policy)
    neighbours = PodNeighbours(index.namespaces, index.nodes, _occupy(board, memory, table, parts))
    gpus = plugin_charges(memory, index.nodes, policy)
    gangs = memory.gangs(index, tree, policy)

    def terms(pod: Pod) -> tuple[str, bool]:
        gang = gangs.gang_of_pod(pod)
        return gang.queue, gang.preemptible

    queues, holdings = running_usage(
        index, tree, devices, board.placed, terms, memory.traits, gpus, memory.charges(fleet)
    )
    users = {key: len(pods) for key, pods in live_consumers(snapshot.pods).items()}
    if not policy.fair_shares:
        queues.waive()
    state = ClusterState(index, table, neighbours, devices, queues, parts, users)
    _let_leave(board, memory, state)
    charges: dict[Key, Charge] = {}
    for holding in holdings:
        before = charges.get(holding.pod.key)
        charges[holding.pod.key] = holding.charge if before is None else total((before, holding.charge))
    crews = Crews(index, board, memory, table, gangs, charges, parts.groups, gone)
    topologies = Topologies(
        memory.topologies(snapshot, fleet, policy.strict_topology),
        snapshot.nodes,
        fleet,
        honoured=policy.topology,
        strict=policy.strict_topology,
    )
    placer = Placer(state, memory.static_fits(snapshot.nodes), policy, topologies)
    closeness = Closeness(topologies, state, policy.topology)
    gang_placer = GangPlacer(placer, closeness, policy)
    for crew in crews.waiting.values():
        if crew.gang.queue:
            waiting = [member for member in crew.members if member.status is Status.WAITING]
            queues.wait(crew.gang.queue, gang_placer.wanted(waiting))
    rules = fairness(policy)
    shares = fair_shares(tree, capacity(state), queues, rules, past_use(tree.queues.values()))
    runtimes = MinRuntimes(tree, rules)
    settling = _settling(index, board, state, policy, now)
    session = Session(policy, now, tree, state, shares, runtimes, crews, gang_placer, check, idle, settling)
    return session, holdings


def _settling(
    index: SnapshotIndex, board: Board, state: ClusterState, policy: Policy, now: datetime
) -> Settling:
    """What is left to the scheduler, or has to be seen by it, before the other of the two decides."""
    found = Settling(state.devices.fleet, state.take_devices, index.nodes, now, policy.settle_seconds)
    patience = policy.bind_patience_seconds
    in_flight = [node for pod, node in board.in_flight.values() if not given_up(pod, now, patience)]
    found.recall(index.snapshot.resource_claims, in_flight)
    return found


def capacity(state: ClusterState) -> dict[str, Amount]:
    """What there is to share: accelerators, CPU and memory of the nodes that are in working order."""
    found: dict[str, Amount] = {GPU: 0, CPU: 0, MEMORY: 0}
    for number, node in enumerate(state.table.nodes):
        if not is_ready(node):
            continue
        whole = state.table.whole[number]
        found[GPU] += state.capacity(number)
        found[CPU] += whole.get(CPU, 0) * (UNIT // 1000)
        found[MEMORY] += whole.get(MEMORY, 0) * UNIT
    return found


def _occupy(board: Board, memory: Memory, table: NodeTable, parts: PartsInUse) -> Iterator[tuple[Pod, str]]:
    """Count the pods that have their node; gives them with their nodes."""
    for pod, node, demand in board.placed:
        if demand is None:
            demand = memory.traits(pod).demand
        if reserves(pod) is not None:
            # The devices that such a pod keeps are counted for the pods that share them.
            demand = demand.without(WHOLE_DEVICES.match)
        table.occupy(node, demand)
        number = table.numbers.get(node)
        request = memory.traits(pod).gpus
        if number is not None and isinstance(request, GpuRequest):
            parts.occupy(number, pod, request)
        yield pod, node


def _let_leave(board: Board, memory: Memory, state: ClusterState) -> None:
    """Count what is being deleted as free later, claims too that nobody else uses."""
    for pod, node, demand in board.placed:
        number = state.table.numbers.get(node)
        if pod.metadata.deletion_timestamp is None or number is None:
            continue
        state.let_leave(number, pod, demand or memory.traits(pod).demand)
