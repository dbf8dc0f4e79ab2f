"""PriorityClass."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, forbidden_field, invalid_value

SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
_HIGHEST_USER_PRIORITY = 1_000_000_000


class PriorityClassBehavior(Behavior):
    def default(self, obj: Object) -> None:
        obj.setdefault("value", 0)

    def validate(self, obj: Object) -> list[Cause]:
        name, value = obj["metadata"].get("name") or "", obj["value"]
        if not name.startswith("system-") and value > _HIGHEST_USER_PRIORITY:
            why = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
            return [forbidden_field("value", why)]
        if name.startswith("system-") and name not in SYSTEM_CLASSES:
            why = "priority class names with 'system-' prefix are reserved for system use only"
            return [forbidden_field("metadata.name", why)]
        return []

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        causes = []
        if obj["value"] != old["value"]:
            causes.append(forbidden_field("value", "may not be changed in an update."))
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            causes.append(
                invalid_value("preemptionPolicy", obj.get("preemptionPolicy"), "field is immutable")
            )
        return causes
