"""What would become of a cluster if some left for members of a gang."""

from collections.abc import Callable, Iterable, Sequence

from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.outcomes import Legal, Outcome, in_part
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.room_bound import RoomBound
from aliquot.scheduling.state import ClusterState

Turns = Callable[[Crew, Sequence[Member], Sequence[Crew]], Iterable[Crew]]
"""The order in which members of a gang that wait, and gangs that had to leave for it, are placed."""


class Trial:
    """Tries who could leave for one gang. space: what is known of the room without trying."""

    def __init__(
        self,
        state: ClusterState,
        placer: GangPlacer,
        prepare: Callable[[Member], None],
        turns: Turns,
        crew: Crew,
        legal: Legal,
        space: RoomBound,
    ) -> None:
        """prepare: finds out what has to be known of a pod before it can be placed anew."""
        self.state = state
        self.placer = placer
        self.crew = crew
        self.legal = legal
        self.space = space
        self._prepare = prepare
        self._turns = turns

    def forbidden(self, members: Sequence[Member], leaving: tuple[Member, ...]) -> bool:
        """Whether it is known without placing anybody that it is not allowed that these leave."""
        return self.space.costs_all(leaving) and not self.legal(members, Outcome(leaving, (), leaving))

    def outcome(
        self,
        members: Sequence[Member],
        evicted: Sequence[Member],
        asked: Sequence[Member],
        near: Sequence[Member],
    ) -> tuple[Outcome | None, bool]:
        """Place the members and, where there is room, those evicted. Gives the outcome if it is legal, and
        whether the members could be placed at all. asked: all that were asked to leave so far. near: those
        whose nodes are looked at beside all with accelerators free."""
        placer, crew, space = self.placer, self.crew, self.space
        involved = list({id(member.crew): member.crew for member in evicted}.values())
        bands = space.bands(near)
        joins = not placer.policy.stepwise
        # If nobody can be placed again it need not be tried.
        lost = joins and space.costs_all(evicted)
        for other in () if lost else involved:
            # Those, too, that this decision made leave before: they may be placed again now.
            for member in other.members:
                if member.status is Status.EVICTED:
                    self._prepare(member)
        for turn in (crew,) if lost else self._turns(crew, members, involved):
            if turn is crew:
                if isinstance(placer.place(crew, members, When.LATER, bands, joins=joins), Failure):
                    return None, False
            else:
                again = next_members(turn, placer.rank, placer.policy.by_fill, evicted=True)
                placer.place(turn, again, When.LATER, bands)
        gone = tuple(member for member in evicted if member.status is Status.EVICTED)
        moved = tuple(member for member in evicted if member.moved is not None)
        judged = tuple(asked) if placer.policy.stepwise else (*gone, *moved)
        outcome = Outcome(gone, moved, judged, tried=tuple(evicted))
        if joins and any(
            in_part(other) for other in {id(member.crew): member.crew for member in gone}.values()
        ):
            return None, True
        return (outcome, True) if self.legal(members, outcome) else (None, True)
