"""ConfigMap and Secret."""

from __future__ import annotations

import base64

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, forbidden_field, invalid_value

_MAX_DATA_BYTES = 1024 * 1024


class DataBehavior(Behavior):
    """ConfigMap and Secret: at most 1 MiB of data, and immutable ones never change."""

    def default(self, obj: Object) -> None:
        """A Secret's ``stringData`` is written into ``data``."""
        if obj.get("kind") == "Secret" and obj.get("stringData"):
            data = obj.setdefault("data", {})
            for key, value in obj.pop("stringData").items():
                data[key] = base64.b64encode(value.encode()).decode()

    def validate(self, obj: Object) -> list[Cause]:
        size = 0
        causes: list[Cause] = []
        for part in ("data", "binaryData"):
            for key, value in (obj.get(part) or {}).items():
                size += len(value)
                if len(key) > 253 or not key or any(not (char.isalnum() or char in "-_.") for char in key):
                    why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                    causes.append(invalid_value(f"{part}[{key}]", key, why))
        if size > _MAX_DATA_BYTES:
            causes.append(Cause("FieldValueTooLong", "data", "Too long: may not be more than 1048576 bytes"))
        return causes

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        parts = ("data", "binaryData", "immutable")
        if old.get("immutable") and any(obj.get(part) != old.get(part) for part in parts):
            return [forbidden_field("data", "field is immutable when `immutable` is set")]
        if obj.get("type") != old.get("type"):
            return [invalid_value("type", obj.get("type"), "field is immutable")]
        return []
