"""What would become of a cluster if some left so that a gang fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aliquot.scheduling.choosing import torn
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.workloads.subgroups import leaves


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would become of the cluster. gone: pods that leave for good. moved: those that leave and are
    promised another place. asked: those by whom the outcome is judged: the same, or, stepwise, all that were
    asked to leave up to then. withdrawn: those that were given a place by this very decision, and wait.
    tried: all that were made to leave for a while, those included that stay where they were.
    """

    gone: tuple[Member, ...]
    moved: tuple[Member, ...]
    asked: tuple[Member, ...]
    withdrawn: tuple[Member, ...] = ()
    tried: tuple[Member, ...] = ()

    @property
    def disturbed(self) -> tuple[Member, ...]:
        return (*self.gone, *self.moved)


Legal = Callable[[Sequence[Member], Outcome], bool]
"""Whether it is allowed to make room in this way for these members."""


def in_part(crew: Crew) -> bool:
    """Whether a gang of which members are gone for good runs on with fewer than it needs."""
    if crew.lines is not None and not crew.gang.together:
        parts = (
            torn(crew, leaf.group.name, crew.allocated_of)
            for leaf in crew.leaves.values()
            if any(member.status is Status.EVICTED for member in leaf.members)
        )
        return any(
            crew.leaves[leaf.name].allocated for part in parts if part is not None for leaf in leaves(part)
        )
    return crew.allocated > 0 and any(
        (crew.gang.together or leaf.allocated < leaf.minimum)
        and any(member.status is Status.EVICTED for member in leaf.members)
        for leaf in crew.leaves.values()
    )


def fresh(member: Member) -> bool:
    """Whether a member had nothing but a place that this decision gave it."""
    return member.hold is not None and member.hold.given is not Status.RUNNING


def nodes_of(crew: Crew) -> list[int]:
    """The nodes that members of a gang are on."""
    return sorted({member.hold.number for member in crew.members if member.hold is not None})
