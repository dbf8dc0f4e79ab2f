"""The gangs of a snapshot with their members' state: those that run only when somebody asks for them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Charge
from aliquot.scheduling.affinity import named_node, required_nodes
from aliquot.scheduling.claims import claim_keys, owned_by, pod_claims
from aliquot.scheduling.facts import PodFacts, PodTraits, claim_shape
from aliquot.scheduling.gang_state import Crew, Hold, Member, Status
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import Demand, NodeTable
from aliquot.scheduling.pending import Board
from aliquot.workloads.gangs import Gang
from aliquot.workloads.grouping import Grouping
from aliquot.workloads.sources.source import GroupKey


@dataclass(frozen=True, slots=True)
class Standing:
    """Where pods stand: by pod, its node's number (None if it has several to choose from)."""

    nodes: Mapping[Key, int | None]

    @staticmethod
    def of(board: Board, table: NodeTable) -> "Standing":
        nodes: dict[Key, int | None] = {pod.key: table.numbers.get(node) for pod, node, _ in board.placed}
        for key in board.let_go:
            nodes.setdefault(key, None)
        return Standing(nodes)


class Crews:
    """All gangs of a snapshot."""

    def __init__(
        self,
        index: SnapshotIndex,
        board: Board,
        memory: Memory,
        table: NodeTable,
        gangs: Grouping,
        charges: Mapping[Key, Charge],
        groups: Callable[[int, Key], tuple[str, ...]],
        gone: Collection[Key] = (),
    ) -> None:
        """charges: what pods that have their place count for. groups: the shared devices that a pod has parts
        of, by node and pod. gone: pods that are being replaced by this decision."""
        self._index = index
        self._board = board
        self._memory = memory
        self._table = table
        self._standing = Standing.of(board, table)
        self._gangs = gangs
        self._charges = charges
        self._groups = groups
        self._gone = gone
        self._running: list[Crew] | None = None
        self.waiting: dict[GroupKey, Crew] = {}
        self._facts: dict[Key, PodFacts] = {
            item.pod.key: item for items in board.todo.values() for item in items
        }
        for key in board.todo:
            self.waiting[key] = self._crew(gangs.gang(key), gangs.pods(key))

    def running(self) -> Iterable[Crew]:
        """Every gang of which something runs, those that wait for more included."""
        if self._running is None:
            gangs = self._gangs
            self._running = [crew for crew in self.waiting.values() if crew.allocated]
            for key in gangs.on_nodes():
                if key not in self.waiting:
                    self._running.append(self._crew(gangs.gang(key), gangs.pods(key)))
        return self._running

    def prepare(self, member: Member) -> None:
        """Find out what has to be known of a running pod before it can be placed anew."""
        if member.facts is None:
            member.facts = facts_of_running(member.pod, self._index, self._memory)

    def _crew(self, gang: Gang, pods: Sequence[Pod]) -> Crew:
        leaving = [pod for pod in pods if pod.metadata.deletion_timestamp is not None and pod.spec.node_name]
        statuses = {pod.key: self._status(pod) for pod in (*gang.members, *leaving)}
        succeeded = any(pod.status.phase == "Succeeded" for pod in pods)
        crew = Crew(gang, leaving, statuses, succeeded)
        for member in crew.members:
            if member.status is Status.WAITING or member.status is Status.HELD:
                member.facts = self._facts.get(member.key)
            elif member.status is Status.RUNNING or member.status is Status.LEAVING:
                member.hold = self._hold(member.pod)
        return crew

    def _status(self, pod: Pod) -> Status:
        if pod.finished:
            return Status.ENDED
        if pod.metadata.deletion_timestamp is not None:
            return Status.LEAVING if pod.spec.node_name else Status.ENDED
        facts = self._facts.get(pod.key)
        if pod.key in self._gone:
            return Status.ENDED
        if facts is not None:
            return Status.HELD if facts.held_up else Status.WAITING
        return Status.RUNNING if pod.key in self._standing.nodes else Status.HELD

    def _hold(self, pod: Pod) -> Hold | None:
        number = self._standing.nodes.get(pod.key)
        if number is None:
            return None
        claims: list[tuple[ResourceClaim, AllocationResult]] = []
        for key in claim_keys(pod):
            claim = self._index.claims.get(key)
            if claim is not None and claim.status.allocation is not None:
                claims.append((claim, claim.status.allocation))
        demand: Demand = self._memory.traits(pod).demand
        return Hold(
            number,
            self._table.names[number],
            demand,
            tuple(claims),
            self._groups(number, pod.key),
            self._charges.get(pod.key, {}),
        )


def facts_of_running(pod: Pod, index: SnapshotIndex, memory: Memory) -> PodFacts:
    """What deciding needs to know to place a running pod anew: claims that nobody else uses are wanted again,
    for they lose their devices with the pod; others it keeps, and with them its node."""
    claims = pod_claims(pod, index)
    fresh = as_new(pod)
    own = tuple(claim for claim in claims.claims if _alone(claim, pod))
    held = tuple(
        (claim, claim.status.allocation)
        for claim in claims.claims
        if claim.status.allocation is not None and not _alone(claim, pod)
    )
    shape: bytes | None = b""
    if held:
        shape = None
    elif own:
        shape = b"\n".join(claim_shape(claim, memory.claim_shapes) for claim in own)
    traits = memory.traits(pod) if fresh.spec.affinity is pod.spec.affinity else PodTraits.of(fresh)
    return PodFacts(fresh, traits, claims, held, own, (), shape)


def _alone(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the pod is the only one that the claim is reserved for, or ever will be."""
    return owned_by(claim, pod) or [item.uid for item in claim.status.reserved_for] == [pod.metadata.uid]


def as_new(pod: Pod) -> Pod:
    """The pod as its owner would make it again: on no node, and not tied to one by whoever placed it."""
    spec = replace(pod.spec, node_name="")
    if named_node(required_nodes(spec.affinity)) == pod.spec.node_name:
        spec = replace(spec, affinity=None)
    return replace(pod, spec=spec)
