"""Taking from those who run for those who wait: reclaim, preemption, consolidation.

*Reclaim*: a queue below its fair share takes from queues above theirs, or one below its quota from those
above theirs. *Preempt*: within a queue the higher priority takes from the lower. *Consolidate*: pods are
moved, and nobody loses a place. Work that is not preemptible is never asked to leave, and in its minimum run
time a gang keeps its minimum.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Charge, shown, total
from aliquot.queues.order import VictimOrder
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.runtimes import protected
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Member, Status
from aliquot.scheduling.making_room import Legal, Outcome, RoomMaker
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Removal, Session
from aliquot.scheduling.starting import shapes_of


class Taker:
    """One step of taking, for every gang that waits, in turn."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failed: dict[tuple[object, ...], int] = {}

    def _kind(self, crew: Crew) -> tuple[object, ...] | None:
        """Equal for gangs of which one fails if the other did; None for one that is like no other."""
        session, gang = self._session, crew.gang
        members = next_members(crew, session.placer.rank, session.policy.by_fill)
        shapes = shapes_of(crew, members, session.state)
        return None if shapes is None else (gang.queue, gang.preemptible, gang.priority, shapes)

    def run(self) -> None:
        """Take for whoever is entitled to."""
        session = self._session
        waiting = [crew for crew in session.waiting() if self.entitled(crew)]
        if not waiting:
            return
        session.state.look_ahead()
        maker = RoomMaker(
            session.state,
            session.placer,
            session.crews.prepare,
            self._victims,
            self._turns,
            self.rule,
            session.policy.victim_search,
        )
        order = session.in_turn(waiting)
        while (crew := order.pop()) is not None:
            kind = self._kind(crew)
            if kind is not None and self._failed.get(kind) == session.state.changes:
                continue
            outcome = maker.make_room(crew) if self.may_try(crew) else None
            if outcome is None:
                if kind is not None:
                    self._failed[kind] = session.state.changes
                continue
            session.findings.served(crew)
            for member in outcome.gone:
                verdict = self.verdict(crew, member)
                session.findings.removals.append(Removal(member, verdict, crew))
            for member in outcome.moved:
                verdict = Verdict(reason=Reason.CONSOLIDATED, facts=(_for(crew),))
                session.findings.removals.append(Removal(member, verdict, crew))

    def entitled(self, crew: Crew) -> bool:
        """Whether the gang can be served by this step at all, by what does not change during it."""
        return True

    def may_try(self, crew: Crew) -> bool:
        """Whether the gang may take, as things stand."""
        return True

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        """Whether a gang that runs may be asked to leave for another."""
        raise NotImplementedError

    def rule(self, crew: Crew) -> Legal:
        """The test of what would become of the cluster."""
        raise NotImplementedError

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        """Why a pod has to leave."""
        raise NotImplementedError

    def _victims(self, crew: Crew) -> "_Victims":
        found = [
            victim
            for victim in self._session.crews.running()
            if victim is not crew
            and victim.gang.preemptible
            and victim.gang.queue
            and any(member.status is Status.RUNNING for member in victim.members)
            and self.may_be_asked(crew, victim)
        ]
        return _Victims(self._session, found)

    def _turns(self, crew: Crew, involved: Sequence[Crew]) -> Iterator[Crew]:
        """Who is placed in which order: that of their queues, as things stand."""
        session = self._session
        order = session.in_turn(())
        for other in (crew, *involved):
            order.push(
                other.gang.queue,
                other,
                session.next_charge(other, evicted=other is not crew),
                session.sort_key(other),
            )
        try:
            while (turn := order.pop()) is not None:
                yield turn
        finally:
            order.close()


class Reclaim(Taker):
    """Between queues."""

    def may_try(self, crew: Crew) -> bool:
        return self._reclaimer(crew).may_try() is None

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        if victim.gang.queue == crew.gang.queue:
            return False
        return _elastic(victim) or not self._protected(crew, victim)

    def _reclaimer(self, crew: Crew) -> Reclaimer:
        session, gang = self._session, crew.gang
        return Reclaimer(
            session.shares, session.state.queues, gang.queue, session.next_charge(crew), gang.preemptible
        )

    def _protected(self, crew: Crew, victim: Crew) -> bool:
        session = self._session
        if not session.policy.min_runtimes:
            return False
        minimum = session.runtimes.reclaim(crew.gang.queue, victim.gang.queue)
        return protected(victim.gang.started, minimum, session.now)

    def rule(self, crew: Crew) -> Legal:
        reclaimer = self._reclaimer(crew)
        moves_count = not self._session.policy.move_victims

        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            lost = outcome.disturbed if moves_count else outcome.gone
            bundles: dict[str, list[Charge]] = {}
            for victim, gone in _by_crew(lost):
                bundles.setdefault(victim.gang.queue, []).extend(_bundles(gone))
            if reclaimer.may_take(bundles) is not None:
                return False
            return _keeps_minimum(outcome.disturbed, lambda victim: self._protected(crew, victim))

        return legal

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        queues = (crew.gang.queue, member.crew.gang.queue)
        shares = [fact for queue in queues for fact in share_facts(self._session, queue)]
        return Verdict(reason=Reason.RECLAIMED, facts=(_for(crew), *shares))


