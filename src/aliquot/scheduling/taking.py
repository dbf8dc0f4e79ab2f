"""Taking from those who run for those who wait: reclaim, preemption, consolidation.

*Reclaim*: a queue below its fair share takes from queues above theirs, or one below its quota from those
above theirs. *Preempt*: within a queue the higher priority takes from the lower. *Consolidate*: pods are
moved, and nobody loses a place. Work that is not preemptible is never asked to leave, and in its minimum run
time a gang keeps its minimum.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter

from aliquot.fractions.requests import Kind
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, shown
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.runtimes import protected
from aliquot.queues.tree import NO_BOUND
from aliquot.scheduling.asking import Asked, Candidates, held
from aliquot.scheduling.gang_state import Crew, Member, Status, requires_closeness
from aliquot.scheduling.losses import bundles_of, by_crew, elastic, keeps_minimum
from aliquot.scheduling.making_room import Legal, Outcome, RoomMaker
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Removal, Session
from aliquot.scheduling.starting import shapes_of
from aliquot.scheduling.victims import VictimCosts, spare
from aliquot.scheduling.wants import next_want


class Taker:
    """One step of taking, for every gang that waits, in turn."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failed: dict[tuple[object, ...], int] = {}
        self._too_large: dict[tuple[object, ...], tuple[int, int]] = {}
        self._line: dict[str, list[tuple[tuple[object, ...], Crew, Charge]]] = {}
        self._lined_up = -1
        self.candidates = Candidates(session)
        policy, rank = session.policy, session.placer.rank
        cheapest = policy.victim_order == "cheapest"
        self._costs = VictimCosts(session.state, session.now, rank, policy.by_fill) if cheapest else None

    def _kind(self, crew: Crew) -> tuple[object, ...] | None:
        """Equal for gangs of which one fails if the other did; None for one that is like no other."""
        session, gang = self._session, crew.gang
        shapes = shapes_of(crew, next_want(crew, session.placer), session.state)
        return None if shapes is None else (gang.queue, gang.preemptible, gang.priority, shapes)

    def _note(self, kind: tuple[object, ...]) -> None:
        """Nothing can be taken for gangs of this kind, as things stand."""
        changes = self._session.state.changes
        self._failed[kind] = changes
        size = _size(kind)
        if size is not None and not self._session.policy.stepwise:
            known = self._too_large.get(size[0])
            if known is None or known[0] != changes or known[1] > size[1]:
                self._too_large[size[0]] = (changes, size[1])

    def _fails(self, kind: tuple[object, ...]) -> bool:
        """Whether nothing could be taken for such a gang, or for one like it with no more pods."""
        changes = self._session.state.changes
        if self._failed.get(kind) == changes:
            return True
        size = _size(kind)
        known = None if size is None else self._too_large.get(size[0])
        return known is not None and size is not None and known[0] == changes and known[1] <= size[1]

    def run(self) -> None:
        """Take for whoever is entitled to."""
        session = self._session
        waiting = [crew for crew in session.waiting() if self.entitled(crew) and not self._too_soon(crew)]
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
            self.may_give,
            session.policy.victim_search,
            partial(spare, now=session.now) if session.policy.spare_victims else None,
        )
        order = session.in_turn(waiting)
        while (crew := order.pop()) is not None:
            kind = self._kind(crew)
            if kind is not None and self._fails(kind):
                continue
            if session.policy.stepwise and self._lined_up != session.state.changes:
                self._line_up()
                self._lined_up = session.state.changes
            outcome = maker.make_room(crew) if self.may_try(crew) else None
            if outcome is None:
                if kind is not None:
                    self._note(kind)
                continue
            session.findings.served(crew)
            for member in outcome.gone:
                verdict = self.verdict(crew, member)
                session.findings.removals.append(Removal(member, verdict, crew))
            for member in outcome.withdrawn:
                session.findings.waits(member.crew, self.verdict(crew, member))
            for member in outcome.moved:
                verdict = Verdict(reason=Reason.CONSOLIDATED, facts=(_for(crew),))
                session.findings.removals.append(Removal(member, verdict, crew))

    def _too_soon(self, crew: Crew) -> bool:
        """Whether the gang wants to have waited longer before others leave for it: since it came, or since
        the youngest of its waiting pods did, which may have been made anew."""
        delay = crew.gang.preemption_delay_seconds
        if delay is None:
            return False
        came = [member.pod.metadata.creation_timestamp for member in crew.members if not member.hold]
        since = max((time for time in came if time is not None), default=crew.gang.created)
        return (self._session.now - max(since, crew.gang.created)).total_seconds() < delay

    def entitled(self, crew: Crew) -> bool:
        """Whether the gang can be served by this step at all, by what does not change during it."""
        return True

    def may_try(self, crew: Crew) -> bool:
        """Whether the gang may take, as things stand."""
        return True

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        """Whether a gang that runs may be asked to leave for another."""
        raise NotImplementedError

    def may_give(self, victims: Sequence[Member]) -> bool:
        """Whether anything could come of asking these members of a gang to leave."""
        return True

    def rule(self, crew: Crew) -> Legal:
        """The test of what would become of the cluster."""
        raise NotImplementedError

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        """Why a pod has to leave."""
        raise NotImplementedError

    def sought(self, crew: Crew) -> Iterable[str]:
        """The queues whose work may be asked to leave for a gang."""
        return self.candidates.queues()

    def _victims(self, crew: Crew) -> Asked | None:
        found: dict[str, list[Crew]] = {}
        for queue in self.sought(crew):
            for victim in self.candidates.of(queue):
                if victim is not crew and self.may_be_asked(crew, victim):
                    found.setdefault(victim.gang.queue, []).append(victim)
        if not found:
            return None
        costs: Mapping[int, tuple[int, ...]] = {}
        if self._costs is not None:
            members = next_want(crew, self._session.placer).members
            costs = self._costs.keys(members, [victim for crews in found.values() for victim in crews])
        return Asked(self._session, found, costs)

    def _turns(self, crew: Crew, members: Sequence[Member], involved: Sequence[Crew]) -> Iterator[Crew]:
        """Who is placed in which order: the gang, then whoever had to leave, in the order of their queues, as
        things stand.

        Stepwise, the gang has its turn among them, and whoever waits stands in line. If queue 0 gives up a
        pod for one of queue 1, and the oldest that waits in queue 1 is large, queue 0 may come first and get
        its pod back.
        """
        session = self._session
        stepwise = session.policy.stepwise
        if not stepwise:
            yield crew
        order = session.in_turn(())
        left = {id(other): other for other in (crew, *involved)}
        for other in involved:
            charge = session.next_charge(other, evicted=True)
            order.push(other.gang.queue, other, charge, session.sort_key(other))
        if stepwise:
            order.push(crew.gang.queue, crew, session.placer.wanted(members), session.sort_key(crew, -1))
            for queue, line in self._line.items():
                order.feed(queue, (item for item in line if id(item[1]) not in left))
        else:
            del left[id(crew)]
        try:
            while left and (turn := order.pop()) is not None:
                if left.pop(id(turn), None) is not None:
                    yield turn
        finally:
            order.close()

    def _line_up(self) -> None:
        """Note who waits for what in each queue, in order."""
        session = self._session
        self._line.clear()
        for crew in session.crews.waiting.values():
            if crew.waiting and crew.gang.queue:
                entry = (session.sort_key(crew), crew, session.next_charge(crew))
                self._line.setdefault(crew.gang.queue, []).append(entry)
        for line in self._line.values():
            line.sort(key=itemgetter(0))


