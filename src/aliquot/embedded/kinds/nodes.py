"""Node."""

from __future__ import annotations

from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value


class NodeBehavior(Behavior):
    """A kubelet registers its node together with its status."""

    status_writes_metadata = True
    status_on_create = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def on_create(self, obj: Object, now: Moment) -> None:
        self._stamp(obj, now)

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        self._stamp(obj, now)

    @staticmethod
    def _stamp(obj: Object, now: Moment) -> None:
        for taint in obj["spec"].get("taints") or ():
            if taint.get("effect") == "NoExecute":
                taint.setdefault("timeAdded", now.text)

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[tuple[str, str]] = set()
        for index, taint in enumerate(obj["spec"].get("taints") or ()):
            path = f"spec.taints[{index}]"
            key, effect = taint.get("key") or "", taint.get("effect") or ""
            if key and (error := metadata.qualified_name_error(key)):
                causes.append(invalid_value(f"{path}.key", key, error))
            if (key, effect) in seen:
                why = "taints must be unique by key and effect pair"
                causes.append(Cause("FieldValueDuplicate", path, f"Duplicate value: {why}"))
            seen.add((key, effect))
        return causes
