"""What a gang wants next: found out once, as long as nothing is done to the gang."""

from aliquot.queues.amounts import GPU
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Want
from aliquot.scheduling.room_bound import in_parts


def next_want(crew: Crew, placer: GangPlacer) -> Want:
    """What the gang wants next. It stands as long as nobody changes the gang in this decision, and for later
    decisions as long as its pods are the same: all that enters belongs to them or to the cluster's nodes."""
    known = crew.want
    if known is not None and not crew.touched:
        return known
    members = tuple(next_members(crew, placer.rank, placer.policy.by_fill))
    state = placer.placer.state
    facts = [member.facts for member in members if member.facts is not None]
    shapes = [item.shape for item in facts]
    found = Want(
        members,
        placer.wanted(members),
        max((state.wanted(item).get(GPU, 0) for item in facts), default=0),
        len(facts) == len(members) and all(state.is_exact(item) for item in facts),
        any(map(in_parts, members)),
        None if None in shapes or len(facts) < len(members) else tuple(shapes),  # type: ignore[arg-type]
    )
    if not crew.touched:
        crew.want = found
    return found
