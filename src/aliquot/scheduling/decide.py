"""`decide`: one pure function from the state of a cluster to a plan.

First what is wrong is put right (pods beside their devices, claims that nobody uses). Then come the steps
that the policy names: workloads that wait are given what is free, in turn; then room is made for those that
are entitled to more than they got; gangs that lost members for good are taken down. Each workload is placed
whole or waits with a verdict.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from functools import partial

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Verdict
from aliquot.scheduling import binding, compiling, evicting, recording, repairs
from aliquot.scheduling.blockers import too_early, too_few
from aliquot.scheduling.claim_labels import claim_of_other_queue
from aliquot.scheduling.cluster import follow
from aliquot.scheduling.explaining import Explainer
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.half_admitted import overdue
from aliquot.scheduling.means import within_means
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.observer import Observer
from aliquot.scheduling.opening import open_session
from aliquot.scheduling.plan import Decision, Plan, Staleness
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.preempting import Consolidate, Preempt
from aliquot.scheduling.reclaiming import Reclaim
from aliquot.scheduling.scale_up import to_show
from aliquot.scheduling.served import abandoned, held_twice
from aliquot.scheduling.session import Session
from aliquot.scheduling.staleness import evict_stale
from aliquot.scheduling.starting import Starter
from aliquot.scheduling.taking import Taker
from aliquot.scheduling.taking_explained import explain_taking
from aliquot.workloads.subgroups import lacking

_TAKERS: dict[Step, Callable[[Session], Taker]] = {
    Step.RECLAIM: Reclaim,
    Step.PREEMPT: Preempt,
    Step.CONSOLIDATE: Consolidate,
}


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
    A snapshot with funds is decided within them.
    """
    kept = memory or Memory()

    def planned(seen: Snapshot) -> Plan:
        return _Deciding(seen, policy, now, observer, kept).plan()

    plan = within_means(snapshot, policy, now, kept, planned) if snapshot.funds else planned(snapshot)
    if observer is not None:
        for decision in plan.decisions:
            observer.decided(decision)
    return plan


def opened(snapshot: Snapshot, policy: Policy, now: datetime, memory: Memory | None = None) -> Session:
    """The session that `decide` would begin with, before any of its steps: who holds and waits for what, and
    what each queue is entitled to. With a memory it holds until that is used again."""
    return _Deciding(snapshot, policy, now, None, memory or Memory()).open([])


