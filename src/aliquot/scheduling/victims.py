"""Which of those that may be asked to leave are asked first, and who of them need not leave after all.

Queues and priorities decide who has the least right to stay. Among equals, those go first that lose least
together for the room that they make on one node. Once room is made, whoever can keep its place keeps it,
those that would lose most first, so that nobody leaves in vain.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.choosing import Rank, bundles
from aliquot.scheduling.chunks import next_victims
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Giving, Member
from aliquot.scheduling.lost_work import freed, lost_seconds, lost_work, weight
from aliquot.scheduling.state import ClusterState

MOST_SPARED = 16
"""How many groups of victims are tried to be put back for one gang."""


Key = tuple[int, int, int, int]
"""Smaller for those to be asked sooner."""

_IN_VAIN: Key = (1, 0, 0, 0)
_MOST_STEPS = 64


_Offer = tuple[int, int, int, int, int, int]
"""A part as an offer to who needs room, the better first: what is lost for a device that is of use, in
billionths; minus what is of use; the place of the victim among all; that of the part among those of its node;
what it costs; what it frees."""


class VictimCosts:
    """What gangs would lose, for one decision."""

    def __init__(self, state: ClusterState, now: datetime, rank: Rank, by_fill: bool) -> None:
        self._state = state
        self._now = now
        self._rank = rank
        self._by_fill = by_fill
        self._known: dict[int, tuple[Giving, int]] = {}

    def keys(self, members: Sequence[Member], victims: Sequence[Crew]) -> dict[int, Key]:
        """The order in which victims are asked so that members find room, by id.

        For each node it is worked out who would have to leave so that the largest of the members finds room,
        and what is lost by that, then who for another one, and so on. The cheapest come first, of equals
        those that are fewest. A member wants 4 devices. One node has 2 idle, and pods with 2 that lose 100
        and 300: it costs 100. Another has 8 pods with 1 that lose 20 each: it costs 80, and again 80 for a
        second member.
        """
        wanted = self._state.wanted.charge
        charges = [int(wanted(member.facts).get(GPU, 0)) for member in members if member.facts is not None]
        most, needed = max(charges, default=0), sum(charges)
        if not most:
            return {id(victim): (0, self._whole(victim), 0, 0) for victim in victims}
        by_node: dict[int, list[_Offer]] = {}
        known, giving_of = self._known, self._giving_of
        for place, victim in enumerate(victims):
            # What this decision did to a gang may have left it less to give.
            before = None if victim.touched else known.get(id(victim))
            (parts, total, _), seconds = before or giving_of(victim)
            # A gang that frees room elsewhere, too, is not all for one node.
            useful = total if total < needed else needed
            for number, frees, each in parts:
                lost = each * seconds
                cost = lost if frees >= useful else lost * frees // useful
                of_use = frees if frees < most else most
                offers = by_node.get(number)
                if offers is None:
                    offers = by_node[number] = []
                offers.append((cost * UNIT // of_use, -of_use, place, len(offers), cost, frees))
        found = [_IN_VAIN] * len(victims)
        idle = self._state.idle_accelerators().by_node
        for number, offers in by_node.items():
            if len(offers) > 1:
                offers.sort()
            free = round(idle[number] * UNIT) % most
            batch: list[int] = []
            price = 0
            for _, _, place, _, cost, frees in offers:
                batch.append(place)
                price += cost
                free += frees
                if free >= most:
                    key = (0, price, len(batch), number)
                    for member in batch:
                        if key < found[member]:
                            found[member] = key
                    batch, price, free = [], 0, free % most
        return {id(victim): key for victim, key in zip(victims, found, strict=True)}

    def _whole(self, victim: Crew) -> int:
        return lost_work((member for member in victim.members if member.hold is not None), self._now)

    def _giving_of(self, victim: Crew) -> tuple[Giving, int]:
        """What the gang frees, and the seconds of work that it loses."""
        seconds = lost_seconds(victim, self._now)
        if victim.touched:
            return self._found(victim), seconds
        if victim.giving is None:
            victim.giving = self._found(victim)
        found = self._known[id(victim)] = victim.giving, seconds
        return found

    def _found(self, victim: Crew) -> Giving:
        """What the gang frees as it is asked: first pods that it can do without, then the rest."""
        asked: set[int] = set()
        parts: list[tuple[int, int, int]] = []
        first: tuple[Member, ...] = ()
        total = 0
        for _ in range(_MOST_STEPS):
            members = next_victims(victim, asked, self._rank, self._by_fill)
            asked.update(id(member) for member in members)
            members = [member for member in members if member.hold is not None]
            if not members:
                break
            first = first or tuple(members)
            frees: dict[int, int] = {}
            for member in members:
                if member.hold is not None:
                    number = member.hold.number
                    frees[number] = frees.get(number, 0) + freed(member)
            lost = sum(weight(freed(member)) for member in members)
            parts += [(number, free, lost) for number, free in frees.items() if free]
            total += sum(frees.values())
            if len(asked) >= len(victim.members):
                break
        return Giving(tuple(parts), total, first)


def groups(members: Sequence[Member], now: datetime) -> list[list[Member]]:
    """Victims in groups that leave or stay together, those that lose most first: each gang as a whole; of one
    that keeps its minimum without them, each pod, or each subgroup that it can do without."""
    by_crew: dict[int, list[Member]] = {}
    for member in members:
        by_crew.setdefault(id(member.crew), []).append(member)
    found: list[list[Member]] = []
    for own in by_crew.values():
        if own[0].crew.lines is not None and not own[0].crew.gang.together:
            found += bundles(own)
        elif _keeps_minimum(own):
            found += [[member] for member in own]
        else:
            found.append(own)
    found.sort(key=lambda group: -lost_work(group, now))
    return found


def _keeps_minimum(members: Sequence[Member]) -> bool:
    leaving = {id(member) for member in members}
    return not members[0].crew.gang.together and all(
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
