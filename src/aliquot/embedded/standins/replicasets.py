"""ReplicaSets: a number of pods of one template.

Source: Kubernetes documentation, "ReplicaSet" (apps/v1).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from aliquot.embedded.hooks import Object
from aliquot.embedded.selectors import label_selector_of
from aliquot.embedded.standins.pod_templates import pod_from, refusal_of_pods
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    key_of,
    parse_time,
    pod_finished,
    pod_ready,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of, owner_reference
from aliquot.embedded.status import StatusError

REPLICA_SETS = "replicasets.apps"
MOST_AT_ONCE = 500


def replicas(obj: Object) -> int:
    """``spec.replicas``, 1 where absent."""
    wanted = (obj.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def _orphan_home(pod: Object) -> Iterable[str]:
    return () if controller_of(pod) else (pod["metadata"]["namespace"],)


class ReplicaSets(StandIn):
    user = controller_user("replicaset-controller")
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.index("pods", "orphans of namespace", _orphan_home)
        self.view.on(REPLICA_SETS, self._set_changed)
        self.view.on("pods", self._pod_changed)

    def _set_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        for pod in (before, after):
            owner = controller_of(pod) if pod is not None else None
            if owner is not None and owner.get("kind") == "ReplicaSet":
                self.queue.add(Key(REPLICA_SETS, key.namespace, owner["name"]))

    def refused(self, key: Hashable, error: StatusError) -> None:
        owner = self.view.get(key) if isinstance(key, Key) and error.code in (400, 403, 422) else None
        if owner is not None:
            self.warn(owner, "ReplicaSet", "FailedCreate", refusal_of_pods(owner, error))

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        owner = self.view.get(key)
        if owner is None or terminating(owner):
            return
        if owner["spec"].get("selector"):
            self._adopt(owner)
        active = self._active(owner)
        wanted = replicas(owner)
        if len(active) < wanted:
            missing = wanted - len(active)
            for _ in range(min(missing, MOST_AT_ONCE)):
                name = f"{owner['metadata']['name'][:57]}-"
                pod = pod_from(owner["spec"].get("template"), _typed(owner), name, generate=True)
                self.create("pods", key.namespace, pod)
            if missing > MOST_AT_ONCE:
                self.queue.add(key)
        elif len(active) > wanted:
            for pod in _cheapest_first(active)[: len(active) - wanted]:
                self.delete(key_of("pods", pod), uid=pod["metadata"]["uid"], propagation=None)
        self._report(key, owner)

    def _active(self, owner: Object) -> list[Object]:
        pods = self.view.controlled_by(owner["metadata"]["uid"], "pods")
        return [pod for pod in pods if not pod_finished(pod) and not terminating(pod)]

    def _adopt(self, owner: Object) -> None:
        """Take over pods without a controller that the selector matches."""
        selector = label_selector_of(owner["spec"]["selector"])
        if not selector.terms:
            return
        for pod in self.view.found("pods", "orphans of namespace", owner["metadata"]["namespace"]):
            if (
                terminating(pod)
                or pod_finished(pod)
                or not selector.matches(pod["metadata"].get("labels") or {})
            ):
                continue
            changed = copy(pod)
            changed["metadata"].setdefault("ownerReferences", []).append(owner_reference(_typed(owner)))
            self.write(key_of("pods", pod), changed)

    def _report(self, key: Key, owner: Object) -> None:
        active = self._active(owner)
        labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        seconds = int(owner["spec"].get("minReadySeconds") or 0)
        changed = copy(owner)
        status = changed.setdefault("status", {})
        status["replicas"] = len(active)
        counts = {
            "fullyLabeledReplicas": sum(
                1 for pod in active if labels.items() <= (pod["metadata"].get("labels") or {}).items()
            ),
            "readyReplicas": sum(1 for pod in active if pod_ready(pod)),
            "availableReplicas": sum(1 for pod in active if self._available(key, pod, seconds)),
        }
        for name, count in counts.items():
            if count:
                status[name] = count
            else:
                status.pop(name, None)
        status["observedGeneration"] = owner["metadata"].get("generation", 1)
        self.write(key, changed, "status")

    def _available(self, key: Key, pod: Object, seconds: int) -> bool:
        if not pod_ready(pod):
            return False
        since = ready_since(pod)
        if since is None or since + seconds <= self.cluster.seconds():
            return True
        self.queue.add_at(since + seconds, key)
        return False


def ready_since(pod: Object) -> float | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _typed(owner: Object) -> Object:
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet"} | owner


def _cheapest_first(pods: list[Object]) -> list[Object]:
    """Pods in the order in which they are given up: unbound, not ready, youngest first."""
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    return sorted(newest, key=lambda pod: (bool((pod.get("spec") or {}).get("nodeName")), pod_ready(pod)))
