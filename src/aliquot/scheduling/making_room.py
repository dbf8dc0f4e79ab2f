"""Making room: which running pods would have to leave so that a gang that waits fits, if any will do.

The members of the gang are served one after the other. For each, gangs that may be asked to leave are added
one by one, those that have the least right to stay first, and after each it is tried what would become of the
nodes of the newest one: those asked there leave, the gang is placed on what is then free, and whoever had to
leave is placed again where there is room. A pod that finds room where it was has not been disturbed at all.
The first outcome that is legal is taken. Nobody leaves unless the gang is placed in the same plan.

This way of searching is KAI-Scheduler's: victims accumulate gang by gang, and nodes are probed one at a time.
For members that all want the same, but stepwise, it is found by counting who has to leave, see `together`.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.outcomes import Legal, Outcome, fresh, nodes_of
from aliquot.scheduling.room_bound import RoomBound
from aliquot.scheduling.state import ClusterState, Point
from aliquot.scheduling.steps import Steps, Victims
from aliquot.scheduling.together import Together
from aliquot.scheduling.trial import Trial, Turns
from aliquot.scheduling.wants import next_want


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
        space = RoomBound(state, todo, self._prepare)
        trial = Trial(state, placer, self._prepare, self._turns, crew, self._rule(crew), space)
        suited = 0
        for member in () if placer.policy.stepwise else todo:
            assert member.facts is not None
            suited |= placer.placer.hosts.of(member.facts)
        side = partial(self._side, crew)
        steps = Steps(victims, placer, side, suited)
        if len(todo) > 1 and not placer.policy.stepwise and space.alike:
            outcome = Together(trial, todo, steps, side, self._may_give, self._search).outcome()
        else:
            outcome = self._one_by_one(trial, todo, steps, start)
        if outcome is None or not crew.complete:
            state.undo(start)
            return None
        if sparing and self._spare is not None and self._may_spare(outcome, space):
            fewest = self._fewest(self._spare, trial, todo, outcome, start)
            if fewest is None:
                state.undo(start)
                return self.make_room(crew, sparing=False)
            outcome = fewest
        return self._settled(outcome)

    def _one_by_one(self, trial: Trial, todo: Sequence[Member], steps: Steps, start: Point) -> Outcome | None:
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
                done = self._at_once(trial, todo, known)
                if done is not None:
                    outcome = done
                    break
                state.undo(start)
            outcome = self._serve(trial, todo[:count], known, near, steps)
            if outcome is None:
                break
        return outcome

    def _fewest(
        self,
        spare: Callable[[Sequence[Member], Callable[[Sequence[Member]], bool]], Sequence[Member]],
        trial: Trial,
        members: Sequence[Member],
        outcome: Outcome,
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
            trial.space.begin(members, leave)
            tried, found = leave, None
            if trial.space.suffices:
                found, _ = trial.outcome(members, leave, leave, leave)
            if found is not None and not trial.crew.complete:
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

    def _at_once(self, trial: Trial, members: Sequence[Member], leave: Sequence[Member]) -> Outcome | None:
        """The outcome for all members if these leave."""
        for member in leave:
            self._state.evict(member)
        trial.space.begin(members, leave)
        if not trial.space.suffices:
            return None
        found, _ = trial.outcome(members, leave, leave, leave)
        return found

    def _serve(
        self,
        trial: Trial,
        members: Sequence[Member],
        known: Sequence[Member],
        near: Sequence[Member],
        steps: Steps,
    ) -> Outcome | None:
        """Make room for some members. known: those disturbed for all of these but the last. near: those of
        them whose nodes are looked at."""
        state, space = self._state, trial.space
        start = state.mark()
        for member in known:
            state.evict(member)
        space.begin(members, known)
        evicted = state.mark()
        if known and space.suffices:
            outcome, _ = trial.outcome(members, known, known, near)
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
                if not judging or not trial.forbidden(members, leaving):
                    outcome, placed = trial.outcome(members, leaving, accumulated, (*near, *leave))
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
