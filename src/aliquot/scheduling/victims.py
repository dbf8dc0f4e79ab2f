"""Which of those that may be asked to leave are asked first, and who of them need not leave after all.

Queues and priorities decide who has the least right to stay. Among equals, those go first that lose least
for what they free of what is needed. Once room is made, whoever can keep its place keeps it, those that would
lose most first, so that nobody leaves in vain.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from aliquot.queues.amounts import GPU, UNIT, Charge
from aliquot.scheduling.chunks import Rank, next_victims
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Member
from aliquot.scheduling.lost_work import freed, lost_work

MOST_SPARED = 16
"""How many groups of victims are tried to be put back for one gang."""


class VictimCosts:
    """What gangs would lose, for one decision."""

    def __init__(self, now: datetime, rank: Rank, by_fill: bool) -> None:
        self._now = now
        self._rank = rank
        self._by_fill = by_fill
        self._whole: dict[int, tuple[int, int]] = {}

    def key(self, victim: Crew, asked: set[int], needed: Charge) -> tuple[int, int]:
        """Smaller for those to be asked sooner: what the next members to leave lose for each device that they
        free and that is needed; of equals, those that free more. needed: by the gang that wants room.

        One device is needed: 100 s of 8 devices cost 800, 200 s of one device 200. Eight are needed: 100 and
        200 a device.
        """
        lost, free = self._next(victim, asked)
        useful = min(free, int(needed.get(GPU, 0)))
        if not useful:
            return (lost, 0)
        return (lost * UNIT // useful, -useful)

    def _next(self, victim: Crew, asked: set[int]) -> tuple[int, int]:
        known = None if asked else self._whole.get(id(victim))
        if known is None:
            members = next_victims(victim, asked, self._rank, self._by_fill)
            known = (lost_work(members, self._now), sum(freed(member) for member in members))
            if not asked:
                self._whole[id(victim)] = known
        return known


def groups(members: Sequence[Member], now: datetime) -> list[list[Member]]:
    """Victims in groups that leave or stay together, those that lose most first: each gang as a whole; of one
    that keeps its minimum without them, each pod."""
    by_crew: dict[int, list[Member]] = {}
    for member in members:
        by_crew.setdefault(id(member.crew), []).append(member)
    found: list[list[Member]] = []
    for own in by_crew.values():
        if _keeps_minimum(own):
            found += [[member] for member in own]
        else:
            found.append(own)
    found.sort(key=lambda group: -lost_work(group, now))
    return found


def _keeps_minimum(members: Sequence[Member]) -> bool:
    leaving = {id(member) for member in members}
    return all(
        sum(1 for member in leaf.members if member.status in ALLOCATED and id(member) not in leaving)
        >= leaf.minimum
        for leaf in members[0].crew.leaves.values()
    )


def spare(
    disturbed: Sequence[Member], attempt: Callable[[Sequence[Member]], bool], now: datetime
) -> list[Member]:
    """The victims that have to leave after all. attempt: whether it is enough if these leave."""
    left = groups(disturbed, now)
    for group in left[:MOST_SPARED]:
        if len(left) == 1:
            break
        fewer = [other for other in left if other is not group]
        if attempt([member for other in fewer for member in other]):
            left = fewer
    return [member for group in left for member in group]
