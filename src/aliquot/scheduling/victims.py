"""Which of those that may be asked to leave are asked first, and who of them need not leave after all.

Queues and priorities decide who has the least right to stay. Among equals, those go first that lose least
together for the room that they make on one node. Once room is made, whoever can keep its place keeps it,
those that would lose most first, so that nobody leaves in vain.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.chunks import Rank, next_victims
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Member
from aliquot.scheduling.lost_work import freed, lost_work
from aliquot.scheduling.state import ClusterState

MOST_SPARED = 16
"""How many groups of victims are tried to be put back for one gang."""


Key = tuple[int, int, int, int]
"""Smaller for those to be asked sooner."""

_IN_VAIN: Key = (1, 0, 0, 0)
_MOST_STEPS = 64


@dataclass(frozen=True, slots=True)
class _Part:
    """What a victim frees on one node, in billionths of accelerators, and what is lost by it."""

    victim: int
    freed: int
    lost: int
    place: int


class VictimCosts:
    """What gangs would lose, for one decision."""

    def __init__(self, state: ClusterState, now: datetime, rank: Rank, by_fill: bool) -> None:
        self._state = state
        self._now = now
        self._rank = rank
        self._by_fill = by_fill
        self._parts: dict[int, tuple[tuple[int, _Part], ...]] = {}

    def keys(self, members: Sequence[Member], victims: Sequence[Crew]) -> dict[int, Key]:
        """The order in which victims are asked so that members find room, by id.

        For each node it is worked out who would have to leave so that the largest of the members finds room,
        and what is lost by that, then who for another one, and so on. The cheapest come first, of equals
        those that are fewest. A member wants 4 devices. One node has 2 idle, and pods with 2 that lose 100
        and 300: it costs 100. Another has 8 pods with 1 that lose 20 each: it costs 80, and again 80 for a
        second member.
        """
        charges = [
            int(self._state.wanted(member.facts).get(GPU, 0))
            for member in members
            if member.facts is not None
        ]
        most, needed = max(charges, default=0), sum(charges)
        by_node: dict[int, list[_Part]] = {}
        for place, victim in enumerate(victims):
            for number, part in self._parts_of(victim, place):
                by_node.setdefault(number, []).append(part)
        if not most:
            return {id(victim): (0, self._whole(victim), 0, 0) for victim in victims}
        totals: dict[int, int] = {}
        for parts in by_node.values():
            for part in parts:
                totals[part.victim] = totals.get(part.victim, 0) + part.freed
        found = {id(victim): _IN_VAIN for victim in victims}
        for number, parts in by_node.items():
            for key, part in self._on_node(number, parts, most, needed, totals):
                found[part.victim] = min(key, found[part.victim])
        return found

    def _on_node(
        self, number: int, parts: list[_Part], most: int, needed: int, totals: dict[int, int]
    ) -> Iterator[tuple[Key, _Part]]:
        """The parts of a node with their keys, in batches that make room for one member more each."""
        state = self._state
        free = round((state.free_accelerators(number) + state.parts.free(number)) * UNIT) % most
        costs: dict[int, int] = {}
        for part in parts:
            # A gang that frees room elsewhere, too, is not all for this node.
            useful = min(totals[part.victim], needed) or 1
            costs[id(part)] = part.lost * min(part.freed, useful) // useful
        ordered = sorted(
            (part for part in parts if part.freed),
            key=lambda part: (
                costs[id(part)] * UNIT // min(part.freed, most),
                -min(part.freed, most),
                part.place,
            ),
        )
        batch: list[_Part] = []
        price = 0
        for part in ordered:
            batch.append(part)
            price += costs[id(part)]
            free += part.freed
            if free >= most:
                for each in batch:
                    yield (0, price, len(batch), number), each
                batch, price, free = [], 0, free % most

    def _whole(self, victim: Crew) -> int:
        return lost_work((member for member in victim.members if member.hold is not None), self._now)

    def _parts_of(self, victim: Crew, place: int) -> Iterator[tuple[int, _Part]]:
        """What the gang frees on each node, in the steps in which it is asked: pods that it can do without,
        then the rest."""
        known = self._parts.get(id(victim))
        if known is None:
            asked: set[int] = set()
            parts: list[tuple[int, _Part]] = []
            for _ in range(_MOST_STEPS):
                members = next_victims(victim, asked, self._rank, self._by_fill)
                asked.update(id(member) for member in members)
                members = [member for member in members if member.hold is not None]
                if not members:
                    break
                lost = lost_work(members, self._now)
                frees: dict[int, int] = {}
                for member in members:
                    if member.hold is not None:
                        number = member.hold.number
                        frees[number] = frees.get(number, 0) + freed(member)
                parts += [(number, _Part(id(victim), free, lost, place)) for number, free in frees.items()]
                if len(asked) >= len(victim.members):
                    break
            known = self._parts[id(victim)] = tuple(parts)
        return iter(known)


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
