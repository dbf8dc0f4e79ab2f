"""Service."""

from __future__ import annotations

import hashlib

from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value


class ServiceBehavior(Behavior):
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for port in spec.get("ports") or ():
            if not port.get("targetPort") and "port" in port:
                port["targetPort"] = port["port"]

    def on_create(self, obj: Object, now: Moment) -> None:
        """An address of the service range, told by the uid; nothing answers there."""
        obj["status"] = {"loadBalancer": {}}
        spec = obj["spec"]
        if spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
            digest = hashlib.sha256(obj["metadata"]["uid"].encode()).digest()
            spec["clusterIP"] = f"10.96.{digest[0]}.{digest[1] % 254 + 1}"
            spec["clusterIPs"] = [spec["clusterIP"]]

    def validate(self, obj: Object) -> list[Cause]:
        causes = []
        for index, port in enumerate(obj["spec"].get("ports") or ()):
            number = port.get("port") or 0
            if not 1 <= number <= 65535:
                why = "must be between 1 and 65535, inclusive"
                causes.append(invalid_value(f"spec.ports[{index}].port", number, why))
        return causes
