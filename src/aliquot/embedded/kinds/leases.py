"""Lease."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value


class LeaseBehavior(Behavior):
    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = []
        seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if seconds is not None and seconds <= 0:
            causes.append(invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            why = "must be greater than or equal to 0"
            causes.append(invalid_value("spec.leaseTransitions", transitions, why))
        return causes
