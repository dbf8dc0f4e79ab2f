"""Which members of a gang are placed, or taken away, in one go.

Below its minimum a gang gets everything that it lacks at once; beyond, one pod at a time, so that others have
their turn in between. It gives back in the same steps: what is above the minimum pod by pod, then the rest as
a whole. Where a gang can do without some of its subgroups, see `choosing`.
"""

from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice

from aliquot.scheduling.choosing import Rank, fill, given_up, ways
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Leaf, Member, Status


def by_rank(member: Member) -> tuple[object, ...]:
    """The order that the gang gives."""
    return (member.rank,)


def next_members(
    crew: Crew, rank: Rank, by_fill: bool, *, evicted: bool = False, without: Collection[int] = ()
) -> list[Member]:
    """The members to be placed next; evicted: those that this decision evicted are to be placed again too.
    without: ids of members that are not to be."""
    if evicted and crew.gang.together:
        # Some of them in their places again, and the others gone, is what the gang does not allow.
        return [member for member in crew.members if member.status is Status.EVICTED]
    if crew.lines is not None:
        found = ways(crew, rank, by_fill, evicted=evicted, without=without)
        return next(islice(found, crew.choice, None), [])
    leaves = _in_order(crew, by_fill)
    lacking = sum(1 for leaf in leaves if leaf.allocated < leaf.minimum)
    chosen: list[Member] = []
    served = 0
    for leaf in leaves:
        if served == (lacking or 1):
            break
        todo = [
            member
            for member in leaf.members
            if (member.status is Status.WAITING or (evicted and member.status is Status.EVICTED))
            and id(member) not in without
        ]
        if not todo:
            continue
        todo.sort(key=rank)
        most = 1 if leaf.allocated >= leaf.minimum else leaf.minimum - leaf.allocated
        chosen += todo[:most]
        served += 1
    return chosen


def may_leave(member: Member, given: bool) -> bool:
    """Whether a member could be asked to leave. given: so could one that this decision gave a place, unless
    claims got devices for it."""
    if member.status is Status.RUNNING:
        return True
    hold = member.hold
    if not given or hold is None or member.moved is not None or member.status not in ALLOCATED:
        return False
    return not hold.claims


def next_victims(
    crew: Crew, gone: frozenset[int] | set[int], rank: Rank, by_fill: bool, given: bool = False
) -> list[Member]:
    """The members to be taken away next, the last first; gone: ids of members taken away before; given: see
    `may_leave`."""
    if crew.gang.together:
        return [member for member in crew.members if may_leave(member, given) and id(member) not in gone]
    if crew.lines is not None:
        return given_up(crew, gone, rank, by_fill, partial(may_leave, given=given))
    counts = {
        name: sum(1 for member in leaf.members if member.status in ALLOCATED and id(member) not in gone)
        for name, leaf in crew.leaves.items()
    }
    leaves = list(crew.leaves.items())
    if by_fill:
        leaves.sort(key=lambda item: fill(counts[item[0]], item[1].minimum))
    # The reverse of the order in which they are filled: of equal ones the last gives up first.
    leaves.reverse()
    above = [(name, leaf) for name, leaf in leaves if counts[name] > leaf.minimum]
    found: list[Member] = []
    for name, leaf in above[:1] or leaves:
        running = [member for member in leaf.members if may_leave(member, given) and id(member) not in gone]
        running.sort(key=rank, reverse=True)
        found += running[:1] if counts[name] > leaf.minimum else running
    return found


def _in_order(crew: Crew, by_fill: bool) -> Sequence[Leaf]:
    """Subgroups below their minimum first, then the emptiest."""
    leaves = list(crew.leaves.values())
    if by_fill and len(leaves) > 1:
        leaves.sort(key=lambda leaf: fill(leaf.allocated, leaf.minimum))
    return leaves
