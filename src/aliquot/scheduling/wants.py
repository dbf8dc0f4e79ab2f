"""What a gang wants next: found out once, as long as nothing is done to the gang."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aliquot.queues.amounts import GPU
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Crew, Member, Want
from aliquot.scheduling.room_bound import in_parts

_LAST = datetime.max.replace(tzinfo=UTC)
"""No time is later."""


def next_want(crew: Crew, placer: GangPlacer) -> Want:
    """What the gang wants next. It stands as long as nobody changes the gang in this decision, and for later
    decisions as long as its pods are the same: all that enters belongs to them or to the cluster's nodes."""
    known = crew.want
    if known is not None and not crew.touched:
        return known
    members = tuple(next_members(crew, placer.rank, placer.policy.by_fill))
    state = placer.placer.state
    facts = [member.facts for member in members if member.facts is not None]
    shapes = tuple(item.shape for item in facts)
    alike = len(facts) == len(members) and None not in shapes
    found = Want(
        members,
        placer.wanted(members),
        max((state.wanted.charge(item).get(GPU, 0) for item in facts), default=0),
        len(facts) == len(members) and all(state.wanted.is_exact(item) for item in facts),
        any(in_parts(state, member) for member in members),
        shapes if alike else None,  # type: ignore[arg-type]
        state.kinds.number((closeness_of(crew, members), shapes)) if alike else None,
    )
    if not crew.touched:
        crew.want = found
    return found


def patient_until(crew: Crew, now: datetime) -> datetime | None:
    """Until when the gang wants to have waited before others leave for it: for its delay since it came, or
    since the youngest of its waiting pods did, which may have been made anew. None if it does not."""
    delay = crew.gang.preemption_delay_seconds
    if delay is None:
        return None
    came = [member.pod.metadata.creation_timestamp for member in crew.members if not member.hold]
    since = max([crew.gang.created, *(time for time in came if time is not None)])
    wait = timedelta(seconds=delay)
    return since + min(wait, _LAST - since) if now - since < wait else None


def closeness_of(crew: Crew, members: Sequence[Member]) -> tuple[object, ...]:
    """What of the terms of a gang decides, besides what its members are, where these can be: () if nothing
    does."""
    root = crew.gang.root
    if not root.children and root.constraint is None:
        return ()
    names = tuple(member.leaf.group.name for member in members)
    if crew.lines is None:
        return (root, names)
    # Others of its subgroups may do instead.
    return (root, names, tuple(leaf.waiting for leaf in crew.leaves.values()))
