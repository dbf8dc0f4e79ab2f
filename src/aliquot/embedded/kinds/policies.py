"""Roles, disruption budgets and the bindings of admission policies."""

from __future__ import annotations

from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid_value, required, unsupported


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


class PolicyBehavior(Behavior):
    """ValidatingAdmissionPolicy: it says what it is about, and what must hold."""

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes = [] if spec.get("matchConstraints") else [required("spec.matchConstraints")]
        if not spec.get("validations") and not spec.get("auditAnnotations"):
            why = "validations or auditAnnotations must contain at least one item"
            causes += [required(f"spec.{part}", why) for part in ("validations", "auditAnnotations")]
        reasons = ("Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge")
        for index, one in enumerate(spec.get("validations") or ()):
            if one.get("reason") and one["reason"] not in reasons:
                causes.append(unsupported(f"spec.validations[{index}].reason", one["reason"], reasons))
        return causes


class MutatingPolicyBehavior(Behavior):
    """MutatingAdmissionPolicy."""

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes = [] if spec.get("matchConstraints") else [required("spec.matchConstraints")]
        if not spec.get("mutations"):
            causes.append(required("spec.mutations", "mutations must contain at least one item"))
        if not spec.get("reinvocationPolicy"):
            causes.append(required("spec.reinvocationPolicy"))
        return causes


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
