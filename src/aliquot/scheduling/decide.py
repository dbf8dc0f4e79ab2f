"""`decide`: one pure function from the state of a cluster to a plan.

First what is wrong is put right (pods beside their devices, claims that nobody uses). Then come the steps
that the policy names: workloads that wait are given what is free, in turn; then room is made for those that
are entitled to more than they got; gangs that lost members for good are taken down. Each workload is placed
whole or waits with a verdict.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Verdict
from aliquot.queues.tree import QueueTree
from aliquot.scheduling import binding, compiling, evicting, recording, repairs
from aliquot.scheduling.accounts import Holding
from aliquot.scheduling.blockers import too_early
from aliquot.scheduling.claim_labels import claim_of_other_queue
from aliquot.scheduling.explaining import Explainer
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.observer import Observer
from aliquot.scheduling.opening import open_session
from aliquot.scheduling.pending import Board, sort_out
from aliquot.scheduling.plan import Decision, Plan, Staleness
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.served import ExtendedResources, abandoned, held_twice
from aliquot.scheduling.session import Session
from aliquot.scheduling.staleness import evict_stale, may_be_stale
from aliquot.scheduling.starting import Starter
from aliquot.scheduling.taking import STEPS
from aliquot.scheduling.users import ClaimUsers


def decide(
    snapshot: Snapshot,
    policy: Policy,
    now: datetime,
    observer: Observer | None = None,
    memory: Memory | None = None,
) -> Plan:
    """The plan for a cluster: every action to take, and a verdict for every workload that waits.

    Equal snapshot, policy and time give an equal plan, whatever the order in which objects came to be and
    whatever was decided before. now: aware, UTC. memory: speeds up successive decisions about one cluster.
    """
    plan = _Deciding(snapshot, policy, now, observer, memory or Memory()).plan()
    if observer is not None:
        for decision in plan.decisions:
            observer.decided(decision)
    return plan


def opened(snapshot: Snapshot, policy: Policy, now: datetime, memory: Memory | None = None) -> Session:
    """The session that `decide` would begin with, before any of its steps: who holds and waits for what, and
    what each queue is entitled to."""
    return _Deciding(snapshot, policy, now, None, memory or Memory()).open([])[0]


class _Deciding:
    """One call of `decide`."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, now: datetime, observer: Observer | None, memory: Memory
    ) -> None:
        self._policy = policy
        self._now = now
        self._observer = observer
        self._memory = memory
        self._index: SnapshotIndex = memory.index(snapshot)
        self._tree: QueueTree = memory.tree(snapshot.queues)
        self._released: set[Key] = set()

    def plan(self) -> Plan:
        policy = self._policy
        decisions: list[Decision] = []
        staleness: list[Staleness] = []
        board, leaving = self._sort_out(decisions)
        if self._anything_to_do(board):
            session, holdings = self._open(board, leaving)
            explainer = Explainer(session.placer, holdings, self._observer)
            for step in policy.steps:
                if step is Step.ALLOCATE:
                    Starter(session, explainer, self._sharers(session)).run()
                elif step is Step.EVICT_STALE:
                    evict_stale(session)
                else:
                    STEPS[step](session).run()
            decisions += compiling.decisions(session)
            staleness = session.findings.staleness
        return Plan(decisions=tuple(compiling.ranked(decisions)), staleness=tuple(staleness))

    def open(self, decisions: list[Decision]) -> tuple[Session, list[Holding]]:
        """The session before any step; what is to be put right first is added to the decisions."""
        return self._open(*self._sort_out(decisions))

    def _open(self, board: Board, leaving: frozenset[Key]) -> tuple[Session, list[Holding]]:
        return open_session(
            self._index,
            self._tree,
            board,
            self._memory,
            self._policy,
            self._now,
            leaving,
            self._check,
            self._idle,
        )

    def _sort_out(self, decisions: list[Decision]) -> tuple[Board, frozenset[Key]]:
        """Who is to be decided about, and who of them leaves by what has to be put right first."""
        policy, memory, index = self._policy, self._memory, self._index
        managed = memory.manager(index.snapshot, policy)
        self._resources = ExtendedResources(index, policy.kubernetes)
        self._claim_users = ClaimUsers(index)
        self._managed = managed
        board = sort_out(index, memory, managed, policy.every_pod, self._resources)
        return board, self._repair(board, managed, decisions)

    def _anything_to_do(self, board: Board) -> bool:
        if board.todo:
            return True
        if Step.EVICT_STALE not in self._policy.steps or not board.placed:
            return False
        return may_be_stale(self._memory.gangs(self._index, self._tree, self._policy))

    def _check(self, crew: Crew) -> Verdict | None:
        """What keeps a gang from being tried at all."""
        todo = [member.facts for member in crew.members if member.facts is not None and not member.hold]
        lacking = sum(max(0, leaf.minimum - leaf.allocated) for leaf in crew.leaves.values())
        topologies = self._index.topologies if self._policy.topology else None
        found = too_early(crew.gang, todo, lacking, self._tree, topologies=topologies)
        if found is None and self._policy.labelled_claims:
            found = claim_of_other_queue(todo, crew.gang.queue, self._policy.counted_classes)
        return found

    def _idle(self, pods: list[Pod]) -> list[ResourceClaim]:
        """Claims that hold devices for nobody but these pods, which cannot use them; each is given once."""
        found = repairs.idle_shared(pods, self._index, self._claim_users, self._managed)
        found = [claim for claim in found if claim.key not in self._released]
        self._released.update(claim.key for claim in found)
        return found

    @staticmethod
    def _sharers(session: Session) -> "_Sharers":
        return _Sharers(session)

    def _repair(self, board: Board, managed: repairs.Managed, decisions: list[Decision]) -> frozenset[Key]:
        """Decide what is to be put right; gives the waiting pods that leave by that."""
        index = self._index
        found = [
            *repairs.misplaced(index, index.snapshot.pods, managed),
            *repairs.blocked_by_deletion(index, board.waiting, managed),
            *repairs.stuck(index, board.let_go, self._now, self._policy.bind_patience_seconds, managed),
        ]
        leaving: set[Key] = set()
        released = self._released
        for repair in (*self._device_faults(board, managed), *found):
            if isinstance(repair, repairs.Release):
                leaving.update(pod.key for pod in repair.pods)
                if repair.claim.key not in released:
                    released.add(repair.claim.key)
                    decisions.append(
                        recording.deallocated(repair.claim, self._now, repair.verdict, repair.pods)
                    )
                continue
            if repair.pod.key in leaving:
                continue
            leaving.add(repair.pod.key)
            replaced = [repair.pod] if repair.replace else []
            decisions.append(
                recording.waits(repair.pod.ref, "", [repair.pod], repair.verdict, self._now, replaced)
            )
        for claim in repairs.unused(index, managed):
            if claim.key not in released:
                decisions.append(recording.deallocated(claim, self._now))
        return frozenset(leaving)

    def _device_faults(
        self, board: Board, managed: repairs.Managed
    ) -> Iterator[repairs.Repair | repairs.Release]:
        index, policy, now = self._index, self._policy, self._now
        users = self._claim_users
        fleet = self._memory.fleet(index.snapshot, policy)
        yield from evicting.tainted(index, fleet, users, managed, now, policy.taint_patience_seconds)
        yield from binding.failed(
            index, users, managed, now, policy.binding_timeout_seconds, policy.bind_patience_seconds
        )
        yield from held_twice(index, self._resources, managed)
        yield from abandoned(board.in_flight, now, policy.bind_patience_seconds)


class _Sharers:
    """Which members wait for a claim that several want and that nobody has yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._users: dict[Key, list[Member]] = {}
        for crew in session.crews.waiting.values():
            for member in crew.members:
                facts = member.facts
                if facts is not None and facts.claims_shape is None and facts.claims.problem is None:
                    for claim in facts.wanted:
                        self._users.setdefault(claim.key, []).append(member)

    def __call__(self, member: Member) -> list[Member]:
        assert member.facts is not None
        found: dict[Key, Member] = {}
        for claim in member.facts.wanted:
            if self._session.state.claims.allocation(claim) is not None:
                continue
            for other in self._users.get(claim.key, ()):
                if other is not member and other.facts is not None and not other.facts.gated_by_others:
                    found[other.key] = other
        return list(found.values())


__all__ = ["decide"]

_Pods = Iterable[Pod]
