"""Who is asked to leave to make room for a gang: members of other gangs, step by step."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

from aliquot.queues.amounts import Charge, total
from aliquot.scheduling.chunks import may_leave, next_victims
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member

_FEW = 4
_MOST_MORE = 32
"""So many steps are found out at first, and so many more at a time at most."""

_MOST_ASKED = 2_000
"""So many gangs are asked for one at most, those that are of no use to it included."""

_UNPLACED = 4
"""So many times as many ways are tried in vain if it is for want of room."""


class Victims(Protocol):
    """Gangs that may be asked to leave, in the order in which they are asked, as things stood at first."""

    def pop(self) -> Crew | None:
        """The next; None if there is no more."""

    def gather(self, enough: Callable[[Iterable[Crew]], bool], most: int | None) -> bool:
        """Have so many be there to be asked that they are enough; False if all are not, or as many as `most`.
        enough: whether the room of these and of all it was asked about before may do."""

    def push(self, crew: Crew, asked: set[int]) -> None:
        """Put back a gang that can give more; asked: ids of members that have been asked already."""

    def rule_out(self, side: Hashable, charge: Charge) -> None:
        """Leave out the queues on one side in which nobody would give up less than this."""


class Steps:
    """Members that may be asked to leave, in the order and the steps in which they are asked.

    found: the steps known so far. tried: how many of them were needed for the members served so far.
    refusals: how many ways of making room were not allowed. unplaced: how many made no room.
    """

    def __init__(
        self,
        victims: Victims,
        placer: GangPlacer,
        side: Callable[[Crew], Hashable],
        suited: int,
    ) -> None:
        """side: equal for victims of which equally much may be taken. suited: the nodes (bit i: node number
        i) that members of the gang could be on; nobody else is asked, but stepwise."""
        self.found: list[list[Member]] = []
        self.tried = 0
        self._victims = victims
        self._placer = placer
        self._asked: set[int] = set()
        self._begun: set[int] = set()
        self.refusals = self.unplaced = 0
        self._side = side
        self._suited = suited
        self._barred: dict[Hashable, list[Charge]] = {}

    @property
    def hopeless(self) -> bool:
        """Whether enough ways were tried in vain."""
        most = self._placer.policy.refusals
        return most is not None and (self.refusals > most or self.unplaced > _UNPLACED * most)

    def gather(self, enough: Callable[[Iterable[Crew]], bool], most: int | None) -> bool:
        """Before the first step: whether so many may be asked, of up to as many as `most`, that they would be
        enough if all of them left."""
        return self._victims.gather(enough, most)

    def extend(self) -> bool:
        """Find out some more steps; whether there are any."""
        before = len(self.found)
        wanted = max(_FEW, min(2 * before, before + _MOST_MORE))
        placer, asked = self._placer, self._asked
        while len(self.found) < wanted and (crew := self._next()) is not None:
            step: Sequence[Member]
            if crew.giving is not None and not crew.touched and id(crew) not in self._begun:
                step = crew.giving.first
            else:
                given = placer.policy.stepwise
                step = next_victims(crew, asked, placer.rank, placer.policy.by_fill, given)
            self._begun.add(id(crew))
            asked.update(map(id, step))
            if len(step) < len(crew.members) and step and self._has_more(crew):
                self._victims.push(crew, asked)
            step = [member for member in step if member.hold is not None]
            if step and (placer.policy.stepwise or self._frees(step)):
                self.found.append(step)
        return len(self.found) > before

    def _next(self) -> Crew | None:
        """The next gang to be asked; stepwise, any number of them are."""
        if len(self._begun) >= _MOST_ASKED and not self._placer.policy.stepwise:
            return None
        return self._victims.pop()

    def _frees(self, step: Sequence[Member]) -> bool:
        """Whether some of these are where members of the gang could be."""
        for member in step:  # noqa: SIM110 - asked of everybody who may be asked to leave
            if member.hold is not None and self._suited >> member.hold.number & 1:
                return True
        return False

    def _has_more(self, crew: Crew) -> bool:
        given, asked = self._placer.policy.stepwise, self._asked
        return any(may_leave(member, given) and id(member) not in asked for member in crew.members)

    def rule_out(self, side: Hashable, charge: Charge) -> None:
        """Nobody on a side is asked any more who would give up as much."""
        self._victims.rule_out(side, charge)

    def bar(self, victims: Sequence[Member], leave: Sequence[Member]) -> None:
        """It is not allowed to take these from their side, if it was they alone who left: then neither is it
        to take others that hold as much."""
        if not self._placer.policy.stepwise and len(leave) == len(victims):
            self._barred.setdefault(self._side(victims[0].crew), []).append(charge_of(victims))

    def barred(self, victims: Sequence[Member]) -> bool:
        """Whether taking no more than these hold from their side was not allowed."""
        bounds = self._barred.get(self._side(victims[0].crew)) if self._barred else None
        return bool(bounds) and holds_as_much(charge_of(victims), bounds or ())


def holds_as_much(holds: Charge, bounds: Iterable[Charge]) -> bool:
    """Whether it is as much of everything as some of the bounds."""
    for bound in bounds:
        if all(holds.get(resource, 0) >= amount for resource, amount in bound.items()):
            return True
    return False


def charge_of(members: Sequence[Member]) -> Charge:
    """What these members hold together."""
    if len(members) == 1 and members[0].hold is not None:
        return members[0].hold.charge
    return total(member.hold.charge for member in members if member.hold is not None)
