"""What becomes of pods when their node goes away or gets a NoExecute taint.

Source: Kubernetes documentation, "Pod Lifecycle" (garbage collection of pods) and "Taints and Tolerations".
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.metadata import timestamp
from aliquot.embedded.standins.node_fit import tolerates
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    parse_time,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key


def _node(pod: Object) -> list[str]:
    name = (pod.get("spec") or {}).get("nodeName")
    return [name] if name else []


class PodsOfLostNodes(StandIn):
    """Removes pods whose node does not exist, ``quarantine_seconds`` after that was first seen.

    The wait lets a node come back under its name, as kube-controller-manager's pod garbage collector does
    (40 s).
    """

    user = controller_user("pod-garbage-collector")

    def __init__(self, cluster: Cluster, quarantine_seconds: float = 40.0) -> None:
        super().__init__(cluster)
        self._quarantine = quarantine_seconds
        self._missing_since: dict[str, float] = {}
        self.view.index("pods", "node", _node)
        self.view.on("pods", self._pod_changed)
        self.view.on("nodes", self._node_changed)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None:
            return
        for name in _node(after):
            if self.view.get(Key("nodes", "", name)) is None:
                self.queue.add(name)

    def _node_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None:
            self.queue.add(key.name)
        else:
            self._missing_since.pop(key.name, None)

    def reconcile(self, key: Hashable) -> None:
        name = str(key)
        if self.view.get(Key("nodes", "", name)) is not None:
            return
        pods = self.view.by("pods", "node", name)
        if not pods:
            self._missing_since.pop(name, None)
            return
        now = self.cluster.seconds()
        since = self._missing_since.setdefault(name, now)
        if now < since + self._quarantine:
            self.queue.add_at(since + self._quarantine, name)
            return
        for pod_key in pods:
            pod = self.view.get(pod_key)
            if pod is None:
                continue
            if not pod_finished(pod):
                changed = copy(pod)
                status = changed.setdefault("status", {})
                status["phase"] = "Failed"
                message = "PodGC: node no longer exists"
                set_condition(
                    status, "DisruptionTarget", "True", self.cluster.timestamp(), "DeletionByPodGC", message
                )
                self.write(pod_key, changed, "status")
            self.delete(pod_key, uid=pod["metadata"]["uid"], propagation=None, grace_period=0)


class TaintEviction(StandIn):
    """Deletes pods that do not tolerate a NoExecute taint of their node, or not for so long."""

    user = controller_user("taint-eviction-controller")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.index("pods", "node", _node)
        self.view.on("pods", self._pod_changed)
        self.view.on("nodes", self._node_changed)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None or (before is not None and _node(before) == _node(after)):
            return
        for name in _node(after):
            node = self.view.get(Key("nodes", "", name))
            if node is not None and _no_execute(node):
                self.queue.add(key)

    def _node_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None or (before is None and not _no_execute(after)):
            return
        if before is None or _no_execute(before) != _no_execute(after):
            for pod in self.view.by("pods", "node", key.name):
                self.queue.add(pod)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        pod = self.view.get(key)
        if pod is None or terminating(pod) or pod_finished(pod) or not _node(pod):
            return
        node = self.view.get(Key("nodes", "", pod["spec"]["nodeName"]))
        if node is None:
            return
        now = self.cluster.seconds()
        ends = [_end(pod, taint, now) for taint in _no_execute(node)]
        limited = [end for end in ends if end is not None]
        if not limited:
            return
        end = min(limited)
        if end > now:
            self.queue.add_at(end, key)
            return
        changed = copy(pod)
        message = "Taint manager: deleting due to NoExecute taint"
        text = timestamp(datetime.fromtimestamp(now, UTC))
        set_condition(
            changed.setdefault("status", {}),
            "DisruptionTarget",
            "True",
            text,
            "DeletionByTaintManager",
            message,
        )
        self.write(key, changed, "status")
        self.delete(key, uid=pod["metadata"]["uid"], propagation=None)


def _no_execute(node: Object) -> list[Object]:
    return [one for one in (node.get("spec") or {}).get("taints") or () if one.get("effect") == "NoExecute"]


def _end(pod: Object, taint: Object, now: float) -> float | None:
    """Until when the pod may stay beside this taint; None for ever."""
    matching = [one for one in pod["spec"].get("tolerations") or () if tolerates([one], taint)]
    if not matching:
        return now
    limits = [float(one["tolerationSeconds"]) for one in matching if one.get("tolerationSeconds") is not None]
    if not limits:
        return None
    return (parse_time(taint.get("timeAdded")) or now) + max(min(limits), 0.0)
