"""Workload and PodGroup."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value


class GroupBehavior(Behavior):
    """Workload and PodGroup: exactly one scheduling policy, and what it says never changes."""

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj.get("spec") or {}
        holders = [("spec", spec)] if obj["kind"] == "PodGroup" else []
        for index, template in enumerate(spec.get("podGroupTemplates") or ()):
            holders.append((f"spec.podGroupTemplates[{index}]", template))
        causes: list[Cause] = []
        if len(spec.get("podGroupTemplates") or ()) > 8:
            causes.append(
                Cause("FieldValueTooMany", "spec.podGroupTemplates", "Too many: must have at most 8 items")
            )
        for path, holder in holders:
            policy = holder.get("schedulingPolicy") or {}
            if "schedulingPolicy" in holder and len(policy) != 1:
                why = "must specify exactly one of: `basic`, `gang`"
                causes.append(invalid_value(f"{path}.schedulingPolicy", policy, why))
            if (least := (policy.get("gang") or {}).get("minCount")) is not None and least < 1:
                where = f"{path}.schedulingPolicy.gang.minCount"
                causes.append(invalid_value(where, least, "must be greater than or equal to 1"))
        return causes

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if subresource == "status":
            return []
        new, had = obj.get("spec") or {}, old.get("spec") or {}
        keys = ("podGroupTemplates", "controllerRef", "podGroupTemplateRef", "schedulingPolicy")
        return [
            invalid_value(f"spec.{key}", new.get(key), "field is immutable")
            for key in keys
            if had.get(key) is not None and new.get(key) != had.get(key)
        ]
