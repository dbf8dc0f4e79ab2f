"""Gangs that run with fewer members than they need: taken down as a whole after a time of grace."""

from aliquot.model.core import Pod
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.gang_state import Crew, Status
from aliquot.scheduling.plan import Staleness
from aliquot.scheduling.session import Removal, Session
from aliquot.workloads.grouping import Grouping
from aliquot.workloads.labels import GANG_MIN, GANG_SIZE, STALE_SINCE, SUBGROUP, SUBGROUP_SETTINGS, SUBGROUPS


def may_be_stale(gangs: Grouping) -> bool:
    """Whether some gang may be short of members, or was noted to be: cheaper to tell than whether one is."""
    for key in gangs.on_nodes():
        if key[0] == "Pod":
            continue
        pods = gangs.pods(key)
        running = 0
        for pod in pods:
            if STALE_SINCE in pod.metadata.annotations:
                return True
            running += bool(pod.spec.node_name) and not pod.finished
        least = _annotated_size(pods[0]) if key[0] == "Gang" else None
        if least is None:
            gang = gangs.gang(key)
            if gang.stale_since is not None or gang.root.children:
                return True
            least = gang.minimum
        if running < least:
            return True
    return False


_CLOSER = SUBGROUP_SETTINGS | {GANG_MIN, SUBGROUP, SUBGROUPS}


def _annotated_size(pod: Pod) -> int | None:
    """How many pods a gang needs that is made by annotation alone; None if that takes a closer look."""
    annotations = pod.metadata.annotations
    if not _CLOSER.isdisjoint(annotations):
        return None
    size = annotations.get(GANG_SIZE, "")
    return int(size) if size.isascii() and size.isdigit() and len(size) < 7 else None


def evict_stale(session: Session) -> None:
    """Have every pod leave of gangs that have been short of members for longer than the policy allows.

    Since when they are is told by an annotation on their pods: here it is said which gangs it has to be
    written for, or taken away from.
    """
    grace = session.policy.staleness_seconds
    for crew in sorted(session.crews.running(), key=lambda item: item.gang.key):
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
