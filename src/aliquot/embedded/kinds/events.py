"""Event."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value


class EventBehavior(Behavior):
    def validate(self, obj: Object) -> list[Cause]:
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        namespace = about.get("namespace") or "default"
        if namespace != obj["metadata"].get("namespace"):
            field = "involvedObject.namespace"
            return [invalid_value(field, about.get("namespace", ""), "does not match event.namespace")]
        return []
