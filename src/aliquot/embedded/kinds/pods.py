"""Pod: what an update may change, gates, grace."""

from __future__ import annotations

import copy
from typing import Any

from aliquot.embedded.behaviors import Behavior, Find, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.kinds import podspecs
from aliquot.embedded.status import Cause, forbidden, forbidden_field, invalid_value

_ONLY = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class PodBehavior(Behavior):
    status_writes_metadata = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        podspecs.default(spec)
        spec.setdefault("enableServiceLinks", True)
        spec.setdefault("serviceAccountName", "default")
        spec.setdefault("serviceAccount", spec["serviceAccountName"])

    def on_create(self, obj: Object, now: Moment) -> None:
        spec = obj["spec"]
        status: Object = {"phase": "Pending", "qosClass": podspecs.quality_of_service(spec)}
        if spec.get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastTransitionTime": now.text,
                }
            ]
        obj["status"] = status

    def resolve(self, obj: Object, find: Find) -> list[Cause]:
        """The number behind ``priorityClassName``, as the Priority admission plugin writes it."""
        spec = obj["spec"]
        name = spec.get("priorityClassName")
        if not name:
            spec.setdefault("priority", 0)
            spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
            return []
        found = find("priorityclasses", "scheduling.k8s.io", "", name)
        pod = obj["metadata"].get("name", "")
        if found is None:
            raise forbidden("pods", "", pod, f"no PriorityClass with name {name} was found")
        value = found.get("value", 0)
        if spec.get("priority", value) != value:
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise forbidden("pods", "", pod, why)
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))
        return []

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        if subresource == "status" and (quality := (old.get("status") or {}).get("qosClass")):
            obj.setdefault("status", {}).setdefault("qosClass", quality)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = podspecs.validate(spec, "spec")
        if spec.get("nodeName") and spec.get("schedulingGates"):
            why = "cannot be set until all schedulingGates have been cleared"
            causes.append(forbidden_field("spec.nodeName", why))
        return causes

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        new, spec = obj["spec"], old["spec"]
        if new == spec:
            return []
        causes = _gates(new, spec)
        allowed = copy.deepcopy(spec)
        for part in ("containers", "initContainers"):
            mine, theirs = allowed.get(part) or [], new.get(part) or []
            if len(mine) == len(theirs):
                for one, other in zip(mine, theirs, strict=True):
                    if "image" in other:
                        one["image"] = other["image"]
        _take(allowed, new, "schedulingGates")
        _take(allowed, new, "activeDeadlineSeconds")
        if spec.get("terminationGracePeriodSeconds", 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
            allowed["terminationGracePeriodSeconds"] = 1
        if _tolerations_kept(new.get("tolerations") or [], spec.get("tolerations") or []):
            _take(allowed, new, "tolerations")
        if spec.get("schedulingGates"):
            causes += _tightened(allowed, new, spec)
        if allowed != new:
            changed = sorted(key for key in allowed.keys() | new.keys() if allowed.get(key) != new.get(key))
            causes.append(forbidden_field("spec", f"{_ONLY}; changed: {', '.join(changed)}"))
        return causes

    def grace_period(self, obj: Object, asked: int | None) -> int:
        """Nothing has to end where no kubelet runs the pod: unbound and finished pods go at once."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        grace = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
        return max(0, int(grace))


def _take(target: Object, source: Object, key: str) -> None:
    if key in source:
        target[key] = copy.deepcopy(source[key])
    else:
        target.pop(key, None)


def _gates(new: Object, old: Object) -> list[Cause]:
    known = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return [
        forbidden_field(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(new.get("schedulingGates") or ())
        if gate.get("name") not in known
    ]


def _tolerations_kept(new: list[Any], old: list[Any]) -> bool:
    """Only additions, except that tolerationSeconds may change."""

    def kept(one: Object) -> Object:
        return {key: value for key, value in one.items() if key != "tolerationSeconds"}

    remaining = [kept(one) for one in new]
    return all(kept(one) in remaining for one in old)


def _tightened(allowed: Object, new: Object, old: Object) -> list[Cause]:
    """While a pod is gated, node selector and required node affinity may become narrower, never wider."""
    causes: list[Cause] = []
    wanted, had = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if any(wanted.get(key) != value for key, value in had.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        causes.append(invalid_value("spec.nodeSelector", wanted, why))
    _take(allowed, new, "nodeSelector")
    mine = (old.get("affinity") or {}).get("nodeAffinity") or {}
    theirs = (new.get("affinity") or {}).get("nodeAffinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    causes += _narrower(mine.get(required), theirs.get(required), f"spec.affinity.nodeAffinity.{required}")
    if "affinity" in new:
        affinity = allowed.setdefault("affinity", {})
        _take(affinity, new["affinity"], "nodeAffinity")
    elif "affinity" in allowed:
        allowed["affinity"].pop("nodeAffinity", None)
        if not allowed["affinity"]:
            del allowed["affinity"]
    return causes


def _narrower(old: Object | None, new: Object | None, path: str) -> list[Cause]:
    if old is None:
        return []
    had, has = old.get("nodeSelectorTerms") or [], (new or {}).get("nodeSelectorTerms") or []
    if len(had) != len(has):
        return [
            invalid_value(
                f"{path}.nodeSelectorTerms",
                has,
                "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
            )
        ]
    for index, (before, after) in enumerate(zip(had, has, strict=True)):
        for part in ("matchExpressions", "matchFields"):
            kept = before.get(part) or []
            if (after.get(part) or [])[: len(kept)] != kept or (not kept and not before and after):
                why = "only additions are allowed (no mutations or deletions)"
                return [invalid_value(f"{path}.nodeSelectorTerms[{index}]", after, why)]
    return []
