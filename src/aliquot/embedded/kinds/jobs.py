"""Job and CronJob."""

from __future__ import annotations

import copy

from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.kinds import podspecs
from aliquot.embedded.kinds.workloads import validate_template
from aliquot.embedded.selectors import label_selector_of
from aliquot.embedded.status import Cause, invalid_value, required

#: What a suspended job may still change in its pod template.
_WHILE_SUSPENDED = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
_CONTROLLER = "batch.kubernetes.io/controller-uid"


def _default_spec(spec: Object) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    if "backoffLimit" not in spec:
        spec["backoffLimit"] = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    if "podReplacementPolicy" not in spec:
        spec["podReplacementPolicy"] = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    podspecs.default((spec.get("template") or {}).get("spec") or {})


def _validate_spec(spec: Object, path: str) -> list[Cause]:
    causes = [
        invalid_value(f"{path}.{key}", spec[key], "must be greater than or equal to 0")
        for key in ("parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished")
        if (spec.get(key) or 0) < 0
    ]
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    if (template.get("spec") or {}).get("restartPolicy") not in ("Never", "OnFailure"):
        causes.append(required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return causes + validate_template(template, f"{path}.template")


class JobBehavior(Behavior):
    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        _default_spec(spec)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if labels and "labels" not in obj["metadata"]:
            obj["metadata"]["labels"] = dict(labels)

    def on_create(self, obj: Object, now: Moment) -> None:
        """The server makes selector and labels from the job's uid, unless manualSelector says otherwise."""
        obj["status"] = {}
        spec, meta = obj["spec"], obj["metadata"]
        spec.setdefault("manualSelector", False)
        if spec.get("manualSelector") or "template" not in spec:
            return
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        name, uid = meta.get("name", ""), meta["uid"]
        for key in ("controller-uid", _CONTROLLER):
            labels.setdefault(key, uid)
        for key in ("job-name", "batch.kubernetes.io/job-name"):
            labels.setdefault(key, name)
        selector = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {})[_CONTROLLER] = uid
        meta.setdefault("labels", dict(labels))

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = _validate_spec(spec, "spec")
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        selector = spec.get("selector")
        if selector is None:
            causes.append(required("spec.selector"))
        elif not label_selector_of(selector).matches(labels):
            why = "`selector` does not match template `labels`"
            causes.append(invalid_value("spec.template.metadata.labels", labels, why))
        return causes

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if subresource == "status":
            return []
        new, had = obj["spec"], old["spec"]
        causes = [
            invalid_value(f"spec.{key}", new.get(key), "field is immutable")
            for key in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy")
            if new.get(key) != had.get(key)
        ]
        if new.get("completions") != had.get("completions"):
            elastic = new.get("completionMode") == "Indexed" and new.get("completions") == new.get(
                "parallelism"
            )
            if not elastic:
                why = "field is immutable"
                causes.append(invalid_value("spec.completions", new.get("completions"), why))
        before, after = copy.deepcopy(had.get("template") or {}), copy.deepcopy(new.get("template") or {})
        if had.get("suspend"):
            for template in (before, after):
                template.get("metadata", {}).pop("labels", None)
                template.get("metadata", {}).pop("annotations", None)
                for key in _WHILE_SUSPENDED:
                    template.get("spec", {}).pop(key, None)
        if before != after:
            causes.append(invalid_value("spec.template", new.get("template"), "field is immutable"))
        return causes


class CronJobBehavior(Behavior):
    def default(self, obj: Object) -> None:
        template = obj.setdefault("spec", {}).get("jobTemplate") or {}
        podspecs.default(((template.get("spec") or {}).get("template") or {}).get("spec") or {})

    def on_create(self, obj: Object, now: Moment) -> None:
        obj["status"] = {}

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes: list[Cause] = []
        schedule = spec.get("schedule") or ""
        if schedule and not schedule.startswith("@") and len(schedule.split()) != 5:
            why = f"expected exactly 5 fields, found {len(schedule.split())}: [{schedule}]"
            causes.append(invalid_value("spec.schedule", schedule, why))
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        return causes + _validate_spec(job, "spec.jobTemplate.spec")
