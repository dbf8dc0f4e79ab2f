"""Holding nodes for whoever is first in line, so that large work does not wait for ever behind small work.

Whatever becomes free on a full node fits a small gang sooner than a large one. So the first gang in turn that
finds no room, and has waited for `Policy.hold_after_seconds`, has nodes held for it: those on which it would
fit if all that runs there ended, and of those the emptiest. Nobody else is started there, but work that will
be gone before the last that runs there, until the gang starts or `hold_seconds` have passed; then others have
their turn for `hold_after_seconds` again. No more than `hold_share` of all accelerators is held.

Nothing is remembered. The nodes are chosen anew in every decision; as nobody is started on those that are
held, they stay the emptiest.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU
from aliquot.scheduling.expected_ends import expected_end
from aliquot.scheduling.gang_state import Crew, Member, Status, Want
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.session import Session

_LIMITS = frozenset({Reason.OVER_LIMIT, Reason.OVER_QUOTA, Reason.BEHIND_IN_QUEUE})


class Holding:
    """The nodes that are held in one decision."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._nodes = 0
        self._held = 0
        self._until: dict[int, tuple[datetime, Crew]] = {}
        self._failed: set[object] = set()
        nodes = session.state.table.nodes
        self._every = (1 << len(nodes)) - 1
        self._most: int | None = None

    def bands(self, crew: Crew, want: Want) -> list[int] | None:
        """The nodes on which a gang may be started; None: on all."""
        if not self._nodes or not want.largest:
            return None
        closed = 0
        for number, (until, _) in self._until.items():
            if not self._ends_by(crew, until):
                closed |= 1 << number
        return [self._every & ~closed] if closed else None

    def verdict(self, crew: Crew, want: Want) -> Verdict | None:
        """Why a gang waits that found no room beside what is held; None if it would not fit there either."""
        if not self._nodes:
            return None
        session = self._session
        start = session.state.mark()
        found = session.placer.place(crew, want.members, When.NOW)
        session.state.undo(start)
        if isinstance(found, Failure):
            return None
        held = next((self._until[spot.number][1] for spot in found if spot.number in self._until), None)
        if held is None:
            return None
        fact = Fact(test="roomHeld", subject=str(held.gang.ref))
        return Verdict(reason=Reason.BEHIND_IN_QUEUE, facts=(fact,))

    def consider(self, crew: Crew, want: Want, reason: Reason) -> None:
        """Hold nodes for a gang that found no room, if it has waited long enough."""
        policy = self._session.policy
        if not policy.hold_after_seconds or reason in _LIMITS or not self._in_time(crew):
            return
        if want.shapes is not None and want.shapes in self._failed:
            return
        numbers = self._choice(crew, want)
        if numbers and self._would_fit(crew, want, numbers):
            self._hold(crew, numbers)
        elif want.shapes is not None:
            self._failed.add(want.shapes)

    def _in_time(self, crew: Crew) -> bool:
        """Whether the gang has waited for long enough, and others do not have their turn again.

        After 30 minutes room is held for 60, then not for 30, and so on.
        """
        policy = self._session.policy
        came = [member.pod.metadata.creation_timestamp for member in crew.members if not member.hold]
        since = max((time for time in came if time is not None), default=crew.gang.created)
        waited = (self._session.now - since).total_seconds() - policy.hold_after_seconds
        turn = policy.hold_after_seconds + policy.hold_seconds
        return waited >= 0 and waited % turn < policy.hold_seconds

    def _choice(self, crew: Crew, want: Want) -> tuple[int, ...]:
        """The nodes that would have to be free for the gang, of all choices those with least running there;
        () if there are none."""
        session, state = self._session, self._session.state
        needs = sorted(
            int(state.wanted.charge(member.facts).get(GPU, 0)) for member in want.members if member.facts
        )
        if len(needs) < len(want.members) or not needs or not needs[0]:
            return ()
        suited: set[int] | None = None
        kinds = {member.facts.traits.constraints: member.facts for member in want.members if member.facts}
        for facts in kinds.values():
            fit = set(session.placer.placer.orders.static_fit(facts).numbers)
            suited = fit if suited is None else suited & fit
        idle = state.idle_accelerators().by_node
        best: tuple[float, tuple[int, ...]] | None = None
        for nodes in self._domains(crew):
            open_nodes = nodes & ~self._nodes
            numbers = [number for number in suited or () if open_nodes >> number & 1]
            numbers.sort(key=lambda number: (-idle[number], number))
            chosen: list[int] = []
            left = list(needs)
            for number in numbers:
                before = len(left)
                room = int(state.capacity(number))
                while left and left[-1] <= room:
                    room -= left.pop()
                if len(left) < before:
                    chosen.append(number)
                if not left:
                    break
            if left:
                continue
            busy = sum(state.accelerators(number) - idle[number] for number in chosen)
            if best is None or busy < best[0]:
                best = busy, tuple(chosen)
        if best is None or not self._affordable(best[1]):
            return ()
        return best[1]

    def _domains(self, crew: Crew) -> Iterable[int]:
        """Sets of nodes of which one has to hold the whole gang."""
        constraint = crew.gang.root.constraint
        closeness = self._session.placer.closeness
        if constraint is None or not constraint.required or not closeness.concerns(crew.gang.root):
            return (self._every,)
        return closeness.whole_domains(constraint)

    def _affordable(self, numbers: Sequence[int]) -> bool:
        """Whether no more than the share of accelerators that may be held would be; the first gang may have
        more if it cannot do with less."""
        state = self._session.state
        if self._most is None:
            capacity = sum(int(state.capacity(number)) for number in range(len(state.table.nodes)))
            self._most = int(capacity * self._session.policy.hold_share)
        return not self._held or self._held + self._capacity(numbers) <= self._most

    def _capacity(self, numbers: Sequence[int]) -> int:
        return sum(int(self._session.state.capacity(number)) for number in numbers)

    def _running(self, numbers: Iterable[int]) -> list[Member]:
        crews = self._session.crews
        return [
            member
            for number in numbers
            for crew in crews.on(number)
            for member in crew.members
            if member.status is Status.RUNNING and member.hold is not None and member.hold.number == number
        ]

    def _would_fit(self, crew: Crew, want: Want, numbers: Sequence[int]) -> bool:
        """Whether the gang fits if all that runs on these nodes ends."""
        session, state = self._session, self._session.state
        state.look_ahead()
        start = state.mark()
        for member in self._running(numbers):
            state.evict(member)
        within = 0
        for number in numbers:
            within |= 1 << number
        found = session.placer.place(crew, want.members, When.LATER, [within])
        state.undo(start)
        return not isinstance(found, Failure)

    def _hold(self, crew: Crew, numbers: Sequence[int]) -> None:
        session = self._session
        self._held += self._capacity(numbers)
        ends = [expected_end(item.pod, session.state.index, session.now) for item in self._running(numbers)]
        known = [end for end in ends if end is not None]
        until = max(known) if known and len(known) == len(ends) else session.now
        for number in numbers:
            self._nodes |= 1 << number
            self._until[number] = (until, crew)

    def _ends_by(self, crew: Crew, time: datetime) -> bool:
        """Whether all that waits of a gang will be gone by then."""
        session = self._session
        if time <= session.now + timedelta(seconds=1):
            return False
        waiting = [member.pod for member in crew.members if member.status is Status.WAITING]
        ends = [expected_end(pod, session.state.index, session.now) for pod in waiting]
        return all(end is not None and end <= time for end in ends)
