"""Work that waits for capacity, shown to cluster autoscalers: pods that are let go though they have no place.

An autoscaler looks at pods that the scheduler found unschedulable. It does not see one behind a gate; and one
for which the scheduler finds room that is not its to give away ends in an error (the allocation policy
refuses the write), which is no reason to add a node. So a pod is shown only where the scheduler by itself
would find no fit: no node has what it wants free at present, whatever queues and promises say. It holds
nothing then and cannot take anything: its claims are allocated here, like those of any other pod, once there
is room. Pods that a device plugin could serve are never shown, as nothing would keep the scheduler from
binding them.
"""

from collections.abc import Iterator

from aliquot.model.verdicts import Reason
from aliquot.queues.amounts import Charge
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.session import Session

FOR_CAPACITY = frozenset(
    {
        Reason.DEVICES_IN_USE,
        Reason.TOO_FEW_DEVICES,
        Reason.NO_MATCHING_DEVICES,
        Reason.CONSTRAINT_NOT_MET,
        Reason.NODE_UNFIT,
        Reason.GANG_DOES_NOT_FIT,
    }
)
"""Reasons to wait that another node may end."""


def to_show(session: Session) -> Iterator[tuple[Crew, list[Member]]]:
    """The gangs that an autoscaler is to see now, each with its pods behind gates.

    Together with those that it sees already they stay within the limits of their queues.
    """
    seconds = session.policy.scale_up_seconds
    if seconds is None:
        return
    queues = session.state.queues
    counted: list[tuple[str, Charge, bool]] = []
    fits: dict[object, bool] = {}
    try:
        for shown in (True, False):
            for crew in session.findings.handled.values():
                verdict = session.findings.verdicts.get(id(crew))
                if verdict is None or verdict.reason not in FOR_CAPACITY:
                    continue
                waiting = [member for member in crew.members if member.status is Status.WAITING]
                gated = [member for member in waiting if member.facts is not None and member.facts.gated]
                if shown is bool(gated) or not waiting:
                    continue
                gang = crew.gang
                charge = session.placer.wanted(waiting)
                if gang.queue and not shown and queues.excess(gang.queue, charge, gang.preemptible):
                    continue
                if not shown and not (
                    (session.now - gang.created).total_seconds() >= seconds
                    and not any(member.hold is not None for member in crew.members)
                    and all(_may_be_shown(member.facts) for member in gated)
                    and not any(_fits(session, member, fits) for member in gated)
                ):
                    continue
                if gang.queue:
                    queues.add(gang.queue, charge, gang.preemptible)
                    counted.append((gang.queue, charge, gang.preemptible))
                if not shown:
                    yield crew, gated
    finally:
        for queue, charge, preemptible in reversed(counted):
            queues.remove(queue, charge, preemptible)


def _may_be_shown(facts: PodFacts | None) -> bool:
    """All that the pod wants of devices it wants by claims that are Aliquot's and have nothing yet."""
    return (
        facts is not None
        and bool(facts.wanted)
        and not facts.held
        and not facts.foreign
        and not facts.held_up
        and facts.extended is None
        and facts.alternative is None
        and facts.gpus is None
        and not any("/" in name and amount for name, amount in facts.traits.demand.requests.items())
    )


def _fits(session: Session, member: Member, known: dict[object, bool]) -> bool:
    """Whether the scheduler, which knows of no queue and no gang, would find a node for the pod."""
    facts = member.facts
    assert facts is not None
    shape = facts.shape
    if shape is not None and shape in known:
        return known[shape]
    point = session.state.mark()
    found = session.placer.placer.place([member], When.NOW, limits=False)
    fits = not isinstance(found, Failure)
    session.state.undo(point)
    if shape is not None:
        known[shape] = fits
    return fits
