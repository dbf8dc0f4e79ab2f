"""The row of a pod: what it waits for, in one word."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import Column, Table, age, at, human_duration, parse_time


def _statuses(pod: Object, part: str) -> list[Any]:
    found = (pod.get("status") or {}).get(part) or []
    return [one for one in found if isinstance(one, dict)]


def ready(pod: Object, now: datetime) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    count = sum(1 for one in _statuses(pod, "containerStatuses") if one.get("ready"))
    return f"{count}/{len(containers)}"


def _ended(state: Object) -> str:
    ended = state["terminated"]
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"


def _initializing(pod: Object) -> str | None:
    """``Init:1/2`` and the like while an init container has not succeeded."""
    total = len((pod.get("spec") or {}).get("initContainers") or [])
    for index, one in enumerate(_statuses(pod, "initContainerStatuses")):
        state = one.get("state") or {}
        if "terminated" in state:
            if state["terminated"].get("exitCode", 0) == 0:
                continue
            return f"Init:{_ended(state)}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{total}"
    return None


def _running(pod: Object, reason: str) -> str:
    is_running = False
    for one in reversed(_statuses(pod, "containerStatuses")):
        state = one.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = str(state["waiting"]["reason"])
        elif "terminated" in state:
            reason = _ended(state)
        elif one.get("ready") and "running" in state:
            is_running = True
    if reason == "Completed" and is_running:
        conditions = (pod.get("status") or {}).get("conditions") or []
        is_ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
        return "Running" if is_ready else "NotReady"
    return reason


def status(pod: Object, now: datetime) -> str:
    """``Running``, ``Pending``, ``SchedulingGated``, ``Completed``, ``Terminating``, ``Init:0/1`` ..."""
    current = pod.get("status") or {}
    reason = str(current.get("reason") or current.get("phase") or "Unknown")
    for one in current.get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    reason = _initializing(pod) or _running(pod, reason)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if current.get("reason") == "NodeLost":
            return "Unknown"
        if current.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return reason


def restarts(pod: Object, now: datetime) -> str:
    total, last = 0, None
    for one in _statuses(pod, "containerStatuses"):
        total += int(one.get("restartCount") or 0)
        ended = ((one.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        moment = parse_time(ended)
        if moment is not None and (last is None or moment > last):
            last = moment
    if total and last is not None:
        return f"{total} ({human_duration((now - last).total_seconds())} ago)"
    return str(total)


def _readiness_gates(pod: Object, now: datetime) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or []
    if not gates:
        return "<none>"
    conditions = (pod.get("status") or {}).get("conditions") or []
    true = {one.get("type") for one in conditions if one.get("status") == "True"}
    return f"{sum(1 for gate in gates if gate.get('conditionType') in true)}/{len(gates)}"


PODS = Table(
    (
        Column("Ready", ready, description="Containers that are ready, of all"),
        Column("Status", status, description="What the pod does or waits for"),
        Column("Restarts", restarts, description="How often containers were restarted"),
        Column("Age", age),
        Column("IP", at("status.podIP"), priority=1),
        Column("Node", at("spec.nodeName"), priority=1),
        Column("Nominated Node", at("status.nominatedNodeName"), priority=1),
        Column("Readiness Gates", _readiness_gates, priority=1),
    )
)
