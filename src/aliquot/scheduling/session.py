"""What the steps of one decision share: the state, who places, the gangs, and what has been found so far."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter

from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.amounts import Charge
from aliquot.queues.criteria import Standing
from aliquot.queues.order import WorkOrder
from aliquot.queues.runtimes import MinRuntimes
from aliquot.queues.shares import FairShares
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.crews import Crews
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.plan import Staleness
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.settling import Settling
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.wants import next_want
from aliquot.workloads.subgroups import satisfied


@dataclass(frozen=True, slots=True)
class Removal:
    """A pod that is made to leave, why, and for whom (None: for its own gang's sake)."""

    member: Member
    verdict: Verdict
    for_whom: Crew | None


@dataclass(slots=True)
class Findings:
    """What has been decided. handled: gangs in the order in which they were first looked at. verdicts: why
    what waits of a gang does so. settling: ids of members that have their place but may not be let go yet.
    put_off: by step, ids of gangs that others are asked to leave for by the next decision at the soonest."""

    handled: dict[int, Crew] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    removals: list[Removal] = field(default_factory=list)
    settling: set[int] = field(default_factory=set)
    staleness: list[Staleness] = field(default_factory=list)
    put_off: dict[Step, set[int]] = field(default_factory=dict)

    def waits(self, crew: Crew, verdict: Verdict) -> None:
        self.handled.setdefault(id(crew), crew)
        self.verdicts[id(crew)] = verdict

    def served(self, crew: Crew) -> None:
        self.handled.setdefault(id(crew), crew)


@dataclass(slots=True)
class Session:
    """One decision under way."""

    policy: Policy
    now: datetime
    tree: QueueTree
    state: ClusterState
    shares: FairShares
    runtimes: MinRuntimes
    crews: Crews
    placer: GangPlacer
    check: Callable[[Crew], Verdict | None]
    """What keeps a gang from being tried at all."""
    idle: Callable[[Collection[Pod]], list[ResourceClaim]]
    """Allocated claims that nobody but these pods could use."""
    settling: Settling
    findings: Findings = field(default_factory=Findings)
    _standing: dict[bool, Standing] = field(default_factory=dict)

    def sort_key(self, crew: Crew, fullness: int | None = None) -> tuple[object, ...]:
        """The place of a gang in its queue: the smallest goes first. fullness: to be taken for its own."""
        if fullness is None and crew.turn is not None and not crew.touched:
            return crew.turn
        policy, gang = self.policy, crew.gang
        found = (
            -gang.priority if policy.by_priority else 0,
            (crew.fullness if fullness is None else fullness) if policy.by_elasticity else 0,
            gang.created,
            gang.key,
        )
        if fullness is None and not crew.touched:
            crew.turn = found
        return found

    def in_turn(
        self, crews: Iterable[Crew], hopeful: Callable[[Crew], bool] | None = None
    ) -> WorkOrder[Crew]:
        """Gangs in the order in which they have their turn. hopeful: whether a gang needs one, asked as the
        one before it in its queue has its own; all do if None."""
        standing = self.standing(reverse=False)
        order: WorkOrder[Crew] = WorkOrder(self.shares, self.state.queues, standing=standing)
        if hopeful is None:
            for crew in crews:
                self.push(order, crew)
            return order
        lines: dict[str, list[tuple[tuple[object, ...], Crew]]] = {}
        for crew in crews:
            lines.setdefault(crew.gang.queue, []).append((self.sort_key(crew), crew))
        for queue, line in lines.items():
            line.sort(key=itemgetter(0))
            if not order.feed(queue, self._entries(line, hopeful)):
                for _, crew in line:
                    self._no_leaf(crew)
        return order

    def _entries(
        self, line: Iterable[tuple[tuple[object, ...], Crew]], hopeful: Callable[[Crew], bool]
    ) -> Iterator[tuple[tuple[object, ...], Crew, Charge]]:
        for key, crew in line:
            if hopeful(crew):
                yield key, crew, self.next_charge(crew)

    def standing(self, *, reverse: bool) -> Standing:
        """The sort keys of queues, one for all orders of this decision; reverse: those of victims."""
        found = self._standing.get(reverse)
        if found is None:
            found = self._standing[reverse] = Standing(self.shares, self.state.queues, reverse=reverse)
        return found

    def push(self, order: WorkOrder[Crew], crew: Crew) -> None:
        """Give a gang a turn for what it wants next, unless work cannot be in its queue."""
        if not order.push(crew.gang.queue, crew, self.next_charge(crew), self.sort_key(crew)):
            self._no_leaf(crew)

    def _no_leaf(self, crew: Crew) -> None:
        queue = crew.gang.queue
        fact = Fact(test="queueNotLeaf", subject=queue)
        fix = Fix(change="nameLeafQueue", subject=queue)
        self.findings.waits(crew, Verdict(reason=Reason.UNKNOWN_QUEUE, facts=(fact,), fix=fix))

    def next_charge(self, crew: Crew, *, evicted: bool = False) -> Charge:
        """What the gang wants next counts for."""
        if not evicted:
            return next_want(crew, self.placer).charge
        members = next_members(crew, self.placer.rank, self.policy.by_fill, evicted=True)
        return self.placer.wanted(members)

    def waiting(self) -> list[Crew]:
        """The gangs that could be tried, and wait."""
        return [crew for crew in self.crews.waiting.values() if self.could_be_tried(crew)]

    def could_be_tried(self, crew: Crew) -> bool:
        return bool(crew.waiting and crew.gang.queue) and self.check(crew) is None and self.ready(crew)

    @staticmethod
    def ready(crew: Crew) -> bool:
        """Every leaf that the gang cannot do without has as many members as it needs, those counted that
        could be placed."""
        if crew.lines is not None:
            return satisfied(crew.gang.root, lambda name: crew.leaves[name].ready)
        for leaf in crew.leaves.values():  # noqa: SIM110 - asked of every gang that waits
            if leaf.ready < leaf.minimum:
                return False
        return True
