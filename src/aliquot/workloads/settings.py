"""What is said of a gang beside its size: whether it may be preempted, what it costs to start it again, since
when it runs or is stale, and in which order its members are placed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from aliquot.cel.instants import Duration
from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject
from aliquot.model.podgroups import KaiPodGroup
from aliquot.workloads import labels
from aliquot.workloads.sources.source import Member

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_SECONDS = 10**9


@dataclass(frozen=True, slots=True)
class RestartCost:
    """What is lost when the gang has to start again.

    checkpoint_seconds: how often it saves its work, None if that is not known. last_checkpoint: when it last
    did. startup_seconds: how long it takes until it does useful work.
    """

    checkpoint_seconds: int | None = None
    last_checkpoint: datetime | None = None
    startup_seconds: int = 0

    def lost_seconds(self, started: datetime | None, now: datetime) -> int:
        """Seconds of every member's work that are done in vain if the gang is evicted now.

        Since the last checkpoint, but not since before the start; with an interval alone, since the last
        multiple of it (started at 0 s, interval 600 s, now 1,500 s: 300 s); with neither, since the start.
        The start-up is paid again in any case, once there is something to start again.
        """
        if started is None:
            return 0
        running = max(0, _seconds(now - started))
        lost = running
        if self.last_checkpoint is not None:
            lost = min(lost, max(0, _seconds(now - self.last_checkpoint)))
        if self.checkpoint_seconds:
            useful = max(0, running - self.startup_seconds)
            lost = min(lost, useful % self.checkpoint_seconds if useful else running)
        return lost + min(self.startup_seconds, running)


def _seconds(time: timedelta) -> int:
    """Whole seconds, rounded down."""
    return time.days * 86_400 + time.seconds


NO_COST = RestartCost()


def restart_cost(settings: Mapping[str, str]) -> RestartCost:
    interval = seconds(settings.get(labels.CHECKPOINT_INTERVAL))
    last = moment(settings.get(labels.LAST_CHECKPOINT))
    startup = seconds(settings.get(labels.STARTUP_SECONDS))
    if interval is None and last is None and startup is None:
        return NO_COST
    return RestartCost(
        max(1, interval) if interval is not None and interval > 0 else None, last, max(0, startup or 0)
    )


def preemptible(
    settings: Mapping[str, str], owners: Iterable[KubernetesObject], priority: int, below: int | None
) -> bool:
    """What the workload says of itself, else whether its priority is less than `below` (None: always)."""
    # What is written False is not left out of account: the work would be evicted against its word.
    own = settings.get(labels.PREEMPTIBLE, "").lower()
    if own in ("true", "false"):
        return own == "true"
    said = settings.get(labels.KAI_PREEMPTIBILITY, "")
    for owner in owners:
        if isinstance(owner, KaiPodGroup):
            said = owner.spec.preemptibility or said
    if said.lower() in ("preemptible", "non-preemptible"):
        return said.lower() == "preemptible"
    return below is None or priority < below


def seconds(text: str | None) -> int | None:
    """A duration in whole seconds, from Go's form or a plain number; None for anything else."""
    if text is None:
        return None
    plain = text.removeprefix("-")
    if plain.isascii() and plain.isdigit() and len(plain) <= 10:
        return max(-_MOST_SECONDS, min(_MOST_SECONDS, int(text)))
    try:
        return max(-_MOST_SECONDS, min(_MOST_SECONDS, Duration.parse(text).truncated(10**9)))
    except ValueError:
        return None


def moment(text: str | None) -> datetime | None:
    """A time in RFC 3339; None for anything else."""
    if text is None or len(text) > 64:
        return None
    try:
        found = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return found if found.tzinfo is not None else None


def started(live: Iterable[Pod], minimum: int) -> datetime | None:
    """When the gang last came to have its minimum of members on nodes; None while it has none there.

    Minimum 2, members since 10:00, 10:05 and 11:00: since 10:05; what joins beyond the minimum does not make
    it younger. With fewer than the minimum, since the youngest of them.
    """
    times = sorted([_start(pod) for pod in live if pod.spec.node_name])
    if not times:
        return None
    return times[min(max(1, minimum), len(times)) - 1]


def _start(pod: Pod) -> datetime:
    status = pod.status
    if status.start_time is not None:
        return status.start_time
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.status == "True" and condition.last_transition_time:
            return condition.last_transition_time
    return pod.metadata.creation_timestamp or LONG_AGO


def task_order(
    member: Member, by_priority: bool, leaders_first: bool
) -> tuple[int, int, bool, int, datetime, str]:
    """The key by which members are placed: own priority, leaders, index, age, name."""
    meta = member.pod.metadata
    found = member.membership
    given = _task_priority(meta.labels.get(labels.TASK_PRIORITY)) if by_priority and meta.labels else None
    return (
        given is None,
        -(given or 0),
        leaders_first and not found.leader,
        found.index,
        meta.creation_timestamp or LONG_AGO,
        meta.name,
    )


def _task_priority(text: str | None) -> int | None:
    if text is None or len(text) > 12:
        return None
    try:
        return int(text)
    except ValueError:
        return None
