"""Which pods to move so that more of the fleet is free in whole nodes: a plan to be reviewed, never enacted
by itself.

Nodes that are in use in part are emptied, those first that hold least, as long as all that runs there finds
another place on nodes in use. Nobody loses a place, no gang is moved in part, work that is not preemptible
stays, and moves stay within a budget of pods and of work that is lost by starting again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.apply import apply
from aliquot.scheduling.choosing import torn
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.decide import decide, opened
from aliquot.scheduling.gang_state import Crew, Member, Status, leaf_groups
from aliquot.scheduling.lost_work import freed, lost_seconds, weight
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.objectives import wants_accelerators
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.session import Session

_SLACK = 1e-6
MOST_SHAPES = 16


class Budget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a plan may cost. moves: pods; device_seconds: lost work, None for any amount."""

    moves: int = 16
    device_seconds: int | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A pod that leaves its node and is made anew on another. devices: what it holds, in billionths of an
    accelerator. lost_device_seconds: its work since the last checkpoint, and its start-up."""

    pod: ObjectRef
    workload: ObjectRef
    origin: str
    target: str
    devices: int
    lost_device_seconds: int


class Relief(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A node that becomes idle, by these moves."""

    node: str
    accelerators: int
    moves: tuple[Move, ...]

    @property
    def lost_device_seconds(self) -> int:
        return sum(move.lost_device_seconds for move in self.moves)


