"""A bound on whether members of a gang can fit, before it is tried."""

from collections.abc import Iterable, Sequence

from aliquot.fractions.requests import Kind
from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.gang_state import Member
from aliquot.scheduling.objectives import wants_accelerators
from aliquot.scheduling.state import ClusterState


class RoomBound:
    """A bound on whether members can fit: accelerators on nodes, with those of everybody asked to leave.

    Cheap to keep, and never wrong when it says no. It counts how often the smallest request goes into what
    each node would have, and whether the largest goes into any.
    """

    def __init__(self, state: ClusterState, todo: Sequence[Member]) -> None:
        self._state = state
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

    def begin(self, members: Sequence[Member], known: Sequence[Member]) -> None:
        """Start again for these members, with the known victims gone."""
        needs = [self._charges[id(member)] for member in members]
        self._least, self._most = min(needs), max(needs)
        self._wanted = len(members)
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


def in_parts(member: Member) -> bool:
    """Whether a member wants parts of devices that count otherwise in queues than on nodes."""
    gpus = None if member.facts is None else member.facts.gpus
    return gpus is not None and (bool(gpus.mig) or gpus.kind is Kind.MEMORY)


def _accelerators(state: ClusterState, member: Member) -> float:
    """How many accelerators a member wants, as far as that is known before it has a node; of parts that count
    otherwise in queues than on nodes, nothing."""
    assert member.facts is not None
    if in_parts(member):
        return 0.0
    return float(state.wanted(member.facts).get(GPU, 0) / UNIT)
