"""How the pods of a workload do since its size was changed, by what the cluster says of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from aliquot.sizing.rollout import Health
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Series

STARTED_WITHIN_S = 900
"""A pod that has not started after so long cannot start."""

_STUCK = frozenset(
    {"CrashLoopBackOff", "CreateContainerError", "CreateContainerConfigError", "RunContainerError"}
)
"""Reasons of waiting containers (kubelet) that are no matter of time. An image that cannot be pulled is not
the size's fault."""

LEAST_BEFORE_MS = 3_600_000
"""With less history of its throughput nobody knows whether it is slower."""


def pod_health(pods: Iterable[Mapping[str, Any]], since: datetime, now: datetime) -> tuple[int, int]:
    """Containers that ran out of memory, and pods that fail or cannot start; both counted since the change.

    pods: of the workload, as the API has them. A CUDA out-of-memory error ends the process like any other
    error, so that it counts among the failures.
    """
    memory, failed = 0, 0
    for pod in pods:
        metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
        created = _time(metadata.get("creationTimestamp"))
        if created is None or created < since or metadata.get("deletionTimestamp"):
            continue
        bad = status.get("phase") == "Failed" and status.get("reason") != "Evicted"
        for container in status.get("containerStatuses") or ():
            ended = _ended(container, since)
            killed = sum(1 for item in ended if item.get("reason") == "OOMKilled")
            memory += killed
            waiting = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
            bad = bad or waiting in _STUCK
            bad = bad or any(item.get("exitCode") and item.get("reason") != "OOMKilled" for item in ended)
        waits = status.get("phase") == "Pending" and (now - created).total_seconds() > STARTED_WITHIN_S
        failed += bad or waits
    return memory, failed


def _ended(container: Mapping[str, Any], since: datetime) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for name in ("state", "lastState"):
        terminated = (container.get(name) or {}).get("terminated")
        if isinstance(terminated, dict):
            finished = _time(terminated.get("finishedAt"))
            if finished is None or finished >= since:
                found.append(terminated)
    return found


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def memory_percent(series: Iterable[Series], pods: frozenset[str], since_ms: int, memory: int) -> int | None:
    """The highest use of the part's memory by these pods since then, in per cent; None where nothing
    measured it. memory: bytes of the part."""
    highest = None
    for item in series:
        pod = item.owner.pod
        if item.metric is not Metric.MEMORY_USED or pod is None or pod.name not in pods or memory <= 0:
            continue
        value = item.between(since_ms, item.end).maximum().value
        if value is not None:
            highest = max(highest or 0, value)
    return None if highest is None else highest * 100 // memory


def slower_percent(series: Iterable[Series], since_ms: int) -> int | None:
    """How much fewer tokens a model server gives out since then, while requests wait that it cannot take.

    Fewer tokens because fewer were asked for are no sign of anything, so without requests that wait nobody
    knows. series: those of the workload's model servers, from before the change on.
    """
    tokens = {False: [0, 0], True: [0, 0]}
    waits = {False: [0, 0], True: [0, 0]}
    for item in series:
        for after in (False, True):
            piece = item.between(since_ms, item.end) if after else item.between(item.start, since_ms)
            if not len(piece):
                continue
            if item.metric is Metric.GENERATION_TOKENS:
                tokens[after][0] += piece.total()
                tokens[after][1] += piece.covered
            elif item.metric is Metric.REQUESTS_WAITING:
                waits[after][0] += piece.total()
                waits[after][1] += piece.covered
    if min(tokens[False][1], tokens[True][1]) < LEAST_BEFORE_MS or not waits[True][1] or not tokens[False][0]:
        return None
    # Of a level `total` is value x time: on average at least one request has to wait.
    if waits[True][0] < waits[True][1]:
        return None
    before, now = tokens[False][0] / tokens[False][1], tokens[True][0] / tokens[True][1]
    return max(0, round(100 * (before - now) / before))


def health_of(
    pods: Iterable[Mapping[str, Any]],
    series: Iterable[Series],
    servers: Iterable[Series],
    memory: int,
    since: datetime,
    now: datetime,
) -> Health:
    """All of it together. series: memory of the namespace's pods; servers: of the workload's own."""
    known = tuple(pods)
    since_ms = round(since.timestamp() * 1000)
    # Objects know the second in which they were made, and a change is followed within milliseconds.
    since = since.replace(microsecond=0)
    out_of_memory, failed = pod_health(known, since, now)
    young = frozenset(
        str(pod["metadata"]["name"])
        for pod in known
        if (created := _time((pod.get("metadata") or {}).get("creationTimestamp"))) and created >= since
    )
    return Health(
        out_of_memory=out_of_memory,
        failed=failed,
        memory_percent=memory_percent(series, young, since_ms, memory),
        slower_percent=slower_percent(servers, since_ms),
    )
