"""Pods from the templates of workload controllers."""

from __future__ import annotations

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import copy
from aliquot.embedded.standins.view import owner_reference


def pod_from(template: Object | None, owner: Object, name: str, *, generate: bool) -> Object:
    """A pod of ``owner``; ``name`` is the prefix of its name if ``generate``."""
    made = copy(template or {})
    meta = made.get("metadata") or {}
    kept = {part: meta[part] for part in ("labels", "annotations", "finalizers") if meta.get(part)}
    kept["generateName" if generate else "name"] = name
    kept["namespace"] = owner["metadata"]["namespace"]
    kept["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": made.get("spec") or {}}
