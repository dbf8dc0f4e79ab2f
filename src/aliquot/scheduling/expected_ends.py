"""When pods will be gone by what they say, or their Jobs: an annotation, or a deadline."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.workloads import labels, settings
from aliquot.workloads.sources.source import GroupKey

MOST_EXPECTED = 24 * 3600
"""Work that is expected to take longer, in seconds, is not asked when it ends."""


def expected_end(pod: Pod, index: SnapshotIndex, now: datetime) -> datetime | None:
    """When a pod will be gone by what it says: its annotation, or a deadline of its own or of its Job if that
    is sooner. A pod that has not started yet is taken to start now. None if nothing is said, or if that time
    has passed."""
    job_key = _job_of(pod)
    job = None if job_key is None else index.jobs.get(job_key)
    said = pod.metadata.annotations.get(labels.EXPECTED_SECONDS)
    if said is None and job is not None:
        said = job.metadata.annotations.get(labels.EXPECTED_SECONDS)
    known = [settings.seconds(said), pod.spec.active_deadline_seconds]
    if job is not None:
        known.append(job.spec.active_deadline_seconds)
    seconds = min((item for item in known if item is not None and item > 0), default=None)
    if seconds is None or seconds > MOST_EXPECTED:
        return None
    end = (pod.status.start_time or now) + timedelta(seconds=seconds)
    return end if end > now else None


class Ending:
    """The gangs of a cluster of which a pod, or the Job of one, may say when it ends; of all others it need
    not be asked."""

    def __init__(self) -> None:
        self._saying: set[GroupKey] = set()
        self._of_job: dict[Key, set[GroupKey]] = {}
        self._jobs: dict[GroupKey, set[Key]] = {}

    def enter(self, key: GroupKey, pods: Iterable[Pod]) -> None:
        """The pods of a gang that are on nodes."""
        for pod in pods:
            if (
                labels.EXPECTED_SECONDS in pod.metadata.annotations
                or pod.spec.active_deadline_seconds is not None
            ):
                self._saying.add(key)
            job = _job_of(pod)
            if job is not None:
                self._jobs.setdefault(key, set()).add(job)
                self._of_job.setdefault(job, set()).add(key)

    def retract(self, key: GroupKey) -> None:
        self._saying.discard(key)
        for job in self._jobs.pop(key, ()):
            gangs = self._of_job[job]
            gangs.discard(key)
            if not gangs:
                del self._of_job[job]

    def gangs(self, index: SnapshotIndex) -> set[GroupKey]:
        """Those of which something says so in the snapshot as it is."""
        found = set(self._saying)
        for key, gangs in self._of_job.items():
            job = index.jobs.get(key)
            if job is not None and (
                labels.EXPECTED_SECONDS in job.metadata.annotations
                or job.spec.active_deadline_seconds is not None
            ):
                found |= gangs
        return found


def _job_of(pod: Pod) -> Key | None:
    owner = pod.metadata.controller
    return (pod.metadata.namespace, owner.name) if owner is not None and owner.kind == "Job" else None
