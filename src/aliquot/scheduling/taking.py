"""Taking from those who run for those who wait: what reclaim, preemption and consolidation have in common.

Work that is not preemptible is never asked to leave, and in its minimum run time a gang keeps its minimum.
"""

from bisect import bisect
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import Charge
from aliquot.queues.order import WorkOrder
from aliquot.scheduling.asking import Asked, Batch, Candidates, RuledOut
from aliquot.scheduling.gang_placing import promise_all
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.making_room import RoomMaker
from aliquot.scheduling.outcomes import Legal, Outcome
from aliquot.scheduling.policy import Step
from aliquot.scheduling.reservations import latest_promise
from aliquot.scheduling.session import Removal, Session
from aliquot.scheduling.starting import shapes_of
from aliquot.scheduling.under_way import arrive, set_out
from aliquot.scheduling.victims import VictimCosts, spare
from aliquot.scheduling.wants import next_want, patient_until

MOST_TAKEN_FOR = 8
"""For how many other choices of its subgroups room is tried to be made."""


class Taker:
    """One step of taking, for every gang that waits, in turn, until it was done for as many as the policy
    allows: the others have their turn in the next decision, which sees what became of those before them."""

    def __init__(self, session: Session, step: Step) -> None:
        self._session = session
        self._step = step
        self._failed: dict[tuple[object, ...], int] = {}
        self._too_large: dict[tuple[object, ...], int] = {}
        self._line: dict[str, list[tuple[tuple[object, ...], Crew, Charge]]] = {}
        self._running: dict[str, list[Crew]] | None = None
        self._holders: dict[str, list[tuple[object, ...]]] = {}
        self._lined_up = -1
        self.candidates = Candidates(session)
        policy, rank = session.policy, session.placer.rank
        cheapest = policy.victim_order == "cheapest"
        self._costs = VictimCosts(session.state, session.now, rank, policy.by_fill) if cheapest else None

    def _kind(self, crew: Crew) -> tuple[object, ...] | None:
        """Equal for gangs of which one fails if the other did; None for one that is like no other."""
        session, gang = self._session, crew.gang
        shapes = shapes_of(crew, next_want(crew, session.placer), session.state)
        if shapes is None:
            return None
        return (gang.queue, gang.preemptible, gang.priority, self._after(crew), shapes)

    def _after(self, crew: Crew) -> int:
        """Stepwise, how many gangs of its queue that hold something have their turn before it; else 0. If
        those leave, they are placed again before it: that may be what makes room."""
        session = self._session
        if not session.policy.stepwise:
            return 0
        return bisect(self._holders_of(crew.gang.queue), session.sort_key(crew, -1))

    def _holders_of(self, queue: str) -> list[tuple[object, ...]]:
        """The places of the gangs of a queue that hold something, in order: the same for the whole step."""
        session = self._session
        if self._running is None:
            self._running = {}
            for holder in session.crews.running():
                self._running.setdefault(holder.gang.queue, []).append(holder)
        found = self._holders.get(queue)
        if found is None:
            holders = self._running.get(queue, ())
            found = self._holders[queue] = sorted([session.sort_key(holder, -1) for holder in holders])
        return found

    def _as_of(self) -> int:
        """What a failure stands for: stepwise, the state as it is; else the whole decision. Whoever takes
        leaves less to be taken, and nobody more entitled; the room that is left over by it is given away by
        the next decision."""
        session = self._session
        return session.state.changes if session.policy.stepwise else 0

    def _note(self, kind: tuple[object, ...]) -> None:
        """Nothing can be taken for gangs of this kind, as things stand."""
        as_of = self._as_of()
        self._failed[kind] = as_of
        size = _size(kind)
        if size is not None and not self._session.policy.stepwise:
            known = self._too_large.get(size[0])
            if known is None or known > size[1]:
                self._too_large[size[0]] = size[1]

    def _fails(self, kind: tuple[object, ...]) -> bool:
        """Whether nothing could be taken for such a gang, or for one like it with no more pods."""
        if self._failed.get(kind) == self._as_of():
            return True
        size = _size(kind)
        known = None if size is None else self._too_large.get(size[0])
        return known is not None and size is not None and known <= size[1]

    def _known_to_fail(self, crew: Crew) -> bool:
        kind = self._kind(crew)
        return kind is not None and self._fails(kind)

    def _hopeful(self, crew: Crew) -> bool:
        """Whether a gang needs a turn to find out if anything can be taken for it; asked right after the turn
        of the gang before it in its queue. What cannot be taken then cannot be later, see `_as_of`."""
        kind = self._kind(crew)
        if kind is not None and self._fails(kind):
            return False
        if crew.lines is not None or not self.in_vain(crew):
            return True
        if kind is not None:
            self._note(kind)
        return False

    def run(self, only: Crew | None = None) -> None:
        """Take for whoever is entitled to, or for one gang only."""
        session = self._session
        waiting = [
            crew
            for crew in (session.crews.waiting.values() if only is None else (only,))
            if session.could_be_tried(crew)
            and self.entitled(crew)
            and patient_until(crew, session.now) is None
        ]
        if not waiting:
            return
        maker = self.maker()
        order = session.in_turn(waiting, None if session.policy.stepwise else self._hopeful)
        if session.policy.stepwise:
            set_out(session.state.touched())
        tried = self._take(maker, order)
        order.close()
        if tried is not None and only is None:
            session.findings.put_off[self._step] = {
                id(crew) for crew in waiting if id(crew) not in tried and not self._known_to_fail(crew)
            }
        if session.policy.stepwise:
            arrive(session.state.touched())
            self._forget_turned_back()

    def _forget_turned_back(self) -> None:
        """Nobody leaves who keeps its place after all."""
        findings = self._session.findings
        findings.removals = [
            removal for removal in findings.removals if removal.member.status is not Status.RUNNING
        ]

    def _take(self, maker: RoomMaker, order: WorkOrder[Crew]) -> set[int] | None:
        """Take for one gang after the other. If that ends because it was done for as many as the policy
        allows, the ids of those that had their turn; else None."""
        session = self._session
        most = session.policy.beneficiaries
        tried: set[int] = set()
        served = 0
        while (crew := order.pop()) is not None:
            if served == most:
                return tried
            tried.add(id(crew))
            if session.policy.stepwise and self._lined_up != session.state.changes:
                self._line_up()
                self._lined_up = session.state.changes
            kind = self._kind(crew)
            if kind is not None and self._fails(kind):
                continue
            promised = latest_promise(crew) is not None
            outcome = self._room_for(maker, crew)
            if outcome is None:
                if kind is not None:
                    self._note(kind)
                continue
            # Whoever is to leave for those that were promised room before may be kept by a budget.
            served += not promised
            session.findings.served(crew)
            for member in outcome.tried:
                # Placed again, a gang may get what it lacked before, too.
                session.findings.served(member.crew)
            if session.policy.stepwise:
                again = {id(member) for member in outcome.gone}
                removals = session.findings.removals
                removals[:] = [removal for removal in removals if id(removal.member) not in again]
            for member in outcome.gone:
                verdict = self.verdict(crew, member)
                session.findings.removals.append(Removal(member, verdict, crew))
            for member in outcome.withdrawn:
                session.findings.waits(member.crew, self.verdict(crew, member))
            for member in outcome.moved:
                verdict = Verdict(reason=Reason.CONSOLIDATED, facts=(for_workload(crew),))
                session.findings.removals.append(Removal(member, verdict, crew))
            if session.policy.stepwise:
                set_out(member.crew for member in outcome.moved)
            else:
                self._hold_back(outcome)
        return None

    def _hold_back(self, outcome: Outcome) -> None:
        """Of gangs of which members have to leave or to move, those that were given a place by this decision
        start together with those that are promised one, if they are fewer than the gang needs."""
        for crew in {id(member.crew): member.crew for member in outcome.disturbed}.values():
            placed = [member for member in crew.members if member.status is Status.PLACED]
            if placed and promise_all(crew, placed):
                for member in placed:
                    self._session.state.defer(member)

    def _room_for(self, maker: RoomMaker, crew: Crew) -> Outcome | None:
        """Room for what the gang wants next; for other subgroups of it instead, where it can do without some
        and those that it would have first cannot have room."""
        if crew.lines is None:
            return maker.make_room(crew) if self.may_try(crew) else None
        session = self._session
        try:
            for choice in range(1 + min(session.policy.gang_search, MOST_TAKEN_FOR)):
                crew.choose(choice)
                if not next_want(crew, session.placer).members:
                    return None
                if self.may_try(crew) and (outcome := maker.make_room(crew)) is not None:
                    return outcome
            return None
        finally:
            crew.choose(0)

    def maker(self) -> RoomMaker:
        """Who looks for room by the rule of this step."""
        session = self._session
        session.state.look_ahead()
        return RoomMaker(
            session.state,
            session.placer,
            session.crews.prepare,
            self._victims,
            self._turns,
            self.rule,
            self.may_give,
            self._side_of,
            session.policy.victim_search,
            partial(spare, now=session.now) if session.policy.spare_victims else None,
        )

    def entitled(self, crew: Crew) -> bool:
        """Whether the gang can be served by this step at all, by what does not change during it."""
        return True

    def may_try(self, crew: Crew) -> bool:
        """Whether the gang may take, as things stand."""
        return True

    def in_vain(self, crew: Crew) -> bool:
        """Whether it is known without asking anybody that nothing can be taken for the gang."""
        return not self.may_try(crew)

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        """Whether a gang that runs may be asked to leave for another."""
        raise NotImplementedError

    def may_give(self, victims: Sequence[Member]) -> bool:
        """Whether anything could come of asking these members of a gang to leave."""
        return True

    def side(self, crew: Crew, queue: str) -> Hashable:
        """Equal for queues of which a gang may take equally much."""
        return queue

    def _side_of(self, crew: Crew, victim: Crew) -> Hashable:
        return self.side(crew, victim.gang.queue)

    def rule(self, crew: Crew) -> Legal:
        """The test of what would become of the cluster."""
        raise NotImplementedError

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        """Why a pod has to leave."""
        raise NotImplementedError

    def victims(self, crew: Crew) -> dict[str, list[Crew]]:
        """The gangs that may be asked to leave for a gang, by queue, the youngest first."""
        found: dict[str, list[Crew]] = {}
        for queue in self.candidates.queues():
            for victim in self.candidates.of(queue):
                if victim is not crew and self.may_be_asked(crew, victim):
                    found.setdefault(victim.gang.queue, []).append(victim)
        return found

    def batches(self, crew: Crew, ruled_out: RuledOut) -> Iterator[Batch]:
        """The same, in parts of which the next is only asked if those before were not enough; none empty.
        ruled_out: queues that may be left out, as is found out meanwhile."""
        found = self.victims(crew)
        if found:
            yield found

    def _victims(self, crew: Crew) -> Asked | None:
        ruled_out = RuledOut(self._session.crews.stakes().least, partial(self.side, crew))
        batches = self.batches(crew, ruled_out)
        first = next(batches, None)
        if first is None:
            return None
        costs = None
        if self._costs is not None:
            costs = partial(self._costs.keys, next_want(crew, self._session.placer).members)
        return Asked(self._session, chain((first,), batches), costs, ruled_out)

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
            if len(involved) == 1:
                yield involved[0]
                return
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


def _size(kind: tuple[object, ...]) -> tuple[tuple[object, ...], int] | None:
    """What a gang of equal pods has in common with others of more or fewer, and how many it has; None for any
    other gang."""
    *rest, shapes = kind
    assert isinstance(shapes, tuple)
    if not shapes or shapes.count(shapes[0]) < len(shapes):
        return None
    return (*rest, shapes[0]), len(shapes)


def for_workload(crew: Crew) -> Fact:
    """Which gang somebody has to leave for."""
    return Fact(test="forWorkload", subject=str(crew.gang.ref))
