"""Pods that this decision moves: asked again, they give up what they were promised.

While somebody takes, such a pod stands where it is promised room: that is its `hold`, and what it has in the
cluster is its `origin`. Asked again it may be promised another place, stay where it is, or have none after
all. Only KAI-Scheduler asks again.
"""

from collections.abc import Iterable
from dataclasses import replace

from aliquot.scheduling.gang_state import Crew, Status


def set_out(crews: Iterable[Crew]) -> None:
    """Let every pod that is moved stand where it is promised room."""
    for crew in crews:
        for member in crew.members:
            if member.moved is not None:
                member.origin, member.hold = member.hold, replace(member.moved, given=Status.PROMISED)
                member.moved = None


def arrive(crews: Iterable[Crew]) -> None:
    """Let such pods stand where they are in the cluster again: moved, or never asked to leave."""
    for crew in crews:
        for member in crew.members:
            origin, hold = member.origin, member.hold
            if origin is None:
                continue
            member.hold, member.origin = origin, None
            if hold is not None and hold.number == origin.number and not hold.groups:
                member.become(Status.RUNNING)
            else:
                member.moved = hold
