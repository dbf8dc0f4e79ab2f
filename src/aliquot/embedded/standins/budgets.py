"""The disruption controller: how many pods of each PodDisruptionBudget may be evicted at present.

Source: Kubernetes documentation, "Specifying a Disruption Budget" (policy/v1). Of owners that say how many
pods they want (ReplicaSet, StatefulSet) so many are expected, whether or not they exist; else as many as
there are.
"""

from __future__ import annotations

from collections.abc import Hashable

from aliquot.embedded.hooks import Object
from aliquot.embedded.selectors import label_selector_of
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    is_true,
    parse_time,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key

BUDGETS = "poddisruptionbudgets.policy"
_SCALES = {"ReplicaSet": "replicasets.apps", "StatefulSet": "statefulsets.apps"}
#: Seconds for which a pod that was evicted counts as gone although it does not show yet.
DISRUPTED_SECONDS = 120.0


def _namespace(obj: Object) -> list[str]:
    return [obj["metadata"]["namespace"]]


class DisruptionBudgets(StandIn):
    user = controller_user("disruption-controller")
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.index(BUDGETS, "namespace", _namespace)
        self.view.index("pods", "namespace", _namespace)
        self.view.on(BUDGETS, self._budget_changed)
        self.view.on("pods", self._pod_changed)
        for resource in _SCALES.values():
            self.view.on(resource, self._pod_changed)

    def _budget_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        for budget in self.view.by(BUDGETS, "namespace", key.namespace):
            self.queue.add(budget)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        budget = self.view.get(key)
        if budget is None:
            return
        selector = (budget.get("spec") or {}).get("selector")
        chosen = label_selector_of(selector) if selector is not None else None
        pods = [
            pod
            for pod in self.view.found("pods", "namespace", key.namespace)
            if chosen is not None
            and chosen.matches(pod["metadata"].get("labels") or {})
            and not pod_finished(pod)
        ]
        now = self.cluster.seconds()
        going = {
            name: time
            for name, time in ((budget.get("status") or {}).get("disruptedPods") or {}).items()
            if (parse_time(time) or 0.0) + DISRUPTED_SECONDS > now
            and any(pod["metadata"]["name"] == name and not terminating(pod) for pod in pods)
        }
        healthy = sum(
            1
            for pod in pods
            if not terminating(pod) and pod["metadata"]["name"] not in going and is_true(pod, "Ready")
        )
        expected = self._expected(pods)
        desired = _desired(budget["spec"], expected)
        changed = copy(budget)
        status = changed.setdefault("status", {})
        allowed = max(0, healthy - desired) if expected else 0
        status |= {
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        status.pop("disruptedPods", None)
        if going:
            status["disruptedPods"] = going
            end = min(parse_time(time) or now for time in going.values())
            self.queue.add_at(end + DISRUPTED_SECONDS, key)
        word = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
        set_condition(status, "DisruptionAllowed", word[0], self.cluster.timestamp(), word[1])
        if status != budget.get("status"):
            self.write(key, changed, "status")

    def _expected(self, pods: list[Object]) -> int:
        owners: dict[str, int] = {}
        alone = 0
        for pod in pods:
            meta = pod["metadata"]
            owner = next((one for one in meta.get("ownerReferences") or () if one.get("controller")), None)
            scale = _SCALES.get(owner["kind"]) if owner is not None else None
            found = self.view.get(Key(scale, meta["namespace"], owner["name"])) if scale and owner else None
            if found is None:
                alone += 1
            else:
                wanted = (found.get("spec") or {}).get("replicas")
                owners[found["metadata"]["uid"]] = 1 if wanted is None else int(wanted)
        return alone + sum(owners.values())


def _desired(spec: Object, expected: int) -> int:
    """Pods that have to stay: ``minAvailable``, or what ``maxUnavailable`` leaves; shares are rounded up."""
    if spec.get("maxUnavailable") is not None:
        return max(0, expected - _count(spec["maxUnavailable"], expected))
    if spec.get("minAvailable") is not None:
        return _count(spec["minAvailable"], expected)
    return max(0, expected - 1)


def _count(value: object, expected: int) -> int:
    if isinstance(value, str):
        digits = value.removesuffix("%")
        percent = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
        return -(-expected * percent // 100)
    return int(value) if isinstance(value, int) else 0