class Reclaim(Taker):
    """Between queues."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._mine: Reclaimer | None = None
        self._idle_known = (-1, 0.0)

    def entitled(self, crew: Crew) -> bool:
        return self._session.policy.fair_shares

    def may_try(self, crew: Crew) -> bool:
        self._mine = self._reclaimer(crew)
        return self._mine.may_try() is None

    def sought(self, crew: Crew) -> Iterable[str]:
        running, tree = self.candidates.queues(), self._session.tree
        if self._session.policy.stepwise:
            return running
        assert self._mine is not None
        found: list[str] = []
        for own, other, queues in tree.rivals(self._mine.number):
            if self._mine.may_take_from(own, other):
                found += [name for number in queues if (name := tree.names[number]) in running]
        if not found:
            return ()
        most = self._too_large_to_move(crew)
        return sorted(queue for queue in found if self._may_lose(queue, most))

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        queue = victim.gang.queue
        if queue == crew.gang.queue:
            return False
        if elastic(victim):
            return True
        if self._protected(crew, victim):
            return False
        if self._session.policy.stepwise:
            return True
        # It can give up everything or nothing; what cannot be placed again is lost.
        assert self._mine is not None
        holds = held(victim)
        return holds.get(GPU, 0) <= self._idle() or self._mine.may_take_alone(queue, holds)

    def _too_large_to_move(self, crew: Crew) -> Amount | float:
        """How many accelerators a pod has at least whose move would make no room for the gang.

        A gang of pods with 2 gets nothing from a pod with 2 that could go elsewhere: where that could go, its
        own could. Where its pods have to be close together they could not.
        """
        most = next_want(crew, self._session.placer).largest
        return most if most and not requires_closeness(crew.gang.root) else NO_BOUND

    def _idle(self) -> float:
        """How many accelerators are idle in the whole cluster, in billionths, before anybody leaves."""
        changes = self._session.state.changes
        if self._idle_known[0] != changes:
            self._idle_known = changes, sum(self._session.state.idle_accelerators()) * UNIT + 1
        return self._idle_known[1]

    def may_give(self, victims: Sequence[Member]) -> bool:
        """Whether anything could come of asking these members of a gang to leave.

        If they have more accelerators than are idle anywhere they cannot all be placed again, so some of them
        would be lost: at least the least that the gang gives up at a time, which has to be allowed.
        """
        if self._session.policy.stepwise:
            return True
        bundles = bundles_of(victims, _ANY)
        if sum(bundle.get(GPU, 0) for bundle in bundles) <= self._idle():
            return True
        queue, mine = victims[0].crew.gang.queue, self._mine
        assert mine is not None
        return any(mine.may_take_alone(queue, bundle) for bundle in bundles)

    def _may_lose(self, queue: str, most: Amount | float) -> bool:
        """Whether a queue might give anything up: the least that any gang of it would lose, at least, unless
        some of its pods are smaller than `most`, so that moving them could help, and room may be idle for
        them."""
        assert self._mine is not None
        least, smallest = self.candidates.least(queue)
        if smallest < most and smallest <= self._idle():
            return True
        return self._mine.may_take_alone(queue, least)

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
        return bool(minimum) and protected(victim.gang.started, minimum, session.now)

    def rule(self, crew: Crew) -> Legal:
        session = self._session
        whole = self._reclaimer(crew)
        lost = {Status.EVICTED} if session.policy.move_victims else set(Status)

        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            reclaimer = whole
            if session.policy.stepwise:
                reclaimer = whole.wanting(session.placer.wanted(members))
            bundles: dict[str, list[Charge]] = {}
            for victim, asked in by_crew(outcome.asked):
                bundles.setdefault(victim.gang.queue, []).extend(bundles_of(asked, lost))
            if reclaimer.may_take(bundles) is not None:
                return False
            return keeps_minimum(outcome.asked, lambda victim: self._protected(crew, victim))

        return legal

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        assert self._mine is not None
        queues = (crew.gang.queue, member.crew.gang.queue)
        shares = [fact for queue in queues for fact in share_facts(self._session, queue, self._mine)]
        return Verdict(reason=Reason.RECLAIMED, facts=(_for(crew), *shares))


class Preempt(Taker):
    """Within a queue."""

    def sought(self, crew: Crew) -> Iterable[str]:
        return self.candidates.queues() if self._session.policy.stepwise else (crew.gang.queue,)

    def may_try(self, crew: Crew) -> bool:
        session, gang = self._session, crew.gang
        if gang.preemptible:
            return True
        excess = session.state.queues.excess(gang.queue, session.next_charge(crew), preemptible=False)
        return excess is None or excess.term != "quota"

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        if victim.gang.queue != crew.gang.queue or victim.gang.priority >= crew.gang.priority:
            return False
        return elastic(victim) or not self._protected(victim)

    def _protected(self, victim: Crew) -> bool:
        session = self._session
        if not session.policy.min_runtimes:
            return False
        return protected(victim.gang.started, session.runtimes.preempt(victim.gang.queue), session.now)

    def rule(self, crew: Crew) -> Legal:
        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            return keeps_minimum(outcome.asked, self._protected)

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
        """Only if the accelerators free in all would be enough, and their memory for requests by memory."""
        session = self._session
        if session.policy.consolidation_budget == 0:
            return False
        state = session.state
        wanted: Amount = 0
        memory = 0
        for member in next_want(crew, session.placer).members:
            assert member.facts is not None
            gpus = member.facts.gpus
            if gpus is not None and gpus.kind is Kind.MEMORY:
                memory += gpus.memory_mib * gpus.devices
            else:
                wanted += state.wanted(member.facts).get(GPU, 0)
        free = free_memory = 0.0
        for number in range(len(state.table.nodes)):
            here = state.free_accelerators(number) + state.parts.free(number)
            free += here
            if memory:
                free_memory += here * state.parts.memory(number)
        return free + _SLACK >= wanted / UNIT and free_memory + _SLACK >= memory

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


def _size(kind: tuple[object, ...]) -> tuple[tuple[object, ...], int] | None:
    """What a gang of equal pods has in common with others of more or fewer, and how many it has; None for any
    other gang."""
    *rest, shapes = kind
    assert isinstance(shapes, tuple)
    if not shapes or any(shape != shapes[0] for shape in shapes):
        return None
    return (*rest, shapes[0]), len(shapes)


_ANY = frozenset(Status)

_SLACK = 1e-6
"""For the rounding of fractions."""


def share_facts(session: Session, queue: str, before: Reclaimer) -> list[Fact]:
    """What a queue held of its fair share before anything was taken, of each resource that the work wants."""
    number = session.tree.numbers[queue]
    amounts = zip(session.shares.resources, before.held(number), before.wanted, strict=True)
    return [
        Fact(
            test="fairShare",
            subject=f"{queue}/{resource}",
            wanted=shown(session.shares.share(queue, resource), resource),
            available=shown(amount, resource),
        )
        for resource, amount, wanted in amounts
        if wanted
    ]


def _for(crew: Crew) -> Fact:
    return Fact(test="forWorkload", subject=str(crew.gang.ref))
