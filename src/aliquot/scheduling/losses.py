"""What gangs lose when members leave, as the rules of taking judge it."""

from collections.abc import Callable, Collection, Iterable, Sequence

from aliquot.queues.amounts import Charge, total
from aliquot.scheduling.choosing import bundles
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.workloads.subgroups import satisfied, surplus


def elastic(crew: Crew) -> bool:
    """Whether it has more members than it needs, and gives those up one by one."""
    if crew.gang.together:
        return False
    if crew.lines is not None and surplus(crew.gang.root, lambda name: len(crew.leaves[name].members)):
        return True
    return any(len(leaf.members) > leaf.minimum for leaf in crew.leaves.values())


def by_crew(members: Iterable[Member]) -> list[tuple[Crew, list[Member]]]:
    """The members gang by gang, in the order of each one's first."""
    found: dict[int, tuple[Crew, list[Member]]] = {}
    for member in members:
        known = found.get(id(member.crew))
        if known is None:
            found[id(member.crew)] = (member.crew, [member])
        else:
            known[1].append(member)
    return list(found.values())


def bundles_of(members: Sequence[Member], lost: Collection[Status]) -> list[Charge]:
    """What a gang loses, in the steps in which it is judged: pods beyond the minimum each, and subgroups that
    it can do without, then the rest.

    members: those asked to leave, in the order in which they were; only those in one of the states `lost` are
    counted.
    """
    if len(members) == 1 and members[0].leaf.minimum:
        only = members[0]
        return [only.hold.charge] if only.hold is not None and only.status in lost else []
    if members and members[0].crew.gang.together:
        whole = [item.hold.charge for item in members if item.hold is not None and item.status in lost]
        return [total(whole)] if whole else []
    if members and members[0].crew.lines is not None:
        parts = ([item for item in part if item.status in lost] for part in bundles(members))
        return [total(item.hold.charge for item in part if item.hold is not None) for part in parts if part]
    by_leaf: dict[int, list[Member]] = {}
    for member in members:
        by_leaf.setdefault(id(member.leaf), []).append(member)
    core: list[Charge] = []
    found: list[Charge] = []
    for asked in by_leaf.values():
        minimum = asked[0].leaf.minimum
        for place, member in enumerate(asked):
            if member.hold is not None and member.status in lost:
                (core if place < minimum else found).append(member.hold.charge)
    if core:
        found.append(total(core))
    return found


def keeps_minimum(asked: Iterable[Member], protected: Callable[[Crew], bool] | None) -> bool:
    """Whether every elastic gang in its minimum run time keeps its minimum of those not asked to leave.
    protected: whether a gang is in that time; None: none is."""
    if protected is None:
        return True
    for crew, members in by_crew(asked):
        if not elastic(crew) or not protected(crew):
            continue
        if crew.lines is not None:
            left = {name: leaf.using for name, leaf in crew.leaves.items()}
            for member in members:
                left[member.leaf.group.name] -= 1
            if not satisfied(crew.gang.root, left.__getitem__):
                return False
            continue
        for leaf in crew.leaves.values():
            leaving = sum(1 for member in members if member.leaf is leaf)
            if leaving and leaf.using - leaving < leaf.minimum:
                return False
    return True
