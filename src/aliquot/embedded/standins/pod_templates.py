"""Pods from the templates of workload controllers."""

from __future__ import annotations

import re

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import copy
from aliquot.embedded.standins.view import owner_reference
from aliquot.embedded.status import StatusError


def pod_from(template: Object | None, owner: Object, name: str, *, generate: bool) -> Object:
    """A pod of ``owner``; ``name`` is the prefix of its name if ``generate``."""
    made = copy(template or {})
    meta = made.get("metadata") or {}
    kept = {part: meta[part] for part in ("labels", "annotations", "finalizers") if meta.get(part)}
    kept["generateName" if generate else "name"] = name
    kept["namespace"] = owner["metadata"]["namespace"]
    kept["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": made.get("spec") or {}}


def refusal_of_pods(owner: Object, error: StatusError) -> str:
    """Why pods of ``owner`` cannot be made, without the letters that end their names, new at each try."""
    name = owner["metadata"]["name"]
    return "Error creating: " + re.sub(rf'"{re.escape(name)}-[^"]*"', f'"{name}-"', error.message)
