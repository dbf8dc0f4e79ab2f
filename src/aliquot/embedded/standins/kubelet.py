"""Pods that start, run for as long as they say, and finish; and pods that stop when they are deleted.

No container runs. Annotations on a pod say what its containers would do:

``aliquot.dev/run-seconds``: they end after so many seconds; without it they run until the pod is deleted.
``aliquot.dev/stop-seconds``: they take so long to end when asked to, the grace period at most.
``aliquot.dev/exit-code``: the exit code with which they end, 0 where absent.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from datetime import UTC, datetime
from typing import Any

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.metadata import timestamp
from aliquot.embedded.standins.resource_claims import CLAIMS, allocated, claim_key, claim_names, reserved_for
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    copy,
    parse_time,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key

RUN_SECONDS = "aliquot.dev/run-seconds"
STOP_SECONDS = "aliquot.dev/stop-seconds"
EXIT_CODE = "aliquot.dev/exit-code"
#: Delay before a container that failed is started again, doubled each time, and its bound, in seconds.
FIRST_BACK_OFF = 10.0
LAST_BACK_OFF = 300.0


def run_seconds(pod: Object) -> float | None:
    """How long the containers run; None for ever (also where the annotation is no number)."""
    return _seconds(pod, RUN_SECONDS)


def stop_seconds(pod: Object) -> float:
    """How long the containers take to end when asked to."""
    return _seconds(pod, STOP_SECONDS) or 0.0


def _seconds(pod: Object, annotation: str) -> float | None:
    text = (pod["metadata"].get("annotations") or {}).get(annotation)
    try:
        return None if text is None else min(max(float(text), 0.0), 1e9)
    except ValueError:
        return None


def exit_code(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(EXIT_CODE)
    try:
        return 0 if text is None else int(text) & 0xFF
    except ValueError:
        return 0


def pod_address(pod: Object) -> str:
    """An address of 10.0.0.0/8 that follows from the pod's uid."""
    number = zlib.crc32(pod["metadata"]["uid"].encode())
    return f"10.{number >> 16 & 0xFF}.{number >> 8 & 0xFF}.{max(1, number & 0xFE)}"


def node_address(node: Object) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP":
            return str(address["address"])
    number = zlib.crc32(node["metadata"]["name"].encode())
    return f"192.168.{number >> 8 & 0xFF}.{max(1, number & 0xFE)}"


def _used_claims(pod: Object) -> list[str]:
    return [f"{pod['metadata']['namespace']}/{name}" for name in claim_names(pod).values() if name]


def _node(pod: Object) -> list[str]:
    name = (pod.get("spec") or {}).get("nodeName")
    return [name] if name else []


