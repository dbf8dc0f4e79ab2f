"""StatefulSets: pods with numbers, made and removed in order.

Source: Kubernetes documentation, "StatefulSets" (apps/v1). Not done: volume claims.
"""

from __future__ import annotations

from collections.abc import Hashable

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.deployments import template_hash
from aliquot.embedded.standins.pod_templates import pod_from
from aliquot.embedded.standins.replicasets import replicas
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    key_of,
    pod_finished,
    pod_ready,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of
from aliquot.embedded.status import StatusError

STATEFUL_SETS = "statefulsets.apps"
POD_INDEX = "apps.kubernetes.io/pod-index"
POD_NAME = "statefulset.kubernetes.io/pod-name"
REVISION = "controller-revision-hash"


class StatefulSets(StandIn):
    user = controller_user("statefulset-controller")
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.on(STATEFUL_SETS, self._set_changed)
        self.view.on("pods", self._pod_changed)

    def _set_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        owner = controller_of(after or before or {"metadata": {}})
        if owner is not None and owner.get("kind") == "StatefulSet":
            self.queue.add(Key(STATEFUL_SETS, key.namespace, owner["name"]))

    def refused(self, key: Hashable, error: StatusError) -> None:
        owner = self.view.get(key) if isinstance(key, Key) and error.code in (400, 403, 422) else None
        if owner is not None:
            self.warn(owner, "StatefulSet", "FailedCreate", f"Error creating: {error.message}")

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        owner = self.view.get(key)
        if owner is None or terminating(owner):
            return
        revision = f"{owner['metadata']['name']}-{template_hash(owner['spec'].get('template') or {})}"
        self._adjust(owner, revision)
        self._report(key, owner, revision)

    def _pods(self, owner: Object) -> dict[int, Object]:
        prefix = owner["metadata"]["name"] + "-"
        pods: dict[int, Object] = {}
        for pod in self.view.controlled_by(owner["metadata"]["uid"], "pods"):
            number = pod["metadata"]["name"].removeprefix(prefix)
            if number.isdigit():
                pods[int(number)] = pod
        return pods

    def _adjust(self, owner: Object, revision: str) -> None:
        pods = self._pods(owner)
        start = int((owner["spec"].get("ordinals") or {}).get("start") or 0)
        wanted = range(start, start + replicas(owner))
        parallel = owner["spec"].get("podManagementPolicy") == "Parallel"
        for number in wanted:
            pod = pods.get(number)
            if pod is not None and pod_finished(pod) and not terminating(pod):
                self._delete(pod)
                return
            if pod is None:
                self._make(owner, number, revision)
            if not parallel and (pod is None or terminating(pod) or not pod_ready(pod)):
                return
        for number in sorted((one for one in pods if one not in wanted), reverse=True):
            if not terminating(pods[number]):
                self._delete(pods[number])
            if not parallel:
                return
        self._update(owner, pods, wanted, revision)

    def _update(self, owner: Object, pods: dict[int, Object], wanted: range, revision: str) -> None:
        """Replace pods of an older template from the highest number down to the partition, one at a time."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        for number in reversed(wanted):
            pod = pods.get(number)
            if number < partition or pod is None:
                return
            if _revision(pod) != revision:
                if not terminating(pod):
                    self._delete(pod)
                return
            if not pod_ready(pod):
                return

    def _delete(self, pod: Object) -> None:
        self.delete(key_of("pods", pod), uid=pod["metadata"]["uid"], propagation=None)

    def _make(self, owner: Object, number: int, revision: str) -> None:
        name = f"{owner['metadata']['name']}-{number}"
        typed = {"apiVersion": "apps/v1", "kind": "StatefulSet"} | owner
        pod = pod_from(owner["spec"].get("template"), typed, name, generate=False)
        labels = pod["metadata"].setdefault("labels", {})
        labels |= {POD_INDEX: str(number), POD_NAME: name, REVISION: revision}
        pod["spec"]["hostname"] = name
        if owner["spec"].get("serviceName"):
            pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
        self.create("pods", owner["metadata"]["namespace"], pod)

    def _report(self, key: Key, owner: Object, revision: str) -> None:
        pods = [one for one in self._pods(owner).values() if not terminating(one) and not pod_finished(one)]
        ready = sum(1 for one in pods if pod_ready(one))
        updated = sum(1 for one in pods if _revision(one) == revision)
        changed = copy(owner)
        status = changed.setdefault("status", {})
        status["replicas"] = len(pods)
        counts = {
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": updated,
            "currentReplicas": updated,
        }
        for name, count in counts.items():
            if count or name == "availableReplicas":
                status[name] = count
            else:
                status.pop(name, None)
        status["updateRevision"] = revision
        if updated == len(pods) or "currentRevision" not in status:
            status["currentRevision"] = revision
        status["observedGeneration"] = owner["metadata"].get("generation", 1)
        self.write(key, changed, "status")


def _revision(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))
