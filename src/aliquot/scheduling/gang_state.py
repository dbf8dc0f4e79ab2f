"""Gangs as one decision changes them: what each member is up to, and how full each subgroup is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.model.verdicts import Verdict
from aliquot.queues.amounts import Amount, Charge
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.nodes import Demand
from aliquot.workloads.gang import Gang
from aliquot.workloads.sources.source import GroupKey
from aliquot.workloads.subgroups import SubGroup, lines, satisfied, selective, surplus


class Status(IntEnum):
    """What a member is up to.

    HELD: it waits, but not for room (another gate, a claim that is not there). WAITING: it is to be placed.
    RUNNING: it has its place already. PLACED: it gets one now. PROMISED: it gets one once something leaves.
    LEAVING: it is being deleted. EVICTED: this decision makes it leave. ENDED: it has succeeded or failed.
    """

    HELD = 0
    WAITING = 1
    RUNNING = 2
    PLACED = 3
    PROMISED = 4
    LEAVING = 5
    EVICTED = 6
    ENDED = 7


ALLOCATED = frozenset({Status.RUNNING, Status.PLACED, Status.PROMISED})
"""Has a place and keeps it."""
USING = ALLOCATED | {Status.LEAVING, Status.EVICTED}
"""Holds room on some node."""
READY = ALLOCATED | {Status.WAITING, Status.EVICTED}
"""Counts towards what a gang needs before it is tried."""

_COUNTS = tuple(
    (
        int(status in ALLOCATED),
        int(status in USING),
        int(status in READY),
        int(status in (Status.RUNNING, Status.PLACED)),
        int(status is Status.WAITING),
    )
    for status in Status
)
"""By status, what a member adds to the counts of its leaf: allocated, using, ready, placed, waiting."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a member holds where. number, node: of its node. claims: those that it uses with what they hold.
    groups: shared devices of which it has a part. charge: what it counts for in its queue. given: what its
    holder is by it: RUNNING, or what this decision made of it."""

    number: int
    node: str
    demand: Demand
    claims: tuple[tuple[ResourceClaim, AllocationResult], ...]
    groups: tuple[str, ...]
    charge: Charge
    given: Status = Status.RUNNING


class Member:
    """A pod of a gang. facts: what deciding needs to know of it; None until somebody asks (see `Crew`).

    hold: what it holds in the cluster, or was given now. moved: the place that it was promised after having
    been evicted from `hold`. origin: what it holds in the cluster while `hold` stands for what it was
    promised instead (see `under_way`).
    """

    __slots__ = ("crew", "facts", "hold", "leaf", "moved", "origin", "pod", "rank", "status")

    def __init__(self, pod: Pod, crew: "Crew", leaf: "Leaf", rank: int, status: Status) -> None:
        self.pod = pod
        self.crew = crew
        self.leaf = leaf
        self.rank = rank
        self.status = status
        self.facts: PodFacts | None = None
        self.hold: Hold | None = None
        self.moved: Hold | None = None
        self.origin: Hold | None = None

    @property
    def key(self) -> Key:
        return self.pod.key

    @property
    def groups(self) -> tuple[str, ...]:
        """The shared devices of which it has, or will have, a part."""
        hold = self.moved or self.hold
        return () if hold is None else hold.groups

    @property
    def node(self) -> str:
        """The name of the node that it has, or will have."""
        hold = self.moved or self.hold
        return "" if hold is None else hold.node

    def become(self, status: Status) -> None:
        """Change what the member is up to, and the counts of its leaf."""
        before, after, leaf = _COUNTS[self.status], _COUNTS[status], self.leaf
        leaf.allocated += after[0] - before[0]
        leaf.using += after[1] - before[1]
        leaf.ready += after[2] - before[2]
        leaf.placed += after[3] - before[3]
        leaf.waiting += after[4] - before[4]
        crew = self.crew
        crew.allocated += after[0] - before[0]
        crew.unplaced += after[4] - before[4]
        self.status = status


class Leaf:
    """A subgroup without subgroups of its own. Counts of its members: allocated (see ALLOCATED), using,
    ready, placed (running or placed now), waiting."""

    __slots__ = ("allocated", "group", "members", "minimum", "placed", "ready", "using", "waiting")

    def __init__(self, group: SubGroup, minimum: int) -> None:
        self.group = group
        self.minimum = minimum
        self.members: list[Member] = []
        self.allocated = self.using = self.ready = self.placed = self.waiting = 0


class Giving(NamedTuple):
    """What a gang frees, step by step. parts: for each step and node that gets accelerators by it the number
    of the node, how many in billionths, and the weight of what the step loses for each second of work (see
    `lost_work.weight`). total: all accelerators together. first: who leaves in the first step."""

    parts: tuple[tuple[int, int, int], ...]
    total: int
    first: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """What a gang wants next: the members to be placed, in that order, and what they want together.

    charge: what they count for in their queue, as far as that is known before they have nodes. largest: the
    most accelerators of any, in billionths. exact: whether the charge is what they will count for, in_parts:
    whether some want parts of devices that count otherwise in queues than on nodes. shapes: of each; None if
    one is like no other pod. kind: equal for gangs with equal shapes and equal terms of closeness, see
    `Kinds`; None without shapes.
    """

    members: tuple[Member, ...]
    charge: Charge
    largest: Amount
    exact: bool
    in_parts: bool
    shapes: tuple[Shape, ...] | None
    kind: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """Members of a gang that wait, by name. pods: theirs; refs: how these are named; named: see
    `recording.naming`. gated: those behind Aliquot's gate, if any of them has claims. stranded: those that
    are made anew once the gang cannot have the place that claims of theirs were allocated for."""

    members: tuple[Member, ...]
    pods: tuple[Pod, ...]
    refs: tuple[ObjectRef, ...]
    named: bytes
    gated: tuple[Pod, ...]
    stranded: tuple[Pod, ...]


class Crew:
    """A gang with its members' state. group: what its pods are grouped by. leaves: by name, in the order of
    the tree. lines: of a gang that can do without some of its subgroups, for each leaf by name the groups
    from the root down to it; None for any other. succeeded: some has. touched: how many changes of members
    are in force. allocated: how many members have a place and keep it; unplaced: how many are to be placed.
    choice: which of the ways to serve such a gang next is wanted, the preferred first.

    Kept for whoever asks, and true while the gang is untouched: holds, want, wanted: what it holds, what it
    wants next, and what it wants in all; checked: what keeps it from being tried; giving: what it frees
    step by step; line: who waits; turn: its place in its queue, see `Session.sort_key`. promised: since when
    it has been promised room, the latest of its members, None if it is not; a tuple once that was found out.
    """

    __slots__ = (
        "allocated",
        "checked",
        "choice",
        "gang",
        "giving",
        "group",
        "holds",
        "leaves",
        "line",
        "lines",
        "members",
        "promised",
        "succeeded",
        "touched",
        "turn",
        "unplaced",
        "want",
        "wanted",
    )

    def __init__(
        self,
        group: GroupKey,
        gang: Gang,
        leaving: Iterable[Pod],
        statuses: Sequence[Status],
        succeeded: bool,
    ) -> None:
        """leaving: pods of the gang that are being deleted, which its members are not. statuses: of its
        members, then of those."""
        self.group = group
        self.gang = gang
        self.succeeded = succeeded
        self.touched = 0
        self.allocated = self.unplaced = 0
        self.holds: Charge | None = None
        self.want: Want | None = None
        self.turn: tuple[object, ...] | None = None
        self.wanted: Charge | None = None
        self.giving: Giving | None = None
        self.line: Line | None = None
        self.checked: tuple[Verdict | None] | None = None
        self.promised: tuple[datetime | None] | None = None
        self.choice = 0
        self.lines = lines(gang.root) if selective(gang.root) else None
        self.leaves: dict[str, Leaf] = {}
        self.members: list[Member] = []
        for part in leaf_groups(gang.root):
            self.leaves[part.name] = Leaf(part, part.minimum)
        first = next(iter(self.leaves.values()))
        for rank, (pod, status) in enumerate(zip((*gang.members, *leaving), statuses, strict=True)):
            leaf = self.leaves.get(gang.leaf_of.get(pod.key, ""), first) if gang.leaf_of else first
            member = Member(pod, self, leaf, rank, Status.ENDED)
            member.become(status)
            leaf.members.append(member)
            self.members.append(member)

    def allocated_of(self, leaf: str) -> int:
        """Members of a leaf, by its name, that have a place and keep it."""
        return self.leaves[leaf].allocated

    def choose(self, choice: int) -> None:
        """Want another of the ways to serve the gang next."""
        self.choice, self.want = choice, None

    @property
    def using(self) -> bool:
        """Some member holds room on a node, though it may be leaving."""
        return any(leaf.using for leaf in self.leaves.values())

    @property
    def waiting(self) -> bool:
        """Some member is to be placed."""
        return self.unplaced > 0

    @property
    def complete(self) -> bool:
        """As many subgroups as the gang needs have their minimum, those counted that are leaving."""
        return satisfied(self.gang.root, lambda name: self.leaves[name].using)

    @property
    def fullness(self) -> int:
        """-1 if some leaf that the gang cannot do without is below its minimum, 1 if none is and some is
        above, else 0."""
        if self.lines is not None:
            return fullness(self, self.allocated_of)
        above = 0
        for leaf in self.leaves.values():
            if leaf.allocated < leaf.minimum:
                return -1
            if leaf.allocated > leaf.minimum:
                above = 1
        return above

    @property
    def stale(self) -> bool:
        """Some of it runs, but a leaf has fewer than it needs, and nothing has succeeded."""
        return not self.succeeded and self.using and not self.complete


def fullness(crew: Crew, has: Callable[[str], int]) -> int:
    """As `Crew.fullness`, of a gang that can do without some subgroups. has: the members of a leaf that
    count, by its name."""
    root = crew.gang.root
    if not satisfied(root, has):
        return -1
    return int(surplus(root, has))


def requires_closeness(group: SubGroup) -> bool:
    """Whether a subgroup, or one below it, has to be within one domain of some level."""
    constraint = group.constraint
    if constraint is not None and constraint.required:
        return True
    return any(requires_closeness(child) for child in group.children)


def leaf_groups(group: SubGroup) -> Iterable[SubGroup]:
    """The subgroups without children, in order."""
    if not group.children:
        yield group
        return
    for child in group.children:
        yield from leaf_groups(child)
