"""Delete: finalizers, grace periods, propagation and preconditions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aliquot.embedded import metadata
from aliquot.embedded.hooks import Object, User
from aliquot.embedded.kinds import behavior_of
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import bad_request, conflict, invalid, success, unsupported
from aliquot.embedded.writing import namespace_object

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_PROPAGATION_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True, slots=True)
class Request:
    """How a deletion was asked for; ``grace_period`` in seconds, None for the kind's own."""

    user: User
    preconditions: dict[str, str]
    propagation: str | None
    grace_period: int | None
    dry_run: bool


def delete(
    registry: Registry, resource: Resource, namespace: str | None, name: str, request: Request
) -> Object:
    stored = registry.stored(resource, namespace, name)
    old = registry.decode(resource, stored)
    _check(resource, name, old["metadata"], request)
    behavior = behavior_of(resource.key)
    registry.admission.admit(
        "DELETE",
        resource,
        "",
        stored.namespace,
        name,
        None,
        registry.decode(resource, stored),
        request.user,
        namespace_object(registry, resource, stored.namespace),
        request.dry_run,
    )
    new = registry.decode(resource, stored)
    grace = behavior.grace_period(new, request.grace_period)
    _set_propagation(new["metadata"], request.propagation)
    held = bool(new["metadata"].get("finalizers")) or (
        resource.key == "namespaces" and bool(new.get("spec", {}).get("finalizers"))
    )
    if held or grace > 0:
        _mark(registry, resource, new, old, grace)
        return new if request.dry_run or new == old else registry.write(resource, new, stored)
    if behavior.returns_deleted and not new["metadata"].get("deletionTimestamp"):
        # What has a grace period is marked before it goes, even if the period is 0.
        _mark(registry, resource, new, old, 0)
    if not request.dry_run:
        new = registry.erase(resource, new, stored)
    if behavior.returns_deleted:
        return new
    return success(name=name, group=resource.group, plural=resource.plural, uid=old["metadata"]["uid"])


def _check(resource: Resource, name: str, meta: dict[str, Any], request: Request) -> None:
    for key, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted = request.preconditions.get(key)
        if wanted and wanted != meta[key]:
            why = (
                f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {meta[key]}"
            )
            raise conflict(resource.kind, resource.group, name, why)
    if request.propagation not in (None, "Background", "Foreground", "Orphan"):
        cause = unsupported("propagationPolicy", request.propagation, ("Background", "Foreground", "Orphan"))
        raise invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    if request.grace_period is not None and request.grace_period < 0:
        raise bad_request("gracePeriodSeconds must be greater than or equal to 0")


def _set_propagation(meta: dict[str, Any], propagation: str | None) -> None:
    """Foreground and Orphan are finalizers that the garbage collector works off; each excludes the other."""
    if propagation is None:
        return
    finalizers = [one for one in meta.get("finalizers") or () if one not in _PROPAGATION_FINALIZERS.values()]
    if wanted := _PROPAGATION_FINALIZERS.get(propagation):
        finalizers.append(wanted)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)


def _mark(registry: Registry, resource: Resource, new: Object, old: Object, grace: int) -> None:
    """Set deletionTimestamp (when the grace ends); a second deletion may only shorten the grace."""
    meta, old_meta = new["metadata"], old["metadata"]
    now = registry.clock()
    earlier = old_meta.get("deletionGracePeriodSeconds")
    if old_meta.get("deletionTimestamp") is None or (earlier is not None and grace < earlier):
        meta["deletionTimestamp"] = metadata.timestamp(now + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if resource.generation and old_meta.get("deletionTimestamp") is None:
            meta["generation"] = int(meta.get("generation") or 0) + 1
    if resource.key == "namespaces":
        new["status"] = (new.get("status") or {}) | {"phase": "Terminating"}
