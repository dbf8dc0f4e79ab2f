"""Keeping room that was promised until the gang it was promised to can have it, for a bounded time.

Pods that have to leave take their time. Until then whatever is free already of the room would go to smaller
workloads, and the gang would wait for ever. So a gang that was promised room (condition aliquot.dev/Placed,
reason RoomPromised, since the time that it tells) has its turn before all others until
`Policy.reservation_seconds` have passed. Work that will be gone before the last pod has left may use the room
meanwhile: it says so by the annotation aliquot.dev/expected-seconds or by a deadline. Nothing is remembered:
all of this follows from the snapshot.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from aliquot.model.core import Pod
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.expected_ends import expected_end
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.pod_placement import PodPlacement
from aliquot.scheduling.session import Session
from aliquot.scheduling.wants import next_want


def promised_since(pod: Pod) -> datetime | None:
    """Since when a waiting pod has been promised room; None if it is not."""
    for condition in pod.status.conditions:
        if condition.type == PLACED and condition.reason == Reason.ROOM_PROMISED.value:
            return condition.last_transition_time if condition.status == "False" else None
    return None


class Reservations:
    """The promises of a snapshot, kept before anybody else has a turn."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._until: dict[int, datetime] = {}

    def serve(
        self,
        may_try: Callable[[Crew], bool],
        place: Callable[[Crew], bool],
        take: Callable[[Crew], None],
    ) -> None:
        """Serve the gangs that were promised room. may_try: whether a gang can be served at all, which is
        noted otherwise; place: gives a gang what it wants next, now or later; take: has others leave for it.

        Where not all have been asked to leave that have to, the others are asked before what is free already
        goes to anybody else. Three of six pods have left for a gang when the controller is killed, and have
        been made anew: started on their devices again, they would cost three more pods their place.
        """
        pending: list[Crew] = []
        for crew in self._promised():
            if not may_try(crew):
                continue
            if self._spots(crew, When.NOW):
                place(crew)
            else:
                pending.append(crew)
        if not pending:
            return
        self._session.state.look_ahead()
        self._let_end(max(self._until[id(crew)] for crew in pending))
        self._fill_back(pending, may_try)
        for crew in pending:
            if not place(crew):
                take(crew)

    def _promised(self) -> list[Crew]:
        """Gangs whose promise holds, the oldest promise first."""
        session = self._session
        bound = timedelta(seconds=session.policy.reservation_seconds)
        found: list[tuple[datetime, Crew]] = []
        if not bound:
            return []
        for crew in session.crews.waiting.values():
            since = latest_promise(crew)
            if since is not None and crew.gang.queue and session.now < since + bound:
                found.append((since, crew))
                self._until[id(crew)] = since + bound
        found.sort(key=lambda item: (item[0], session.sort_key(item[1])))
        return [crew for _, crew in found]

    def _spots(self, crew: Crew, when: When, bands: list[int] | None = None) -> list[PodPlacement]:
        """Where the next members of a gang would go; the state is left as it is."""
        state = self._session.state
        start = state.mark()
        found = self._place(crew, when, bands)
        state.undo(start)
        return found

    def _place(self, crew: Crew, when: When, bands: list[int] | None = None) -> list[PodPlacement]:
        placer = self._session.placer
        members = next_want(crew, placer).members
        found = placer.place(crew, members, when, bands)
        return [] if isinstance(found, Failure) else found

    def _let_end(self, until: datetime) -> None:
        """Count running work that will be gone by then as leaving."""
        session = self._session
        for crew in session.crews.ending():
            if crew.waiting:
                continue
            running = [member for member in crew.members if member.status is Status.RUNNING]
            for member in running:
                end = expected_end(member.pod, session.state.index, session.now)
                if end is not None and end <= until and member.hold is not None:
                    session.state.lend(member)
                    member.become(Status.LEAVING)

    def _fill_back(self, pending: list[Crew], may_try: Callable[[Crew], bool]) -> None:
        """Let work use what is kept that will be gone before the last one has left for the gangs."""
        session = self._session
        numbers = {spot.number for crew in pending for spot in self._spots(crew, When.EITHER)}
        ready = self._ready(numbers)
        if ready is None:
            return
        ready = min(ready, *(self._until[id(crew)] for crew in pending))
        room = 0
        for number in numbers:
            room |= 1 << number
        kept = {id(crew) for crew in pending}
        short = [
            crew
            for crew in session.crews.waiting.values()
            if crew.waiting
            and crew.gang.queue
            and id(crew) not in kept
            and all(
                self._ends_by(member, ready) for member in crew.members if member.status is Status.WAITING
            )
            and may_try(crew)
        ]
        order = session.in_turn(short)
        while (turn := order.pop()) is not None:
            placed = self._place(turn, When.NOW, [room])
            for spot in placed:
                session.state.lend(spot.member)
            if placed:
                fresh = [spot.member for spot in placed]
                session.findings.settling.update(id(member) for member in session.settling.too_early(fresh))
                session.findings.served(turn)
                if turn.waiting:
                    session.push(order, turn)
        order.close()

    def _ends_by(self, member: Member, time: datetime) -> bool:
        session = self._session
        end = expected_end(member.pod, session.state.index, session.now)
        return end is not None and end <= time

    def _ready(self, numbers: Iterable[int]) -> datetime | None:
        """When the last pod has left these nodes at the latest; None if nobody is leaving."""
        session = self._session
        index, now = session.state.index, session.now
        latest: datetime | None = None
        for number in numbers:
            for pod in session.crews.pods_on(number):
                gone = pod.metadata.deletion_timestamp or expected_end(pod, index, now)
                if gone is not None and pod.spec.node_name:
                    latest = gone if latest is None else max(latest, gone)
        return latest


def latest_promise(crew: Crew) -> datetime | None:
    """Since when the member of a gang has been promised room that was promised it last; None if none is."""
    if crew.promised is not None and not crew.touched:
        return crew.promised[0]
    waiting = [member.pod for member in crew.members if member.status is Status.WAITING]
    latest = max((since for pod in waiting if (since := promised_since(pod)) is not None), default=None)
    if not crew.touched:
        crew.promised = (latest,)
    return latest
