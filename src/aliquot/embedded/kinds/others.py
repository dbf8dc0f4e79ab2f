"""Kinds with few rules of their own: Node, Service, PriorityClass, RBAC, Event, secrets and configuration."""

from __future__ import annotations

import hashlib

from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, forbidden_field, invalid_value, unsupported

_HIGHEST_USER_PRIORITY = 1_000_000_000
_MAX_DATA_BYTES = 1024 * 1024


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


class PriorityClassBehavior(Behavior):
    def default(self, obj: Object) -> None:
        obj.setdefault("value", 0)

    def validate(self, obj: Object) -> list[Cause]:
        name, value = obj["metadata"].get("name") or "", obj["value"]
        if not name.startswith("system-") and value > _HIGHEST_USER_PRIORITY:
            why = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
            return [forbidden_field("value", why)]
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


class RoleBehavior(Behavior):
    name_rule = staticmethod(metadata.path_segment_error)


class RoleBindingBehavior(Behavior):
    name_rule = staticmethod(metadata.path_segment_error)

    def default(self, obj: Object) -> None:
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", "rbac.authorization.k8s.io")

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if obj.get("roleRef") != old.get("roleRef"):
            return [invalid_value("roleRef", obj.get("roleRef"), "cannot change roleRef")]
        return []


class EventBehavior(Behavior):
    def validate(self, obj: Object) -> list[Cause]:
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        namespace = about.get("namespace") or "default"
        if namespace != obj["metadata"].get("namespace"):
            field = "involvedObject.namespace"
            return [invalid_value(field, about.get("namespace", ""), "does not match event.namespace")]
        return []


class DataBehavior(Behavior):
    """ConfigMap and Secret: at most 1 MiB of data, and immutable ones never change."""

    def default(self, obj: Object) -> None:
        """A Secret's ``stringData`` is written into ``data``."""
        if obj.get("kind") == "Secret" and obj.get("stringData"):
            import base64

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


class BudgetBehavior(Behavior):
    """PodDisruptionBudget."""

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def on_create(self, obj: Object, now: Moment) -> None:
        counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        obj["status"] = dict.fromkeys(counts, 0)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            why = "minAvailable and maxUnavailable cannot be both set"
            return [invalid_value("spec", spec, why)]
        return []


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


class AdmissionPolicyBehavior(Behavior):
    """ValidatingAdmissionPolicyBinding: what a failed validation does must be said."""

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj.get("spec") or {}
        actions = spec.get("validationActions") or ()
        causes = [
            unsupported("spec.validationActions", action, ("Deny", "Warn", "Audit"))
            for action in actions
            if action not in ("Deny", "Warn", "Audit")
        ]
        if {"Deny", "Warn"} <= set(actions):
            why = "must not contain both Deny and Warn (repeating the same validation failure information)"
            causes.append(invalid_value("spec.validationActions", list(actions), why))
        return causes
