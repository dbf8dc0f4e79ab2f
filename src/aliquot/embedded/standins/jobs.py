"""Jobs: pods until enough of them have succeeded.

Source: Kubernetes documentation, "Jobs" (batch/v1). Not done: successPolicy, backoffLimitPerIndex,
managedBy.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.job_failures import counts, judge
from aliquot.embedded.standins.pod_templates import pod_from, refusal_of_pods
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    find_condition,
    is_true,
    key_of,
    parse_time,
    pod_ready,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of
from aliquot.embedded.status import StatusError

JOBS = "jobs.batch"
INDEX = "batch.kubernetes.io/job-completion-index"
#: Pods made or deleted for one job at a time, as kube-controller-manager does.
MOST_AT_ONCE = 500
#: Delay before the pod after a failed one, doubled by each further failure, and its bound, in seconds.
FIRST_BACK_OFF = 10.0
LAST_BACK_OFF = 600.0


@dataclass(slots=True)
class _Gone:
    """Pods of a job that were counted and do not exist any more."""

    succeeded: int = 0
    failed: int = 0
    indexes: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Pods:
    """The pods of one job as they stand."""

    active: list[Object] = field(default_factory=list)
    stopping: list[Object] = field(default_factory=list)
    succeeded: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)


def parse_indexes(text: str | None) -> set[int]:
    """``0-2,5`` as {0, 1, 2, 5}."""
    indexes: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            indexes.update(range(int(first), int(last or first) + 1))
    return indexes


def format_indexes(indexes: set[int]) -> str:
    """{0, 1, 2, 5} as ``0-2,5``."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _index_of(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def _succeeded(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("phase") == "Succeeded")


def _ended(job: Object) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