class Kubelet(StandIn):
    """The kubelets of all nodes. ``start_seconds``: how long a pod takes from being bound to running."""

    user = User("system:nodes", ("system:nodes", "system:authenticated"))

    def __init__(self, cluster: Cluster, start_seconds: float = 0.0) -> None:
        super().__init__(cluster)
        self._start_seconds = start_seconds
        self.view.index("pods", "node", _node)
        self.view.index("pods", "claim", _used_claims)
        self.view.on("pods", self._pod_changed)
        self.view.on("nodes", self._node_changed)
        self.view.on(CLAIMS, self._claim_changed)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None or not (after.get("spec") or {}).get("nodeName"):
            return
        bound_now = before is None or not (before.get("spec") or {}).get("nodeName")
        if bound_now and self._start_seconds > 0 and not terminating(after):
            self.queue.add_at(self.cluster.seconds() + self._start_seconds, key)
        else:
            self.queue.add(key)

    def _node_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is None:
            for pod in self.view.by("pods", "node", key.name):
                self.queue.add(pod)

    def _claim_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        for pod in self.view.by("pods", "claim", f"{key.namespace}/{key.name}"):
            if _node(self.view.get(pod) or {}):
                self.queue.add(pod)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        pod = self.view.get(key)
        if pod is None or not pod["spec"].get("nodeName"):
            return
        node = self.view.get(Key("nodes", "", pod["spec"]["nodeName"]))
        if node is None:
            return
        if terminating(pod):
            self._stop(key, pod)
        elif pod_finished(pod):
            return
        elif (pod.get("status") or {}).get("phase") == "Running":
            self._go_on(key, pod)
        else:
            self._start(key, pod, node)

    def _stop(self, key: Key, pod: Object) -> None:
        """Containers end when asked to, most at once; then nothing holds the pod but its finalizers."""
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        end = parse_time(pod["metadata"].get("deletionTimestamp"))
        if end is not None and (pod.get("status") or {}).get("phase") == "Running":
            # The time of deletion is that at which the grace period ends.
            due = end - grace + min(stop_seconds(pod), grace)
            if self.cluster.seconds() < due:
                self.queue.add_at(due, key)
                return
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0 and pod["metadata"].get("finalizers"):
            if not pod_finished(pod):
                self._finish(key, pod, 137, self.cluster.seconds())
            return
        self.delete(key, uid=pod["metadata"]["uid"], propagation=None, grace_period=0)

    def _start(self, key: Key, pod: Object, node: Object) -> None:
        if not self._claims_ready(pod):
            return
        now = self.cluster.timestamp()
        changed = copy(pod)
        status = changed.setdefault("status", {})
        status["phase"] = "Running"
        status["startTime"] = now
        status["hostIP"] = node_address(node)
        status["hostIPs"] = [{"ip": status["hostIP"]}]
        status["podIP"] = status["hostIP"] if pod["spec"].get("hostNetwork") else pod_address(pod)
        status["podIPs"] = [{"ip": status["podIP"]}]
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"):
            set_condition(status, kind, "True", now)
        if pod["spec"].get("initContainers"):
            status["initContainerStatuses"] = [
                _container_status(one, _ended(0, now, now), ready=True)
                if one.get("restartPolicy") != "Always"
                else _container_status(one, {"running": {"startedAt": now}}, ready=True)
                for one in pod["spec"]["initContainers"]
            ]
        status["containerStatuses"] = [
            _container_status(one, {"running": {"startedAt": now}}, ready=True)
            for one in pod["spec"]["containers"]
        ]
        self.write(key, changed, "status")

    def _claims_ready(self, pod: Object) -> bool:
        """A kubelet prepares only claims that are allocated and reserved for the pod."""
        names = list(claim_names(pod).values())
        special = (pod.get("status") or {}).get("extendedResourceClaimStatus")
        if special:
            names.append(special["resourceClaimName"])
        for name in names:
            claim = self.view.get(claim_key(pod["metadata"]["namespace"], name)) if name else None
            if claim is None or not allocated(claim) or not reserved_for(claim, pod):
                return False
        return True

    def _go_on(self, key: Key, pod: Object) -> None:
        now = self.cluster.seconds()
        deadline = pod["spec"].get("activeDeadlineSeconds")
        started = parse_time((pod.get("status") or {}).get("startTime"))
        if deadline is not None and started is not None:
            if started + deadline <= now:
                message = "Pod was active on the node longer than the specified deadline"
                self._finish(key, pod, 137, now, reason="DeadlineExceeded", message=message)
                return
            self.queue.add_at(started + deadline, key)
        seconds = run_seconds(pod)
        if seconds is None:
            return
        first: Object = next(iter(pod["status"].get("containerStatuses") or ()), {})
        state = first.get("state") or {}
        if "waiting" in state:
            ended = (
                parse_time(((first.get("lastState") or {}).get("terminated") or {}).get("finishedAt")) or now
            )
            again = ended + _back_off(int(first.get("restartCount") or 0))
            if again > now:
                self.queue.add_at(again, key)
            else:
                self._restart(key, pod, waiting=False)
            return
        running_since = parse_time((state.get("running") or {}).get("startedAt")) or started or now
        if running_since + seconds > now:
            self.queue.add_at(running_since + seconds, key)
            return
        code = exit_code(pod)
        policy = pod["spec"].get("restartPolicy") or "Always"
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            self._finish(key, pod, code, now)
        else:
            self._restart(key, pod, waiting=True)

    def _restart(self, key: Key, pod: Object, *, waiting: bool) -> None:
        """End the containers and let them wait out the back-off, or start them after it."""
        now = self.cluster.timestamp()
        changed = copy(pod)
        status = changed["status"]
        for one in status.get("containerStatuses") or ():
            if waiting:
                since = ((one.get("state") or {}).get("running") or {}).get("startedAt") or now
                one["lastState"] = _ended(exit_code(pod), since, now)
                message = f"back-off {int(_back_off(one['restartCount']))}s restarting failed container"
                one["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            else:
                one["state"] = {"running": {"startedAt": now}}
                one["restartCount"] += 1
            one["ready"] = one["started"] = not waiting
        for kind in ("Ready", "ContainersReady"):
            if waiting:
                set_condition(status, kind, "False", now, "ContainersNotReady", "containers are not ready")
            else:
                set_condition(status, kind, "True", now)
        self.write(key, changed, "status")

    def _finish(
        self, key: Key, pod: Object, code: int, now: float, *, reason: str = "", message: str = ""
    ) -> None:
        text = timestamp(datetime.fromtimestamp(now, UTC))
        changed = copy(pod)
        status = changed.setdefault("status", {})
        status["phase"] = "Succeeded" if code == 0 else "Failed"
        if reason:
            status["reason"], status["message"] = reason, message
        for one in status.get("containerStatuses") or ():
            since = ((one.get("state") or {}).get("running") or {}).get("startedAt") or text
            one["state"] = _ended(code, since, text)
            one["ready"] = one["started"] = False
        why = "PodCompleted" if code == 0 else "PodFailed"
        for kind in ("Ready", "ContainersReady"):
            set_condition(status, kind, "False", text, why)
        self.write(key, changed, "status")


def _back_off(restarts: int) -> float:
    return min(FIRST_BACK_OFF * 2.0 ** min(restarts, 10), LAST_BACK_OFF)


def _ended(code: int, since: str, until: str) -> dict[str, Any]:
    reason = "Completed" if code == 0 else "Error"
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": since, "finishedAt": until}}


def _container_status(container: Object, state: dict[str, Any], *, ready: bool) -> Object:
    image = container.get("image") or ""
    return {
        "name": container["name"],
        "image": image,
        "imageID": "",
        "restartCount": 0,
        "ready": ready,
        "started": "running" in state,
        "state": state,
        "lastState": {},
    }