class Preempt(Taker):
    """Within a queue."""

    def may_try(self, crew: Crew) -> bool:
        session, gang = self._session, crew.gang
        if gang.preemptible:
            return True
        excess = session.state.queues.excess(gang.queue, session.next_charge(crew), preemptible=False)
        return excess is None or excess.term != "quota"

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        if victim.gang.queue != crew.gang.queue or victim.gang.priority >= crew.gang.priority:
            return False
        return _elastic(victim) or not self._protected(victim)

    def _protected(self, victim: Crew) -> bool:
        session = self._session
        if not session.policy.min_runtimes:
            return False
        return protected(victim.gang.started, session.runtimes.preempt(victim.gang.queue), session.now)

    def rule(self, crew: Crew) -> Legal:
        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            return _keeps_minimum(outcome.disturbed, self._protected)

        return legal

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        priorities = Fact(
            test="priority", wanted=str(crew.gang.priority), available=str(member.crew.gang.priority)
        )
        return Verdict(reason=Reason.PREEMPTED, facts=(_for(crew), priorities))


class Consolidate(Taker):
    """By moving pods; nobody loses a place."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._asked: dict[int, int] = {}

    def entitled(self, crew: Crew) -> bool:
        return crew.gang.preemptible

    def may_try(self, crew: Crew) -> bool:
        """Only if the accelerators free in all would be enough."""
        session = self._session
        if session.policy.consolidation_budget == 0:
            return False
        wanted = session.next_charge(crew).get(GPU, 0)
        state = session.state
        nodes = range(len(state.table.nodes))
        free = sum(state.free_accelerators(number) + state.parts.free(number) for number in nodes)
        return free + 1e-6 >= wanted / UNIT

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        budget = self._session.policy.consolidation_budget
        asked = self._asked.get(id(crew), 0)
        if budget is not None and asked > budget:
            return False
        self._asked[id(crew)] = asked + 1
        return True

    def rule(self, crew: Crew) -> Legal:
        return lambda members, outcome: not outcome.gone

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        return Verdict(reason=Reason.CONSOLIDATED, facts=(_for(crew),))


STEPS: dict[Step, type[Taker]] = {
    Step.RECLAIM: Reclaim,
    Step.PREEMPT: Preempt,
    Step.CONSOLIDATE: Consolidate,
}


class _Victims:
    """Gangs that may be asked, those with the least right to stay first."""

    def __init__(self, session: Session, crews: Iterable[Crew]) -> None:
        self._policy = session.policy
        self._order: VictimOrder[Crew] = VictimOrder(session.shares, session.state.queues)
        found = sorted(crews, key=lambda crew: (crew.gang.created, crew.gang.key), reverse=True)
        self._youth = {id(crew): rank for rank, crew in enumerate(found)}
        for crew in found:
            self.push(crew, set())

    def pop(self) -> Crew | None:
        return self._order.pop()

    def push(self, crew: Crew, asked: set[int]) -> None:
        charge = total(
            member.hold.charge
            for member in crew.members
            if member.hold is not None and member.status in ALLOCATED and id(member) not in asked
        )
        policy = self._policy
        key = (
            crew.gang.priority if policy.by_priority else 0,
            -_fullness(crew, asked) if policy.by_elasticity else 0,
            self._youth[id(crew)],
        )
        self._order.push(crew.gang.queue, crew, charge, key)

    def close(self) -> None:
        self._order.close()


def _fullness(crew: Crew, asked: set[int]) -> int:
    """As Crew.fullness, once those asked are gone."""
    if not asked:
        return crew.fullness
    above = 0
    for leaf in crew.leaves.values():
        left = sum(1 for member in leaf.members if member.status in ALLOCATED and id(member) not in asked)
        if left < leaf.minimum:
            return -1
        above = max(above, int(left > leaf.minimum))
    return above


def _elastic(crew: Crew) -> bool:
    """Whether it has more members than it needs."""
    return any(len(leaf.members) > leaf.minimum for leaf in crew.leaves.values())


def _by_crew(members: Iterable[Member]) -> list[tuple[Crew, list[Member]]]:
    found: dict[int, tuple[Crew, list[Member]]] = {}
    for member in members:
        found.setdefault(id(member.crew), (member.crew, []))[1].append(member)
    return list(found.values())


def _bundles(members: Sequence[Member]) -> list[Charge]:
    """What a gang loses, in the steps in which it is judged: pods beyond the minimum each, then the rest."""
    by_leaf: dict[int, list[Member]] = {}
    for member in members:
        by_leaf.setdefault(id(member.leaf), []).append(member)
    core: list[Charge] = []
    found: list[Charge] = []
    for lost in by_leaf.values():
        minimum = lost[0].leaf.minimum
        core += [member.hold.charge for member in lost[:minimum] if member.hold is not None]
        found += [member.hold.charge for member in lost[minimum:] if member.hold is not None]
    if core:
        found.append(total(core))
    return found


def _keeps_minimum(members: Iterable[Member], protected: Callable[[Crew], bool]) -> bool:
    """Whether every elastic gang in its minimum run time keeps its minimum."""
    for crew, _ in _by_crew(members):
        if _elastic(crew) and crew.fullness < 0 and protected(crew):
            return False
    return True


def share_facts(session: Session, queue: str) -> list[Fact]:
    """What a queue holds of its fair share, of each resource of which it holds anything."""
    found: list[Fact] = []
    for resource in session.shares.resources:
        terms = session.shares.of(queue, resource, session.state.queues)
        if terms is not None and terms.allocated:
            found.append(
                Fact(
                    test="fairShare",
                    subject=f"{queue}/{resource}",
                    wanted=shown(terms.share, resource),
                    available=shown(terms.allocated, resource),
                )
            )
    return found


def _for(crew: Crew) -> Fact:
    return Fact(test="forWorkload", subject=str(crew.gang.ref))
