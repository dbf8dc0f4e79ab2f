"""Gangs that run with fewer members than they need: taken down as a whole after a time of grace."""

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.gang_state import Crew, Status
from aliquot.scheduling.plan import Staleness
from aliquot.scheduling.session import Removal, Session
from aliquot.workloads.labels import STALE_SINCE


def evict_stale(session: Session) -> None:
    """Have every pod leave of gangs that have been short of members for longer than the policy allows.

    Since when they are is told by an annotation on their pods: here it is said which gangs it has to be
    written for, or taken away from.
    """
    grace = session.policy.staleness_seconds
    found = {crew.gang.key: crew for crew in session.crews.restless()}
    # What this decision did to a gang may have left it short.
    found.update((crew.gang.key, crew) for crew in session.state.touched() if crew.using)
    for _, crew in sorted(found.items()):
        if not crew.stale and crew.gang.stale_since is None:
            if not crew.touched:
                session.crews.note_calm(crew)
            continue
        own = crew.gang.staleness_grace_seconds
        if own is None:
            own = grace
        _note(session, crew)
        if own is None or own < 0 or not crew.stale:
            continue
        since = crew.gang.stale_since
        waited = (session.now - since).total_seconds() if since is not None else 0.0
        if waited < own:
            continue
        verdict = _verdict(crew, own)
        for member in crew.members:
            if member.status is Status.RUNNING and member.hold is not None:
                session.state.evict(member)
                session.findings.removals.append(Removal(member, verdict, None))


def _note(session: Session, crew: Crew) -> None:
    if crew.stale:
        if crew.gang.stale_since is None:
            pods = [member.pod.ref for member in crew.members if member.status is Status.RUNNING]
            session.findings.staleness.append(
                Staleness(workload=crew.gang.ref, pods=tuple(pods), since=session.now)
            )
    elif crew.gang.stale_since is not None:
        noted = [member.pod.ref for member in crew.members if STALE_SINCE in member.pod.metadata.annotations]
        if noted:
            session.findings.staleness.append(Staleness(workload=crew.gang.ref, pods=tuple(noted)))


def _verdict(crew: Crew, grace: int) -> Verdict:
    short = [leaf for leaf in crew.leaves.values() if leaf.using < leaf.minimum]
    facts = tuple(
        Fact(
            test="members",
            subject=leaf.group.name,
            count=leaf.minimum - leaf.using,
            unit="pods",
            wanted=str(leaf.minimum),
            available=str(leaf.using),
        )
        for leaf in short
    )
    return Verdict(reason=Reason.GANG_BROKEN, facts=(*facts, Fact(test="grace", wanted=f"{grace}s")))
