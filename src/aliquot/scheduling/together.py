"""Room for members of a gang that all want the same: all who have to leave are found by counting."""

from collections.abc import Callable, Hashable, Sequence

from aliquot.queues.amounts import Charge
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.outcomes import Outcome, nodes_of
from aliquot.scheduling.steps import Steps, charge_of, holds_as_much
from aliquot.scheduling.trial import Trial


class Together:
    """Asks one gang after the other to leave until the members might fit, and tries that at once.

    Two members want a device each. Queue `a` gives up one pod, then `b` one. If that is not allowed, because
    `b` would have too little left, `b` keeps its pod and `c` is asked. If the members find no room, although
    there are devices enough, `c` is asked as well.
    """

    def __init__(
        self,
        trial: Trial,
        members: Sequence[Member],
        steps: Steps,
        side: Callable[[Crew], Hashable],
        may_give: Callable[[Sequence[Member]], bool],
        search: int | None,
    ) -> None:
        """side, may_give, search: as of `making_room.RoomMaker`."""
        self._trial = trial
        self._state = trial.state
        self._space = trial.space
        self._members = members
        self._steps = steps
        self._side = side
        self._may_give = may_give
        self._search = search
        self._start = trial.state.mark()
        self._leaving: list[Member] = []
        self._last: dict[int, list[Member]] = {}
        self._asked: dict[int, list[Member]] = {}
        self._at_node: dict[int, dict[int, None]] = {}
        self._ruled_out: dict[Hashable, list[Charge]] = {}
        self._number = 0

    def outcome(self) -> Outcome | None:
        """What makes room; None, and anything may be done, if nothing was found that does."""
        space, steps, members = self._space, self._steps, self._members
        space.begin(members, ())
        if space.scattered and not steps.gather(space.would_do, self._search):
            return None
        space.begin(members, ())
        short = False
        while True:
            if space.suffices and not short:
                before, leaving = self._state.mark(), self._leaving
                outcome, placed = self._trial.outcome(members, leaving, leaving, leaving)
                if outcome is not None:
                    return outcome
                self._state.undo(before)
                steps.refusals += placed
                steps.unplaced += not placed
                if placed and self._last:
                    self._keep_last()
                # Whoever is left to leave then was too few by count, or was tried before.
                short = True
            victims = self._next()
            if victims is None:
                return None
            if self._ask(victims):
                short = False

    def _next(self) -> list[Member] | None:
        """Who is asked next; None if that is nobody, or enough was tried in vain."""
        state, steps = self._state, self._steps
        if steps.hopeless:
            return None
        if self._search is not None and self._number >= self._search + len(self._leaving):
            return None
        if self._number == len(steps.found):
            # Who is asked next depends on the state before anybody left.
            state.undo(self._start)
            if not steps.extend():
                return None
            for member in self._leaving:
                state.evict(member)
        self._number += 1
        return steps.found[self._number - 1]

    def _ask(self, victims: Sequence[Member]) -> bool:
        """Ask some members of a gang. Whether anybody leaves now: they, with all who were asked before on one
        of their nodes, if that makes room there and is not forbidden."""
        state, steps, space, asked = self._state, self._steps, self._space, self._asked
        charge, side = charge_of(victims), self._side(victims[0].crew)
        if holds_as_much(charge, self._ruled_out.get(side, ())):
            return False
        if not self._may_give(victims):
            return False
        for member in victims:
            assert member.hold is not None
            asked.setdefault(id(member.crew), []).append(member)
            self._at_node.setdefault(member.hold.number, {})[id(member.crew)] = None
        for node in nodes_of(victims[0].crew):
            there = self._at_node.get(node, ())
            leave = [member for gang in there if gang in asked for member in asked[gang]]
            if not space.gains(leave):
                continue
            before = state.mark()
            for member in leave:
                state.evict(member)
            if self._trial.forbidden(self._members, (*self._leaving, *leave)):
                state.undo(before)
                steps.refusals += 1
                if len(leave) == len(victims):
                    self._ruled_out.setdefault(side, []).append(charge)
                    steps.rule_out(side, charge)
                return False
            space.add(leave)
            self._leaving += leave
            self._last = {gang: asked.pop(gang) for gang in there if gang in asked}
            return True
        return False

    def _keep_last(self) -> None:
        """Have those stay who were found last; they may leave with others of their nodes."""
        state = self._state
        stay = {id(member) for members in self._last.values() for member in members}
        self._leaving = [member for member in self._leaving if id(member) not in stay]
        self._asked.update(self._last)
        self._last = {}
        state.undo(self._start)
        for member in self._leaving:
            state.evict(member)
        self._space.begin(self._members, self._leaving)
