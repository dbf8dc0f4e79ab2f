"""Deployment, ReplicaSet, StatefulSet, DaemonSet."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.kinds import podspecs
from aliquot.embedded.metadata import label_causes
from aliquot.embedded.selectors import label_selector_of
from aliquot.embedded.status import Cause, forbidden_field, invalid_value, required, unsupported

_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def validate_template(template: Object, path: str) -> list[Cause]:
    causes = podspecs.validate(template.get("spec") or {}, f"{path}.spec")
    if "spec" not in template:
        causes.append(required(f"{path}.spec.containers"))
    return causes + label_causes(
        (template.get("metadata") or {}).get("labels") or {}, f"{path}.metadata.labels"
    )


class WorkloadBehavior(Behavior):
    """What the four have in common: a selector that matches the template and never changes."""

    def default(self, obj: Object) -> None:
        template = obj.setdefault("spec", {}).get("template") or {}
        podspecs.default(template.get("spec") or {})
        self._default_strategy(obj["spec"])

    def _default_strategy(self, spec: Object) -> None:
        """Kinds with an update strategy override this."""

    def on_create(self, obj: Object, now: Moment) -> None:
        obj["status"] = {"replicas": 0} if "replicas" in obj["spec"] else {}

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes: list[Cause] = []
        if (replicas := spec.get("replicas", 0)) < 0:
            causes.append(invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
        selector, template = spec.get("selector"), spec.get("template") or {}
        labels = (template.get("metadata") or {}).get("labels") or {}
        if selector is not None:
            if not selector.get("matchLabels") and not selector.get("matchExpressions"):
                why = "empty selector is invalid for workloads"
                causes.append(invalid_value("spec.selector", selector, why))
            elif not label_selector_of(selector).matches(labels):
                why = "`selector` does not match template `labels`"
                causes.append(invalid_value("spec.template.metadata.labels", labels, why))
        if (policy := (template.get("spec") or {}).get("restartPolicy", "Always")) != "Always":
            causes.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
        return causes + validate_template(template, "spec.template")

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if obj["spec"].get("selector") != old["spec"].get("selector"):
            return [invalid_value("spec.selector", obj["spec"].get("selector"), "field is immutable")]
        return []


class DeploymentBehavior(WorkloadBehavior):
    def _default_strategy(self, spec: Object) -> None:
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")

    def on_create(self, obj: Object, now: Moment) -> None:
        obj["status"] = {}

    def validate(self, obj: Object) -> list[Cause]:
        causes = super().validate(obj)
        strategy = obj["spec"].get("strategy") or {}
        if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
            why = "may not be specified when strategy `type` is 'Recreate'"
            causes.append(forbidden_field("spec.strategy.rollingUpdate", why))
        return causes


class StatefulSetBehavior(WorkloadBehavior):
    def _default_strategy(self, spec: Object) -> None:
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        new, had = obj["spec"], old["spec"]
        fixed = [key for key in new.keys() | had.keys() if key not in _STATEFUL_MUTABLE]
        if any(new.get(key) != had.get(key) for key in fixed):
            listed = ", ".join(f"'{key}'" for key in _STATEFUL_MUTABLE)
            why = f"updates to statefulset spec for fields other than {listed} are forbidden"
            return [forbidden_field("spec", why)]
        return []


class DaemonSetBehavior(WorkloadBehavior):
    def _default_strategy(self, spec: Object) -> None:
        strategy = spec.get("updateStrategy") or {}
        if strategy.get("type") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)

    def on_create(self, obj: Object, now: Moment) -> None:
        counts = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
        obj["status"] = dict.fromkeys(counts, 0)
