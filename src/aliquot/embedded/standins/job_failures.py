"""What a Job makes of a pod that failed (``spec.podFailurePolicy``).

Source: Kubernetes documentation, "Jobs", "Pod failure policy". The action FailIndex counts as Count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aliquot.embedded.hooks import Object


@dataclass(frozen=True, slots=True)
class Failure:
    """``action``: Count (towards backoffLimit), Ignore, or FailJob, for which ``message`` says why."""

    action: str
    message: str = ""


COUNT = Failure("Count")


def judge(job: Object, pod: Object) -> Failure:
    """The action of the first rule that matches; Count where none does."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for index, rule in enumerate(rules):
        why = _matching_exit(rule.get("onExitCodes"), pod) or _matching_condition(rule, pod)
        if why:
            meta = pod["metadata"]
            place = f"{meta['namespace']}/{meta['name']}"
            action = rule["action"]
            message = f"{why} for pod {place} matching {action} rule at index {index}"
            return Failure("Count" if action == "FailIndex" else action, message)
    return COUNT


def counts(job: Object, pod: Object) -> bool:
    return judge(job, pod).action != "Ignore"


def _matching_exit(wanted: Object | None, pod: Object) -> str:
    if not wanted:
        return ""
    status = pod.get("status") or {}
    containers: list[dict[str, Any]] = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    for one in containers:
        if wanted.get("containerName") and wanted["containerName"] != one.get("name"):
            continue
        code = (((one.get("state") or {}).get("terminated")) or {}).get("exitCode")
        if not code:
            continue
        listed = code in (wanted.get("values") or ())
        if listed is (wanted.get("operator") == "In"):
            return f"Container {one.get('name')} failed with exit code {code}"
    return ""


def _matching_condition(rule: Object, pod: Object) -> str:
    for pattern in rule.get("onPodConditions") or ():
        for one in (pod.get("status") or {}).get("conditions") or ():
            if one.get("type") == pattern.get("type") and one.get("status") == (
                pattern.get("status") or "True"
            ):
                return f"Condition {one['type']}"
    return ""