class Jobs(StandIn):
    user = controller_user("job-controller")
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._gone: dict[str, _Gone] = {}
        #: Pods deleted by this controller itself (scaled down, suspended, job ended): they did not fail.
        self._removed: set[str] = set()
        self.view.on(JOBS, self._job_changed)
        self.view.on("pods", self._pod_changed)

    def _job_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)
        elif before is not None:
            self._gone.pop(before["metadata"]["uid"], None)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        pod = after or before
        owner = controller_of(pod) if pod is not None else None
        if owner is None or owner.get("kind") != "Job" or pod is None:
            return
        job = Key(JOBS, key.namespace, owner["name"])
        uid = pod["metadata"]["uid"]
        if after is None and uid in self._removed:
            self._removed.discard(uid)
        elif after is None and (gone := self._gone.get(owner["uid"])) is not None:
            if _succeeded(pod):
                gone.succeeded += 1
                gone.indexes.add(_index_of(pod))
            elif (found := self.view.get(job)) is None or counts(found, pod):
                gone.failed += 1
        self.queue.add(job)

    def refused(self, key: Hashable, error: StatusError) -> None:
        owner = self.view.get(key) if isinstance(key, Key) and error.code in (400, 403, 422) else None
        if owner is not None:
            self.warn(owner, "Job", "FailedCreate", refusal_of_pods(owner, error))

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        job = self.view.get(key)
        if job is None or terminating(job):
            return
        if _ended(job):
            self._expire(key, job)
            return
        pods = self._pods(job)
        gone = self._remembered(job, pods)
        changed = copy(job)
        status = changed.setdefault("status", {})
        now = self.cluster.timestamp()
        indexes = self._count(changed, pods, gone)
        if job["spec"].get("suspend"):
            self._suspend(pods, status, now)
        else:
            if is_true(job, "Suspended"):
                set_condition(status, "Suspended", "False", now, "JobResumed", "Job resumed")
                status["startTime"] = now
            status.setdefault("startTime", now)
            failure = self._failure(key, job, status, pods)
            if failure is not None:
                self._end(status, pods, "Failed", *failure, now)
            elif self._complete(job, pods, status, indexes):
                self._end(
                    status,
                    pods,
                    "Complete",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                    now,
                )
                status["completionTime"] = now
            else:
                self._adjust(key, job, pods, gone, indexes)
        pods = self._pods(job)
        if not _ended(changed):
            self._count(changed, pods, self._remembered(job, pods))
        self.write(key, changed, "status")

    # Counting

    def _pods(self, job: Object) -> _Pods:
        pods = _Pods()
        for pod in self.view.controlled_by(job["metadata"]["uid"], "pods"):
            phase = (pod.get("status") or {}).get("phase")
            if phase == "Succeeded":
                pods.succeeded.append(pod)
            elif phase == "Failed":
                pods.failed.append(pod)
            elif terminating(pod):
                pods.stopping.append(pod)
            else:
                pods.active.append(pod)
        return pods

    def _remembered(self, job: Object, pods: _Pods) -> _Gone:
        """What was counted of pods that are gone; at first that is what the status has beyond the pods."""
        uid = job["metadata"]["uid"]
        gone = self._gone.get(uid)
        if gone is None:
            status = job.get("status") or {}
            gone = self._gone[uid] = _Gone(
                max(0, int(status.get("succeeded") or 0) - len(pods.succeeded)),
                max(0, int(status.get("failed") or 0) - self._failures(job, pods)),
                parse_indexes(status.get("completedIndexes")),
            )
        return gone

    def _failures(self, job: Object, pods: _Pods) -> int:
        lost = [pod for pod in pods.stopping if pod["metadata"]["uid"] not in self._removed]
        return sum(1 for pod in (*pods.failed, *lost) if counts(job, pod))

    def _count(self, job: Object, pods: _Pods, gone: _Gone) -> set[int]:
        """Write the counts into the status; returns the completed indexes of an Indexed job.

        A pod that is deleted before it succeeded counts as failed, as in Kubernetes.
        """
        status = job["status"]
        indexes: set[int] = set()
        succeeded = len(pods.succeeded) + gone.succeeded
        if job["spec"].get("completionMode") == "Indexed":
            completions = int(job["spec"].get("completions") or 0)
            indexes = {_index_of(pod) for pod in pods.succeeded} | gone.indexes
            indexes = {index for index in indexes if 0 <= index < completions}
            succeeded = len(indexes)
            if indexes:
                status["completedIndexes"] = format_indexes(indexes)
        failed = self._failures(job, pods) + gone.failed
        for name, count in (("active", len(pods.active)), ("succeeded", succeeded), ("failed", failed)):
            if count:
                status[name] = count
            else:
                status.pop(name, None)
        status["ready"] = sum(1 for pod in pods.active if pod_ready(pod))
        status["terminating"] = len(pods.stopping)
        return indexes

    # How a job ends

    def _failure(self, key: Key, job: Object, status: Object, pods: _Pods) -> tuple[str, str] | None:
        for pod in pods.failed:
            verdict = judge(job, pod)
            if verdict.action == "FailJob":
                return "PodFailurePolicy", verdict.message
        limit = job["spec"].get("backoffLimit")
        if int(status.get("failed") or 0) > (6 if limit is None else int(limit)):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = job["spec"].get("activeDeadlineSeconds")
        started = parse_time(status.get("startTime"))
        if deadline is not None and started is not None:
            if started + deadline <= self.cluster.seconds():
                return "DeadlineExceeded", "Job was active longer than specified deadline"
            self.queue.add_at(started + deadline, key)
        return None

    def _complete(self, job: Object, pods: _Pods, status: Object, indexes: set[int]) -> bool:
        completions = job["spec"].get("completions")
        if completions is None:
            return bool(status.get("succeeded")) and not pods.active
        return int(status.get("succeeded") or 0) >= int(completions)

    def _end(self, status: Object, pods: _Pods, kind: str, reason: str, message: str, now: str) -> None:
        first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for pod in pods.active[:]:
            self._remove(pod)
        set_condition(status, first, "True", now, reason, message)
        set_condition(status, kind, "True", now, reason, message)
        status.pop("active", None)
        status["ready"] = 0
        status["terminating"] = 0

    def _expire(self, key: Key, job: Object) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return
        condition = find_condition(job, "Complete") or find_condition(job, "Failed") or {}
        ended = parse_time(condition.get("lastTransitionTime")) or self.cluster.seconds()
        if ended + seconds <= self.cluster.seconds():
            self.delete(key, uid=job["metadata"]["uid"], propagation="Foreground")
        else:
            self.queue.add_at(ended + seconds, key)

    def _suspend(self, pods: _Pods, status: Object, now: str) -> None:
        for pod in pods.active:
            self._remove(pod)
        status.pop("startTime", None)
        set_condition(status, "Suspended", "True", now, "JobSuspended", "Job suspended")

    # Pods

    def _remove(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._removed.add(uid)
        self.delete(key_of("pods", pod), uid=uid, propagation=None)

    def _adjust(self, key: Key, job: Object, pods: _Pods, gone: _Gone, indexes: set[int]) -> None:
        spec = job["spec"]
        parallelism = 1 if spec.get("parallelism") is None else int(spec["parallelism"])
        completions = spec.get("completions")
        succeeded = (
            len(indexes) if spec.get("completionMode") == "Indexed" else len(pods.succeeded) + gone.succeeded
        )
        if completions is None:
            wanted = len(pods.active) if succeeded else parallelism
            wanted = min(wanted, parallelism)
        else:
            wanted = min(parallelism, int(completions) - succeeded)
        active = len(pods.active)
        if active > wanted:
            for pod in _least_advanced(pods.active)[: min(active - wanted, MOST_AT_ONCE)]:
                self._remove(pod)
            return
        held = len(pods.stopping) if spec.get("podReplacementPolicy") == "Failed" else 0
        missing = wanted - active - held
        if missing <= 0:
            return
        again = self._back_off_until(job, pods)
        if again > self.cluster.seconds():
            self.queue.add_at(again, key)
            return
        if missing > MOST_AT_ONCE:
            self.queue.add(key)
        self._make(job, pods, indexes, min(missing, MOST_AT_ONCE))

    def _make(self, job: Object, pods: _Pods, indexes: set[int], count: int) -> None:
        if job["spec"].get("completionMode") != "Indexed":
            for _ in range(count):
                self.create("pods", job["metadata"]["namespace"], _pod(job, None))
            return
        taken = indexes | {_index_of(pod) for pod in pods.active}
        for index in range(int(job["spec"].get("completions") or 0)):
            if count == 0:
                return
            if index not in taken:
                self.create("pods", job["metadata"]["namespace"], _pod(job, index))
                count -= 1

    def _back_off_until(self, job: Object, pods: _Pods) -> float:
        """When the next pod may be made: failures since the last success delay it, each doubling it."""
        last_success = max((_end_time(pod) for pod in pods.succeeded), default=0.0)
        counted = [pod for pod in pods.failed if counts(job, pod)]
        failures = [time for pod in counted if (time := _end_time(pod)) > last_success]
        if not failures:
            return 0.0
        return max(failures) + min(FIRST_BACK_OFF * 2.0 ** min(len(failures) - 1, 20), LAST_BACK_OFF)


def _end_time(pod: Object) -> float:
    times = [
        parse_time((((one.get("state") or {}).get("terminated")) or {}).get("finishedAt"))
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max((time for time in times if time is not None), default=0.0)


def _least_advanced(pods: list[Object]) -> list[Object]:
    """Those that lose the least when they are deleted come first."""

    def progress(pod: Object) -> tuple[bool, bool]:
        return bool((pod.get("spec") or {}).get("nodeName")), pod_ready(pod)

    return sorted(pods, key=progress)


def _pod(job: Object, index: int | None) -> Object:
    meta = job["metadata"]
    prefix = meta["name"][:52]
    name = f"{prefix}-" if index is None else f"{prefix}-{index}-"
    pod = pod_from(
        job["spec"].get("template"), {"apiVersion": "batch/v1", "kind": "Job"} | job, name, generate=True
    )
    labels = pod["metadata"].setdefault("labels", {})
    labels["batch.kubernetes.io/job-name"] = labels["job-name"] = meta["name"]
    labels["batch.kubernetes.io/controller-uid"] = labels["controller-uid"] = meta["uid"]
    if index is not None:
        pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
        labels[INDEX] = str(index)
        pod["spec"].setdefault("hostname", f"{prefix}-{index}")
        for container in [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]:
            env = container.setdefault("env", [])
            if not any(one.get("name") == "JOB_COMPLETION_INDEX" for one in env):
                source = {"fieldPath": f"metadata.labels['{INDEX}']"}
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": source}})
    return pod
