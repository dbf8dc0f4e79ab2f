"""What is lost when running pods have to start again, in device-seconds."""

from collections.abc import Iterable
from datetime import datetime

from aliquot.queues.amounts import GPU, UNIT
from aliquot.scheduling.gang_state import Crew, Member

MOST_SECONDS = 7 * 24 * 3600
"""Work of a gang that never says when it saves it counts for a week at most."""

WITHOUT_DEVICES = UNIT // 100
"""A pod without devices counts as this many billionths of one."""


def lost_seconds(crew: Crew, now: datetime) -> int:
    """Seconds of every member's work that are lost if the gang has to start again; see `RestartCost`."""
    return min(MOST_SECONDS, crew.gang.cost.lost_seconds(crew.gang.started, now))


def lost_work(members: Iterable[Member], now: datetime) -> int:
    """What is lost if these running members leave, in billionths of device-seconds.

    Two pods with 4 devices each, 600 s since their last checkpoint and 60 s to start up: 8 * 660 = 5,280
    device-seconds.
    """
    seconds: dict[int, int] = {}
    found = 0
    for member in members:
        crew = member.crew
        if id(crew) not in seconds:
            seconds[id(crew)] = lost_seconds(crew, now)
        found += weight(freed(member)) * seconds[id(crew)]
    return found


def weight(devices: int) -> int:
    """How much a second of a pod with so many billionths of accelerators counts, in billionths."""
    return max(WITHOUT_DEVICES, devices)


def freed(member: Member) -> int:
    """The accelerators that a running member holds, in billionths."""
    return 0 if member.hold is None else int(member.hold.charge.get(GPU, 0))
