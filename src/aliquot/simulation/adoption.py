"""Workloads that a cluster has already, live or in a saved snapshot, to simulate from there."""

from collections.abc import Callable
from datetime import datetime, timedelta

from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import GPU
from aliquot.scheduling.claims import claim_keys, owned_by
from aliquot.scheduling.decide import opened
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.session import Session
from aliquot.simulation.workload import Workload
from aliquot.workloads import labels, settings
from aliquot.workloads.gang import Gang

RunTime = Callable[[Gang], int | None]
"""How long a gang runs in all, in seconds; None: for ever."""

_SECOND = timedelta(seconds=1)


def said(gang: Gang) -> int | None:
    """What the first of its pods says of its run time; None if it says nothing."""
    for pod in gang.members:
        found = settings.seconds(pod.metadata.annotations.get(labels.EXPECTED_SECONDS))
        if found is None:
            found = pod.spec.active_deadline_seconds
        if found is not None and found > 0:
            return found
    return None


def adopt(
    snapshot: Snapshot, start: datetime, policy: Policy | None = None, run_time: RunTime = said
) -> list[Workload]:
    """The workloads of a cluster, of which something runs or waits, in no particular order.

    start: the moment of virtual time 0. run_time: how long each runs in all; one that has run for longer
    already is taken to run for ever. Pods on their way out are workloads that end with that. What is neither
    decided by Aliquot nor counted in a queue (pods without devices that the scheduler has placed) is part of
    the cluster and no workload.
    """
    session = opened(snapshot, policy or Policy(), start)
    index = session.state.index
    waiting = list(session.crews.waiting.values())
    known = {id(crew) for crew in waiting}
    running = [crew for crew in session.crews.running() if id(crew) not in known]
    found = [
        _workload(crew, session, index, start, run_time)
        for crew in (*waiting, *running)
        if _members(crew) and crew.gang.members
    ]
    taken = {item.key for workload in found for item in workload.objects if isinstance(item, Pod)}
    return found + [
        _departing(pod, index, start)
        for pod in snapshot.pods
        if pod.metadata.deletion_timestamp is not None and pod.spec.node_name and pod.key not in taken
    ]


def _departing(pod: Pod, index: SnapshotIndex, start: datetime) -> Workload:
    """A pod that is being deleted and belongs to nothing else: it holds what it has until it is gone."""
    created = pod.metadata.creation_timestamp or start
    begun = pod.status.start_time or created
    claims = (index.claims.get(key) for key in claim_keys(pod))
    return Workload(
        kind="Pod",
        namespace=pod.namespace,
        name=pod.name,
        submitted=min(0, (created - start) // _SECOND),
        run_seconds=None,
        devices=0,
        objects=(pod, *(claim for claim in claims if claim is not None and owned_by(claim, pod))),
        amounts=(0,),
        started=min(0, (begun - start) // _SECOND),
    )


def _members(crew: Crew) -> list[Member]:
    return [member for member in crew.members if member.status is not Status.ENDED]


def _workload(
    crew: Crew, session: Session, index: SnapshotIndex, start: datetime, run_time: RunTime
) -> Workload:
    gang = crew.gang
    members = _members(crew)
    staying = [member for member in members if member.status is not Status.LEAVING]
    objects: list[Pod | ResourceClaim] = []
    for member in members:
        objects.append(member.pod)
        for key in claim_keys(member.pod):
            claim = index.claims.get(key)
            if claim is not None and owned_by(claim, member.pod):
                objects.append(claim)
    begun = None if gang.started is None else (gang.started - start) // _SECOND
    worked = max(0, -begun) if begun is not None else 0
    seconds = run_time(gang)
    if seconds is not None and seconds <= worked:
        seconds = None
    return Workload(
        kind=gang.ref.kind,
        namespace=gang.ref.namespace,
        name=gang.ref.name,
        submitted=min(0, (gang.created - start) // _SECOND),
        run_seconds=seconds,
        expected_seconds=said(gang),
        pods=max(1, len(staying)),
        minimum=max(1, min(gang.minimum, len(staying))),
        queue=gang.queue,
        priority=gang.priority,
        preemptible=gang.preemptible,
        checkpoint_seconds=gang.cost.checkpoint_seconds,
        startup_seconds=gang.cost.startup_seconds,
        objects=tuple(objects),
        amounts=tuple(_devices(member, session) for member in members),
        worked_seconds=max(0, worked - gang.cost.startup_seconds),
        started=begun,
    )


def _devices(member: Member, session: Session) -> int:
    """What a pod holds, or would hold, in billionths of devices."""
    if member.hold is not None:
        return int(member.hold.charge.get(GPU, 0))
    return int(session.placer.wanted([member]).get(GPU, 0))
