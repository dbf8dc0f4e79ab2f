"""Making room: which running pods would have to leave so that a gang that waits fits, if any will do.

The members of the gang are served one after the other. For each, gangs that may be asked to leave are added
one by one, those that have the least right to stay first, and after each it is tried what would become of the
nodes of the newest one: those asked there leave, the gang is placed on what is then free, and whoever had to
leave is placed again where there is room. A pod that finds room where it was has not been disturbed at all.
The first outcome that is legal is taken. Nobody leaves unless the gang is placed in the same plan.

This way of searching is KAI-Scheduler's: victims accumulate gang by gang, and nodes are probed one at a time.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

from aliquot.queues.amounts import Charge
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.outcomes import Legal, Outcome, fresh, in_part, nodes_of
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.room_bound import RoomBound
from aliquot.scheduling.state import ClusterState, Point
from aliquot.scheduling.steps import Steps, Victims, charge_of, holds_as_much
from aliquot.scheduling.wants import next_want

Turns = Callable[[Crew, Sequence[Member], Sequence[Crew]], Iterable[Crew]]
"""The order in which members of a gang that wait, and gangs that had to leave for it, are placed."""


class RoomMaker:
    """Looks for room for gangs in one state of a cluster, by one rule of who may be asked to leave."""

    def __init__(
        self,
        state: ClusterState,
        placer: GangPlacer,
        prepare: Callable[[Member], None],
        victims: Callable[[Crew], Victims | None],
        turns: Turns,
        rule: Callable[[Crew], Legal],
        may_give: Callable[[Sequence[Member]], bool],
        side: Callable[[Crew, Crew], Hashable],
        search: int | None,
        spare: Callable[[Sequence[Member], Callable[[Sequence[Member]], bool]], Sequence[Member]] | None,
    ) -> None:
        """prepare: finds out what has to be known of a pod before it can be placed anew. rule: makes the test
        of outcomes for a gang, before anybody is asked. may_give: whether anything could come of asking some
        members of a gang. side: equal for victims of which a gang may take equally much. search: how many
        gangs may be asked for one member, besides those that leave already; None: any number. spare: of those
        who leave, who has to, found by trying who is enough; None: all."""
        self._state = state
        self._placer = placer
        self._prepare = prepare
        self._victims = victims
        self._turns = turns
        self._rule = rule
        self._may_give = may_give
        self._side = side
        self._search = search
        self._spare = spare

    def make_room(self, crew: Crew, *, sparing: bool = True) -> Outcome | None:
        """Have pods leave so that the gang is promised what it lacks; None, and nothing is done, if none will
        do."""
        state, placer = self._state, self._placer
        todo = next_want(crew, placer).members
        if not todo:
            return None
        victims = self._victims(crew)
        if victims is None:
            return None
        start = state.mark()
        legal = self._rule(crew)
        space = RoomBound(state, todo, self._prepare)
        suited = 0
        for member in () if placer.policy.stepwise else todo:
            assert member.facts is not None
            suited |= placer.placer.hosts.of(member.facts)
        steps = Steps(victims, placer, partial(self._side, crew), suited)
        outcome: Outcome | None = None
        if len(todo) > 1 and not placer.policy.stepwise and space.alike:
            outcome = self._together(crew, todo, legal, space, steps)
            if outcome is None and steps.over:
                state.undo(start)
                return None
        if outcome is None:
            outcome = self._one_by_one(crew, todo, legal, space, steps, start)
        if outcome is None or not crew.complete:
            state.undo(start)
            return None
        if sparing and self._spare is not None and self._may_spare(outcome, space):
            fewest = self._fewest(self._spare, crew, todo, outcome, legal, space, start)
            if fewest is None:
                state.undo(start)
                return self.make_room(crew, sparing=False)
            outcome = fewest
        return self._settled(outcome)

    def _together(
        self, crew: Crew, members: Sequence[Member], legal: Legal, space: RoomBound, steps: Steps
    ) -> Outcome | None:
        """Have all that have to leave for members that want the same found by counting, and try that at once.

        If it is not allowed, those found last stay and others are looked for in their place; if the members
        find no room, others are to leave, too. Notes in the steps that no other way is worth a try.
        """
        state = self._state
        start = state.mark()
        leaving: list[Member] = []
        last: dict[int, list[Member]] = {}
        asked: dict[int, list[Member]] = {}
        at_node: dict[int, dict[int, None]] = {}
        ruled_out: dict[Hashable, list[Charge]] = {}
        number = 0
        steps.over = True
        space.begin(members, ())
        if space.scattered and not steps.gather(space.would_do, self._search):
            return None
        space.begin(members, ())
        short = False
        while True:
            if space.suffices and not short:
                before = state.mark()
                outcome, placed = self._try(crew, members, leaving, leaving, leaving, legal, space)
                if outcome is not None:
                    return outcome
                steps.refusals += placed
                steps.unplaced += not placed
                short = not placed
                if placed and last:
                    staying = {id(member) for gang in last.values() for member in gang}
                    leaving = [member for member in leaving if id(member) not in staying]
                    asked.update(last)
                    last = {}
                    state.undo(start)
                    for member in leaving:
                        state.evict(member)
                    space.begin(members, leaving)
                else:
                    state.undo(before)
                    short = True
            if steps.hopeless or (self._search is not None and number >= self._search + len(leaving)):
                return None
            if number == len(steps.found):
                # Who is asked next depends on the state before anybody left.
                state.undo(start)
                if not steps.extend():
                    return None
                for member in leaving:
                    state.evict(member)
            victims = steps.found[number]
            number += 1
            charge, side = charge_of(victims), self._side(crew, victims[0].crew)
            if holds_as_much(charge, ruled_out.get(side, ())):
                continue
            if steps.barred(victims) or not self._may_give(victims):
                continue
            for member in victims:
                assert member.hold is not None
                asked.setdefault(id(member.crew), []).append(member)
                at_node.setdefault(member.hold.number, {})[id(member.crew)] = None
            for node in nodes_of(victims[0].crew):
                leave = [member for gang in at_node.get(node, ()) if gang in asked for member in asked[gang]]
                if not space.gains(leave):
                    continue
                before = state.mark()
                for member in leave:
                    state.evict(member)
                if self._forbidden(members, (*leaving, *leave), legal, space):
                    state.undo(before)
                    steps.refusals += 1
                    if len(leave) == len(victims):
                        ruled_out.setdefault(side, []).append(charge)
                        steps.rule_out(side, charge)
                    break
                space.add(leave)
                leaving += leave
                last = {gang: asked.pop(gang) for gang in at_node[node] if gang in asked}
                short = False
                break

    def _one_by_one(
        self,
        crew: Crew,
        todo: Sequence[Member],
        legal: Legal,
        space: RoomBound,
        steps: Steps,
        start: Point,
    ) -> Outcome | None:
        """Serve one member after the other."""
        state, placer = self._state, self._placer
        outcome: Outcome | None = None
        leaving: set[int] = set()
        for count in range(1, len(todo) + 1):
            known = self._known(outcome, steps)
            near = known if outcome is None or not placer.policy.stepwise else outcome.disturbed
            state.undo(start)
            more = {id(member) for member in known}
            if not placer.policy.stepwise and not more <= leaving:
                # Those who leave for the first members often leave room for all.
                leaving = more
                done = self._at_once(crew, todo, known, legal, space)
                if done is not None:
                    outcome = done
                    break
                state.undo(start)
            outcome = self._serve(crew, todo[:count], known, near, legal, space, steps)
            if outcome is None:
                break
        return outcome

    def _fewest(
        self,
        spare: Callable[[Sequence[Member], Callable[[Sequence[Member]], bool]], Sequence[Member]],
        crew: Crew,
        members: Sequence[Member],
        outcome: Outcome,
        legal: Legal,
        space: RoomBound,
        start: Point,
    ) -> Outcome | None:
        """The outcome with nobody leaving in vain; None, and anything may be done, if it cannot be had."""
        tried: Sequence[Member] = ()
        found: Outcome | None = None

        def enough(leave: Sequence[Member]) -> bool:
            nonlocal tried, found
            state = self._state
            state.undo(start)
            for member in leave:
                state.evict(member)
            space.begin(members, leave)
            tried, found = leave, None
            if space.suffices:
                found, _ = self._try(crew, members, leave, leave, leave, legal, space)
            if found is not None and not crew.complete:
                found = None
            return found is not None

        fewest = spare(outcome.disturbed, enough)
        if len(fewest) == len(outcome.disturbed) and not tried:
            return outcome
        if found is None or {id(member) for member in fewest} != {id(member) for member in tried}:
            enough(fewest)
        return found

    def _may_spare(self, outcome: Outcome, space: RoomBound) -> bool:
        """Whether fewer might be enough, as far as is known without trying."""
        if len(outcome.disturbed) < 2:
            return False
        return self._placer.policy.stepwise or not space.costs_all(outcome.disturbed)

    def _settled(self, outcome: Outcome) -> Outcome:
        """The outcome without those that had nothing but what this decision gave them."""
        given = [member for member in outcome.disturbed if fresh(member)]
        if not given:
            return outcome
        for member in given:
            self._state.withdraw(member)
        gone = tuple(member for member in outcome.gone if member.status is not Status.WAITING)
        moved = tuple(member for member in outcome.moved if member.moved is not None)
        withdrawn = tuple(member for member in given if member.status is Status.WAITING)
        return Outcome(gone, moved, outcome.asked, withdrawn, outcome.tried)

    def _known(self, outcome: Outcome | None, steps: Steps) -> Sequence[Member]:
        """Who is to leave from the start when one more member is served: those who have to, with all that
        were asked of their gangs; stepwise, with all that were asked together with them."""
        if outcome is None:
            return ()
        if not self._placer.policy.stepwise:
            # With one of a gang that cannot do without it, the others may have to leave, too.
            crews = {id(member.crew) for member in outcome.disturbed}
            return [member for member in outcome.tried if id(member.crew) in crews]
        disturbed = {id(member) for member in outcome.disturbed}
        return [
            member
            for step in steps.found
            if any(id(member) in disturbed for member in step)
            for member in step
        ]

    def _at_once(
        self, crew: Crew, members: Sequence[Member], leave: Sequence[Member], legal: Legal, space: RoomBound
    ) -> Outcome | None:
        """The outcome for all members if these leave."""
        for member in leave:
            self._state.evict(member)
        space.begin(members, leave)
        if not space.suffices:
            return None
        found, _ = self._try(crew, members, leave, leave, leave, legal, space)
        return found

    def _serve(
        self,
        crew: Crew,
        members: Sequence[Member],
        known: Sequence[Member],
        near: Sequence[Member],
        legal: Legal,
        space: RoomBound,
        steps: Steps,
    ) -> Outcome | None:
        """Make room for some members. known: those disturbed for all of these but the last. near: those of
        them whose nodes are looked at."""
        state = self._state
        start = state.mark()
        for member in known:
            state.evict(member)
        space.begin(members, known)
        evicted = state.mark()
        if known and space.suffices:
            outcome, _ = self._try(crew, members, known, known, near, legal, space)
            if outcome is not None:
                return outcome
            state.undo(evicted)
        passed = {id(member) for member in known}
        tried = 0 if self._placer.policy.stepwise else steps.tried
        asked: dict[int, list[Member]] = {}
        at_node: dict[int, dict[int, None]] = {}
        accumulated = list(known)
        number = considered = 0
        judging = not self._placer.policy.stepwise
        while self._search is None or considered < self._search:
            if steps.hopeless:
                return None
            if number == len(steps.found):
                # Who is asked next depends on the state before anybody left.
                state.undo(start)
                more = steps.extend()
                for member in known:
                    state.evict(member)
                evicted = state.mark()
                if not more:
                    return None
            victims = [member for member in steps.found[number] if id(member) not in passed]
            number += 1
            considered += bool(victims)
            if not victims or (judging and (steps.barred(victims) or not self._may_give(victims))):
                continue
            for member in victims:
                assert member.hold is not None
                asked.setdefault(id(member.crew), []).append(member)
                at_node.setdefault(member.hold.number, {})[id(member.crew)] = None
            accumulated += victims
            space.add(victims)
            if number < tried or not space.suffices:
                # What would not do for fewer members will not do for more. What did may have to do again.
                continue
            for node in nodes_of(victims[0].crew):
                leave = [member for gang in at_node.get(node, ()) for member in asked[gang]]
                if not leave or not space.helps(leave):
                    continue
                for member in leave:
                    state.evict(member)
                leaving = (*known, *leave)
                outcome, placed = None, True
                if not judging or not self._forbidden(members, leaving, legal, space):
                    outcome, placed = self._try(
                        crew, members, leaving, accumulated, (*near, *leave), legal, space
                    )
                if outcome is not None:
                    steps.tried = number
                    return outcome
                state.undo(evicted)
                steps.refusals += placed
                steps.unplaced += not placed
                if placed:
                    steps.bar(victims, leave)
                    break
        return None

    @staticmethod
    def _forbidden(
        members: Sequence[Member], leaving: tuple[Member, ...], legal: Legal, space: RoomBound
    ) -> bool:
        """Whether it is known without placing anybody that it is not allowed that these leave."""
        return space.costs_all(leaving) and not legal(members, Outcome(leaving, (), leaving))

    def _try(
        self,
        crew: Crew,
        members: Sequence[Member],
        evicted: Sequence[Member],
        asked: Sequence[Member],
        near: Sequence[Member],
        legal: Legal,
        space: RoomBound,
    ) -> tuple[Outcome | None, bool]:
        """Place the members and, where there is room, those evicted. Gives the outcome if it is legal, and
        whether the members could be placed at all. asked: all that were asked to leave so far. near: those
        whose nodes are looked at beside all with accelerators free."""
        placer = self._placer
        involved = list({id(member.crew): member.crew for member in evicted}.values())
        bands = space.bands(near)
        joins = not placer.policy.stepwise
        # If nobody can be placed again it need not be tried.
        lost = joins and space.costs_all(evicted)
        for other in () if lost else involved:
            # Those, too, that this decision made leave before: they may be placed again now.
            for member in other.members:
                if member.status is Status.EVICTED:
                    self._prepare(member)
        for turn in (crew,) if lost else self._turns(crew, members, involved):
            if turn is crew:
                if isinstance(placer.place(crew, members, When.LATER, bands, joins=joins), Failure):
                    return None, False
            else:
                again = next_members(turn, placer.rank, placer.policy.by_fill, evicted=True)
                placer.place(turn, again, When.LATER, bands)
        gone = tuple(member for member in evicted if member.status is Status.EVICTED)
        moved = tuple(member for member in evicted if member.moved is not None)
        judged = tuple(asked) if placer.policy.stepwise else (*gone, *moved)
        outcome = Outcome(gone, moved, judged, tried=tuple(evicted))
        if joins and any(
            in_part(other) for other in {id(member.crew): member.crew for member in gone}.values()
        ):
            return None, True
        return (outcome, True) if legal(members, outcome) else (None, True)