class ShapeGain(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many more pods of one size there is room for. devices: of a pod, in billionths of an accelerator;
    example: a pod of that size."""

    devices: int
    example: ObjectRef
    before: int
    after: int


class Defragmentation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What moving pods would gain. starts: gangs that wait for room today and could start then."""

    budget: Budget
    reliefs: tuple[Relief, ...] = ()
    idle_before: int = 0
    idle_after: int = 0
    shapes: tuple[ShapeGain, ...] = ()
    starts: tuple[ObjectRef, ...] = ()

    @property
    def moves(self) -> tuple[Move, ...]:
        return tuple(move for relief in self.reliefs for move in relief.moves)

    @property
    def lost_device_seconds(self) -> int:
        return sum(relief.lost_device_seconds for relief in self.reliefs)


def defragment(snapshot: Snapshot, policy: Policy, now: datetime, budget: Budget) -> Defragmentation:
    """The moves that make the fleet less fragmented, after what waits has been given what is free.

    Equal arguments give an equal plan. now: aware, UTC.
    """
    bound = frozenset(pod.key for pod in snapshot.pods if pod.spec.node_name and not pod.finished)
    settled = apply(snapshot, decide(snapshot, policy, now), now)
    return _Defragmenting(opened(settled, policy, now, Memory()), bound, budget).run()


class _Defragmenting:
    def __init__(self, session: Session, bound: frozenset[Key], budget: Budget) -> None:
        """bound: pods that may be moved if their gangs may; others have only just got their places."""
        self._session = session
        self._bound = bound
        self._budget = budget
        self._at: dict[int, list[Member]] = {}
        self._devices: dict[int, int] = {}
        session.state.look_ahead()
        for crew in session.crews.running():
            for member in crew.members:
                if member.status is Status.RUNNING and member.hold is not None:
                    self._at.setdefault(member.hold.number, []).append(member)
                    self._devices[id(member)] = self._count(member)

    def run(self) -> Defragmentation:
        state = self._session.state
        shapes = self._shapes()
        idle_before, room_before = len(self._idle()), self._room(shapes)
        left, lost = self._budget.moves, self._budget.device_seconds
        reliefs: list[Relief] = []
        closed: set[int] = set()
        for number in self._candidates():
            start = state.mark()
            relief = self._empty(number, closed, left, lost)
            if relief is None:
                state.undo(start)
                continue
            reliefs.append(relief)
            closed.add(number)
            left -= len(relief.moves)
            if lost is not None:
                lost -= relief.lost_device_seconds
        idle_after, room_after = len(self._idle()), self._room(shapes)
        return Defragmentation(
            budget=self._budget,
            reliefs=tuple(reliefs),
            idle_before=idle_before,
            idle_after=idle_after,
            shapes=tuple(
                ShapeGain(devices=size, example=member.pod.ref, before=before, after=after)
                for (size, member), before, after in zip(shapes, room_before, room_after, strict=True)
            ),
            starts=self._starts() if reliefs else (),
        )

    def _count(self, member: Member) -> int:
        """The accelerators that a running pod holds, in billionths; outside queues, those that it wants."""
        session = self._session
        if member.crew.gang.queue:
            return freed(member)
        session.crews.prepare(member)
        assert member.facts is not None
        return int(session.state.wanted.charge(member.facts).get(GPU, 0))

    def _lost(self, member: Member) -> int:
        """The work that it loses, in billionths of device-seconds."""
        return weight(self._devices.get(id(member), 0)) * lost_seconds(member.crew, self._session.now)

    def _free(self, number: int) -> float:
        state = self._session.state
        return state.free_accelerators(number) + state.parts.free(number)

    def _idle(self) -> list[int]:
        """Nodes with accelerators of which nobody has any."""
        state = self._session.state
        nodes = range(len(state.table.nodes))
        return [
            number
            for number in nodes
            if (most := state.accelerators(number)) and self._free(number) + _SLACK >= most
        ]

    def _shapes(self) -> list[tuple[int, Member]]:
        """One member for every number of accelerators that some pod wants, the largest first."""
        session = self._session
        found: dict[int, Member] = {}
        running = [member for members in self._at.values() for member in members]
        waiting = [member for crew in session.crews.waiting.values() for member in crew.members]
        for member in sorted((*running, *waiting), key=lambda item: item.key):
            if member.status is Status.RUNNING:
                size = self._devices[id(member)]
            elif member.status is Status.WAITING and member.facts is not None:
                size = int(session.state.wanted.charge(member.facts).get(GPU, 0))
            else:
                continue
            if size and size not in found:
                session.crews.prepare(member)
                if member.facts is not None and wants_accelerators(member.facts):
                    found[size] = member
        return sorted(found.items(), reverse=True)[:MOST_SHAPES]

    def _room(self, shapes: Sequence[tuple[int, Member]]) -> list[int]:
        """How many more pods of each shape there is room for."""
        state, placer = self._session.state, self._session.placer.placer
        found: list[int] = []
        for _, member in shapes:
            assert member.facts is not None
            shape = state.shape_of(member)
            found.append(
                sum(state.tasks(shape, number) for number in placer.orders.static_fit(member.facts).numbers)
            )
        return found

    def _candidates(self) -> list[int]:
        """Nodes in use in part, those that hold least first, of equal ones those that lose least."""
        state = self._session.state
        found: list[tuple[float, int, int]] = []
        for number, members in self._at.items():
            most = state.accelerators(number)
            used = most - self._free(number)
            if most and used > _SLACK:
                found.append((used, sum(self._lost(member) for member in members), number))
        return [number for _, _, number in sorted(found)]

    def _empty(self, number: int, closed: set[int], moves: int, lost: int | None) -> Relief | None:
        """Move everything with accelerators off a node; None, and anything may have been done, if that cannot
        be done."""
        session = self._session
        state = session.state
        here = [
            member
            for member in self._at[number]
            if member.status is Status.RUNNING and self._devices[id(member)]
        ]
        leaving = [(crew, self._to_move(crew, own)) for crew, own in _by_crew(here)]
        every = [member for _, members in leaving for member in members]
        if not every or len(every) > moves or len(here) < len(self._at_now(number)):
            return None
        if any(not self._movable(member) for member in every):
            return None
        cost = sum(self._lost(member) for member in every) // UNIT
        if lost is not None and cost > lost:
            return None
        before = {id(member): self._move_of(member) for member in every}
        idle = set(self._idle())
        nodes = 0
        for other in range(len(state.table.nodes)):
            if other != number and other not in closed and other not in idle:
                nodes |= 1 << other
        for member in every:
            session.crews.prepare(member)
        for member in every:
            state.evict(member)
        for crew, members in leaving:
            if isinstance(session.placer.place(crew, members, When.LATER, [nodes]), Failure):
                return None
        if any(member.moved is None for member in every):
            return None
        if self._free(number) + _SLACK < state.accelerators(number):
            return None
        return Relief(
            node=state.table.names[number],
            accelerators=round(state.accelerators(number)),
            moves=tuple(msgspec.structs.replace(before[id(member)], target=member.node) for member in every),
        )

    def _at_now(self, number: int) -> list[Member]:
        """Who holds accelerators of the node, those that were moved there included."""
        found = [item for item in self._at[number] if self._devices[id(item)] and item.moved is None]
        for members in self._at.values():
            found += [member for member in members if member.moved and member.moved.number == number]
        return found

    def _movable(self, member: Member) -> bool:
        namespace = self._session.state.index.namespaces.get(member.pod.namespace)
        managed = namespace is not None and namespace.managed
        return managed and member.crew.gang.preemptible and member.key in self._bound

    def _to_move(self, crew: Crew, here: Sequence[Member]) -> list[Member]:
        """Those of a gang that have to move with its members on a node: only these, if it keeps its minimum
        meanwhile, else all."""
        moving = {id(member) for member in here}
        if crew.lines is not None and not crew.gang.together:
            return self._with_subgroups(crew, here)
        for leaf in crew.leaves.values():
            stay = sum(
                1 for member in leaf.members if member.status is Status.RUNNING and id(member) not in moving
            )
            if stay < leaf.minimum or crew.gang.together:
                return [member for member in crew.members if member.status is Status.RUNNING]
        return list(here)

    @staticmethod
    def _with_subgroups(crew: Crew, here: Sequence[Member]) -> list[Member]:
        """The same, of a gang that can do without some subgroups: with whole subgroups."""
        running = [member for member in crew.members if member.status is Status.RUNNING]
        left = Counter(member.leaf.group.name for member in running)
        left.subtract(member.leaf.group.name for member in here)
        groups = [torn(crew, member.leaf.group.name, left.__getitem__) for member in here]
        names = {leaf.name for group in groups if group is not None for leaf in leaf_groups(group)}
        moving = {id(member) for member in here}
        return [member for member in running if id(member) in moving or member.leaf.group.name in names]

    def _starts(self) -> tuple[ObjectRef, ...]:
        """The gangs that wait and could be placed now, in turn."""
        session = self._session
        outside = [
            crew
            for crew in session.crews.waiting.values()
            if crew.waiting and not crew.gang.queue and session.check(crew) is None and session.ready(crew)
        ]
        crews = sorted(outside, key=session.sort_key)
        order = session.in_turn(session.waiting())
        while (turn := order.pop()) is not None:
            crews.append(turn)
        order.close()
        found: list[ObjectRef] = []
        for crew in crews:
            members = next_members(crew, session.placer.rank, session.policy.by_fill)
            if not isinstance(session.placer.place(crew, members, When.LATER), Failure):
                found.append(crew.gang.ref)
        return tuple(found)

    def _move_of(self, member: Member) -> Move:
        """The move of a pod that still is where it was."""
        return Move(
            pod=member.pod.ref,
            workload=member.crew.gang.ref,
            origin=member.node,
            target="",
            devices=self._devices[id(member)],
            lost_device_seconds=self._lost(member) // UNIT,
        )


def _by_crew(members: Iterable[Member]) -> list[tuple[Crew, list[Member]]]:
    found: dict[int, tuple[Crew, list[Member]]] = {}
    for member in members:
        found.setdefault(id(member.crew), (member.crew, []))[1].append(member)
    return list(found.values())