class _Deciding:
    """One call of `decide`."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, now: datetime, observer: Observer | None, memory: Memory
    ) -> None:
        self._policy = policy
        self._now = now
        self._observer = observer
        self._memory = memory
        self._cluster = follow(memory, snapshot, policy)
        self._released: set[Key] = set()

    def plan(self) -> Plan:
        policy = self._policy
        decisions: list[Decision] = []
        staleness: list[Staleness] = []
        leaving = self._repair(decisions)
        if self._anything_to_do():
            session = self._open(leaving)
            explainer = Explainer(session.placer, self._cluster.holdings, self._observer)
            for step in policy.steps:
                if step is Step.ALLOCATE:
                    Starter(session, explainer, _Sharers(session), partial(self._take, session)).run()
                elif step is Step.EVICT_STALE:
                    evict_stale(session)
                else:
                    _TAKERS[step](session).run()
            decisions += [
                recording.shown(
                    crew.gang,
                    [member.pod for member in members],
                    session.findings.verdicts[id(crew)],
                    self._now,
                )
                for crew, members in to_show(session)
            ]
            decisions += compiling.decisions(session)
            if self._observer is not None:
                explain_taking(session, self._observer)
            staleness = session.findings.staleness
        return Plan(decisions=tuple(compiling.ranked(decisions)), staleness=tuple(staleness))

    def _take(self, session: Session, crew: Crew) -> None:
        """Have others leave for one gang, by the first right that serves."""
        for step in self._policy.steps:
            if step in _TAKERS and crew.waiting:
                _TAKERS[step](session).run(crew)

    def open(self, decisions: list[Decision]) -> Session:
        """The session before any step; what is to be put right first is added to the decisions."""
        return self._open(self._repair(decisions))

    def _open(self, leaving: frozenset[Key]) -> Session:
        return open_session(self._cluster, self._memory, self._now, leaving, self._check, self._idle)

    def _anything_to_do(self) -> bool:
        cluster = self._cluster
        if cluster.todo:
            return True
        if Step.EVICT_STALE not in self._policy.steps:
            return False
        return bool(cluster.restless)

    def _check(self, crew: Crew) -> Verdict | None:
        """What keeps a gang from being tried at all."""
        if crew.touched:
            return self._obstacle(crew)
        if crew.checked is None:
            crew.checked = (self._obstacle(crew),)
        return crew.checked[0]

    def _obstacle(self, crew: Crew) -> Verdict | None:
        todo = [member.facts for member in crew.members if member.facts is not None and not member.hold]
        if crew.lines is None:
            needed = sum(max(0, leaf.minimum - leaf.allocated) for leaf in crew.leaves.values())
        else:
            needed = lacking(crew.gang.root, crew.allocated_of)
        topologies = self._cluster.index.topologies if self._policy.topology else None
        found = too_early(crew.gang, todo, needed, self._cluster.tree, topologies=topologies)
        if found is None and len(crew.leaves) > 1:
            found = too_few(crew, self._cluster.tree)
        if found is None and self._policy.labelled_claims:
            found = claim_of_other_queue(todo, crew.gang.queue, self._policy.counted_classes)
        return found

    def _idle(self, pods: Collection[Pod]) -> list[ResourceClaim]:
        """Claims that hold devices for nobody but these pods, which cannot use them; each is given once."""
        cluster = self._cluster
        found = repairs.idle_shared(pods, cluster.index, cluster.links, cluster.managed)
        found = [claim for claim in found if claim.key not in self._released]
        self._released.update(claim.key for claim in found)
        return found

    def _repair(self, decisions: list[Decision]) -> frozenset[Key]:
        """Decide what is to be put right; gives the waiting pods that leave by that."""
        cluster, released = self._cluster, self._released
        leaving: set[Key] = set()
        for found in overdue(cluster, self._now, self._policy.admission_seconds):
            leaving.update(pod.key for pod in found.pods)
            waiting = [pod for pod in found.gang.members if not pod.spec.node_name]
            decisions.append(
                recording.waits(
                    found.gang.ref, found.gang.queue, waiting, found.verdict, self._now, found.pods
                )
            )
        for repair in self._faults():
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
        for claim in cluster.unused():
            if claim.key not in released:
                decisions.append(recording.deallocated(claim, self._now))
        return frozenset(leaving)

    def _faults(self) -> Iterator[repairs.Repair | repairs.Release]:
        """Whatever has to be put right, device by device and then pod by pod."""
        cluster, policy, now = self._cluster, self._policy, self._now
        index, users, managed = cluster.index, cluster.links, cluster.managed
        patience = policy.bind_patience_seconds
        yield from evicting.tainted(
            cluster.claims_at_risk(), cluster.fleet, users, managed, now, policy.taint_patience_seconds
        )
        conditioned = [claim for _, claim in sorted(cluster.links.conditioned.items())]
        yield from binding.failed(conditioned, users, managed, now, policy.binding_timeout_seconds, patience)
        leaving = [claim for _, claim in sorted(cluster.links.leaving.items())]
        yield from repairs.deleted_behind_gates(leaving, users, managed)
        yield from held_twice(index, cluster.resources, managed)
        in_flight = cluster.pods_in(cluster.in_flight, lambda portion: portion.in_flight)
        yield from abandoned(in_flight, now, patience)
        troubled = [cluster.shares[key].portion for key in cluster.troubled]
        yield from sorted(
            (repair for portion in troubled for repair in portion.misplaced), key=lambda item: item.pod.key
        )
        yield from sorted(
            (repair for portion in troubled for repair in portion.blocked), key=lambda item: item.pod.key
        )
        let_go = cluster.pods_in(cluster.let_go, lambda portion: portion.let_go)
        yield from repairs.stuck(index, let_go, now, patience, managed)


class _Sharers:
    """Which members wait for a claim that several want and that nobody has yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[Key, list[Member]] | None = None

    def __call__(self, member: Member) -> list[Member]:
        assert member.facts is not None
        found: dict[Key, Member] = {}
        for claim in member.facts.wanted:
            if self._session.state.claims.allocation(claim) is not None:
                continue
            for other in self._users().get(claim.key, ()):
                if other is not member and other.facts is not None and not other.facts.gated_by_others:
                    found[other.key] = other
        return list(found.values())

    def _users(self) -> dict[Key, list[Member]]:
        if self._known is not None:
            return self._known
        found: dict[Key, list[Member]] = {}
        for crew in self._session.crews.waiting.values():
            for member in crew.members:
                facts = member.facts
                if facts is not None and facts.claims_shape is None and facts.claims.problem is None:
                    for claim in facts.wanted:
                        found.setdefault(claim.key, []).append(member)
        self._known = found
        return found


__all__ = ["decide", "opened"]
