"""A bound on whether members of a gang can fit, before it is tried."""

from collections.abc import Callable, Iterable, Sequence

from aliquot.fractions.requests import Kind
from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.losses import elastic
from aliquot.scheduling.objectives import wants_accelerators
from aliquot.scheduling.state import ClusterState


class RoomBound:
    """A bound on whether members can fit: accelerators on nodes, with those of everybody asked to leave.

    Cheap to keep, and never wrong when it says no. It counts how often the smallest request goes into what
    each node would have, and whether the largest goes into any.
    """

    def __init__(
        self, state: ClusterState, todo: Sequence[Member], prepare: Callable[[Member], None]
    ) -> None:
        """prepare: finds out what has to be known of a pod before it can be placed anew."""
        self._state = state
        self._prepare = prepare
        self._todo = todo
        self._charges = {id(member): _accelerators(state, member) for member in todo}
        self._only = all(member.facts is not None and wants_accelerators(member.facts) for member in todo)
        self._idle = state.idle_accelerators()
        self._base = self._idle.by_node
        self._feasible = self._idle.some
        self._free: dict[int, float] = {}
        self._least = self._most = 0.0
        self._count = self._wanted = 0
        self._largest = 0.0
        self._times: dict[float, int] = {}
        self._before: dict[int, float] = {}
        self._enough = False
        self._total = self._idle.total()
        self._needed = 0.0
        self._all_whole: bool | None = None

    def begin(self, members: Sequence[Member], known: Sequence[Member]) -> None:
        """Start again for these members, with the known victims gone."""
        needs = [self._charges[id(member)] for member in members]
        self._least, self._most = min(needs), max(needs)
        self._wanted = len(members)
        self._needed = sum(needs)
        self._free = {}
        self._largest = self._idle.most()
        if self._least > 0:
            if self._least not in self._times:
                self._times[self._least] = sum(
                    int(free / self._least + _SLACK) * count for free, count in self._idle.nodes.items()
                )
            self._count = self._times[self._least]
        self.add(known)
        self._before, self._enough = dict(self._free), self.suffices

    def helps(self, leave: Iterable[Member]) -> bool:
        """Whether a member may fit on a node that these leave, if none does without that."""
        if self._enough or self._least <= 0:
            return True
        found: dict[int, float] = {}
        for member in leave:
            hold = member.hold
            assert hold is not None
            before = found.get(hold.number)
            if before is None:
                before = self._before.get(hold.number, self._base[hold.number])
            found[hold.number] = before + float(hold.charge.get(GPU, 0) / UNIT)
        return any(free + _SLACK >= self._least for free in found.values())

    @property
    def alike(self) -> bool:
        """Whether all members want the same number of accelerators, and at least some."""
        wanted = set(self._charges.values())
        return len(wanted) == 1 and wanted != {0.0}

    @property
    def scattered(self) -> bool:
        """Whether those who leave may make no room although they hold as much: they have to be on one node
        for a member that wants more than one device."""
        return not self.suffices and self._least > 1

    def would_do(self, crews: Iterable[Crew]) -> bool:
        """Whether the members may fit if these gangs left, too."""
        self.add(member for crew in crews for member in crew.members if member.hold is not None)
        return self.suffices

    def gains(self, leave: Iterable[Member]) -> bool:
        """Whether there would be room for more of the least requests if these left, too."""
        found: dict[int, float] = {}
        for member in leave:
            hold = member.hold
            assert hold is not None
            number = hold.number
            before = found.get(number)
            if before is None:
                before = self._free.get(number, self._base[number])
            found[number] = before + float(hold.charge.get(GPU, 0) / UNIT)
        return any(
            int(after / self._least + _SLACK)
            > int(self._free.get(number, self._base[number]) / self._least + _SLACK)
            for number, after in found.items()
        )

    def costs_all(self, leaving: Sequence[Member]) -> bool:
        """Whether all of these would be lost if the members got their places: with what is idle anywhere, too
        little is left over for any gang of them, or for any pod of a gang that gives up single pods.

        Nobody has an idle device, members want 3, and gangs with 2 and 2 leave: 1 is left over, so both gangs
        are lost. Said only where what everybody wants and holds is whole devices.
        """
        if not self._whole():
            return False
        units: dict[int, list[Amount]] = {}
        freed: Amount = 0
        for member in leaving:
            hold = member.hold
            assert hold is not None
            amount = hold.charge.get(GPU, 0)
            if not amount or amount % UNIT or hold.groups or (hold.claims and not self._exact(member)):
                return False
            freed += amount
            units.setdefault(id(member.crew), []).append(amount)
        slack = self._total + freed / UNIT - self._needed + _SLACK
        crews = {id(member.crew): member.crew for member in leaving}
        return all(
            (min(amounts) if elastic(crews[key]) else sum(amounts)) > slack * UNIT
            for key, amounts in units.items()
        )

    def _whole(self) -> bool:
        """Whether the members want whole devices, so many as is known already."""
        if self._all_whole is None:
            self._all_whole = all(
                charge > 0 and charge == int(charge) for charge in self._charges.values()
            ) and all(self._exact(member) for member in self._todo)
        return self._all_whole

    def _exact(self, member: Member) -> bool:
        self._prepare(member)
        facts = member.facts
        return facts is not None and facts.alternative is None and self._state.wanted.is_exact(facts)

    def add(self, victims: Iterable[Member]) -> None:
        """Count what these would leave behind."""
        for member in victims:
            hold = member.hold
            assert hold is not None
            before = self._free.get(hold.number, self._base[hold.number])
            after = before + float(hold.charge.get(GPU, 0) / UNIT)
            self._free[hold.number] = after
            self._largest = max(self._largest, after)
            if self._least > 0:
                self._count += int(after / self._least + _SLACK) - int(before / self._least + _SLACK)

    @property
    def suffices(self) -> bool:
        """Whether the members may fit."""
        if self._least <= 0:
            return self._largest + _SLACK >= self._most
        return self._count >= self._wanted and self._largest + _SLACK >= self._most

    def bands(self, evicted: Iterable[Member]) -> list[int] | None:
        """The nodes to be looked at: those with accelerators free, and those that somebody leaves."""
        if not self._only:
            return None
        found = self._feasible
        for member in evicted:
            assert member.hold is not None
            found |= 1 << member.hold.number
        return [found]


_SLACK = 1e-6
"""For the rounding of fractions: the bound may be too generous, never too strict."""


def in_parts(state: ClusterState, member: Member) -> bool:
    """Whether a member wants parts of devices that count otherwise in queues than on nodes, or on some nodes
    than on others."""
    gpus = None if member.facts is None else member.facts.gpus
    if member.facts is None or gpus is None:
        return False
    return bool(gpus.mig) or gpus.kind is Kind.MEMORY or state.slots.vary(member.facts)


def _accelerators(state: ClusterState, member: Member) -> float:
    """How many accelerators a member wants, as far as that is known before it has a node; of parts that count
    otherwise in queues than on nodes, nothing."""
    assert member.facts is not None
    if in_parts(state, member):
        return 0.0
    return float(state.wanted.charge(member.facts).get(GPU, 0) / UNIT)
