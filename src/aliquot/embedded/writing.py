"""Create and update: the order in which a write is checked, completed, admitted, validated and stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from aliquot.embedded import metadata, ownership
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.changes import Stored
from aliquot.embedded.hooks import Conformed, Object, User
from aliquot.embedded.kinds import behavior_of
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import (
    Cause,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True, slots=True)
class Options:
    """How a write was asked for.

    ``warnings`` collects what fieldValidation=Warn has to tell. ``patched``: the document is the result of a
    patch.
    """

    user: User
    dry_run: bool = False
    field_manager: str | None = None
    field_validation: str = "Ignore"
    warnings: list[str] | None = None
    patched: bool = False


def conform(resource: Resource, obj: Any, options: Options, *, defaults: bool = True) -> Conformed:
    """The document in its schema's form. Raises StatusError 400 where it cannot be read as this kind."""
    if not isinstance(obj, dict):
        raise bad_request(f"the object provided is not a {resource.kind}: it must be a JSON object")
    for key, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        given = obj.get(key)
        if given is not None and given != expected:
            raise bad_request(f"{key} in the data ({given}) does not match the expected {key} ({expected})")
    if not isinstance(obj.get("metadata") or {}, dict):
        raise bad_request(f"{resource.kind} cannot be read: metadata must be an object")
    if resource.schema is None:
        conformed = Conformed(msgspec.json.decode(msgspec.json.encode(obj)))
    else:
        conformed = resource.schema.conform(obj, defaults=defaults)
    conformed.obj["apiVersion"], conformed.obj["kind"] = resource.api_version, resource.kind
    if not isinstance(conformed.obj.get("metadata"), dict):
        conformed.obj["metadata"] = {}
    conformed.obj = metadata.ordered(conformed.obj)
    report_unknown(resource, conformed.unknown, options)
    return conformed


def report_unknown(
    resource: Resource, unknown: list[str], options: Options, problem: str = "unknown"
) -> None:
    """Refuse or warn of fields that are unknown (or ``duplicate``), as fieldValidation asks."""
    if not unknown or options.field_validation == "Ignore":
        return
    lines = [f'{problem} field "{path}"' for path in unknown]
    if options.field_validation == "Strict":
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(lines)}"
        )
    if options.warnings is not None:
        options.warnings.extend(lines)


def scope(resource: Resource, namespace: str | None, meta: dict[str, Any]) -> str:
    """The namespace of the request, written into the metadata."""
    if not resource.namespaced:
        if meta.pop("namespace", None):
            raise bad_request(f"namespace must not be set on a {resource.kind}: it is cluster-scoped")
        return ""
    given = meta.get("namespace")
    if given and namespace and given != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    meta["namespace"] = namespace or given or ""
    if not meta["namespace"]:
        raise bad_request("an empty namespace may not be set during creation")
    return str(meta["namespace"])


def namespace_object(registry: Registry, resource: Resource, namespace: str) -> Object | None:
    if not resource.namespaced:
        return None
    return registry.find(registry.resources.named("namespaces"), None, namespace)


def _check_namespace(resource: Resource, name: str, namespace: str, found: Object | None) -> None:
    if found is None:
        raise not_found("namespaces", "", namespace)
    if found.get("status", {}).get("phase") == "Terminating" or found["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = Cause(
            "NamespaceTerminating", "metadata.namespace", f"namespace {namespace} is being terminated"
        )
        raise forbidden(resource.plural, resource.group, name, why, [cause])


def create(
    registry: Registry,
    resource: Resource,
    namespace: str | None,
    obj: Object,
    options: Options,
    *,
    managed: bool = False,
) -> Object:
    """Create ``obj``. ``managed``: its managedFields are those to keep (server-side apply)."""
    conformed = conform(resource, obj, options)
    new = conformed.obj
    meta = new["metadata"]
    namespace = scope(resource, namespace, meta)
    found = namespace_object(registry, resource, namespace)
    if resource.namespaced:
        _check_namespace(resource, str(meta.get("name") or ""), namespace, found)
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    behavior = behavior_of(resource.key)
    now = Moment(registry.clock())
    uid = registry.uid()
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = metadata.generated_name(meta["generateName"], uid)
        while registry.find(resource, namespace, meta["name"]) is not None:
            meta["name"] = metadata.generated_name(meta["generateName"], registry.uid())
    metadata.fill_on_create(meta, uid, now.text, resource.generation)
    if resource.has_status and not behavior.status_on_create:
        new.pop("status", None)
    behavior.default(new)
    behavior.on_create(new, now)
    unresolved = behavior.resolve(new, lambda *which: _find(registry, *which))

    def judge(made: Object, causes: list[Cause]) -> None:
        causes = causes + unresolved + _validate(resource, behavior, made)
        causes = causes or _rules(resource, made, None)
        if causes:
            name = made["metadata"].get("name") or ""
            raise invalid(resource.kind, resource.group, name, causes)

    new = _admitted(registry, resource, "CREATE", "", new, None, conformed.causes, found, options, judge)
    if registry.collection(resource).get(namespace, new["metadata"]["name"]) is not None:
        raise already_exists(resource.plural, resource.group, new["metadata"]["name"])
    if not managed:
        ownership.record(resource, new, None, options.field_manager, now.text, "")
    if options.dry_run:
        return new
    return registry.write(resource, new, None)


def _find(registry: Registry, plural: str, group: str, namespace: str, name: str) -> Object | None:
    return registry.find(registry.resources.named(plural, group), namespace, name)


def _validate(resource: Resource, behavior: Behavior, new: Object) -> list[Cause]:
    meta = new["metadata"]
    rule = metadata.subdomain_error if resource.custom else behavior.name_rule
    causes = metadata.validate(meta, rule, resource.namespaced)
    if not resource.custom:
        causes += metadata.finalizer_causes(meta)
    return causes + behavior.validate(new)


def _rules(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    return resource.schema.rule_causes(new, old) if resource.schema is not None else []


def _admitted(
    registry: Registry,
    resource: Resource,
    operation: str,
    subresource: str,
    new: Object,
    old: Object | None,
    causes: list[Cause],
    namespace: Object | None,
    options: Options,
    judge: Callable[[Object, list[Cause]], None],
) -> Object:
    """The object after admission, conformed and defaulted again if admission changed it.

    causes: what is wrong with it before that. judge: raises StatusError if the object is not valid.
    """
    meta = new["metadata"]
    before = msgspec.json.encode(new)

    def completed(changed: Object) -> Object:
        if changed is new and msgspec.json.encode(new) == before:
            judge(new, causes)
            return new
        conformed = conform(resource, changed, Options(options.user))
        behavior_of(resource.key).default(conformed.obj)
        judge(conformed.obj, conformed.causes)
        return conformed.obj

    admitted = registry.admission.admit(
        "CREATE" if operation == "CREATE" else "UPDATE",
        resource,
        subresource,
        meta.get("namespace") or "",
        meta.get("name") or "",
        new,
        old,
        options.user,
        namespace,
        options.dry_run,
        completed,
    )
    return new if admitted is None else admitted


def require_version(resource: Resource, name: str, obj: Any) -> None:
    """Custom resources cannot be replaced unseen. Raises StatusError 422."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if resource.custom and isinstance(meta, dict) and not meta.get("resourceVersion"):
        cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(resource.kind, resource.group, name, [cause])


def update(
    registry: Registry,
    resource: Resource,
    namespace: str | None,
    name: str,
    change: Callable[[Object], Object],
    options: Options,
    subresource: str = "",
    *,
    managed: bool = False,
) -> Object:
    """Replace the stored object by ``change`` of a copy of it.

    ``managed``: the change has already recorded who owns which field (server-side apply).
    """
    from aliquot.embedded import subresources

    if subresource == "scale":
        return subresources.update_scale(registry, resource, namespace, name, change, options)
    stored = registry.stored(resource, namespace, name)
    old = registry.decode(resource, stored)
    conformed = _conformed(resource, change(registry.decode(resource, stored)), options)
    new = conformed.obj
    meta, old_meta = new["metadata"], old["metadata"]
    _check_identity(resource, name, meta, old_meta, options.patched)
    if resource.namespaced:
        scope(resource, old_meta.get("namespace"), meta)
    behavior = behavior_of(resource.key)
    now = Moment(registry.clock())
    status_only = subresource == "status"
    metadata.keep_on_update(meta, old_meta, status_only=status_only and not behavior.status_writes_metadata)
    meta["resourceVersion"] = old_meta["resourceVersion"]
    _keep_parts(resource, new, old, subresource)
    new = metadata.ordered(new)
    behavior.default(new)
    behavior.on_update(new, old, subresource, now)
    found = namespace_object(registry, resource, old_meta.get("namespace") or "")

    def judge(made: Object, causes: list[Cause]) -> None:
        made["metadata"]["resourceVersion"] = old_meta["resourceVersion"]
        causes = causes + metadata.validate_update(made["metadata"], old_meta)
        causes += _validate(resource, behavior, made) + behavior.validate_update(made, old, subresource)
        causes = causes or _rules(resource, made, old)
        if causes:
            raise invalid(resource.kind, resource.group, name, causes)

    new = _admitted(
        registry, resource, "UPDATE", subresource, new, old, conformed.causes, found, options, judge
    )
    if resource.generation and _desired(new) != _desired(old):
        new["metadata"]["generation"] = int(old_meta.get("generation") or 0) + 1
    if not managed:
        ownership.record(resource, new, old, options.field_manager, now.text, subresource)
    return commit(registry, resource, new, old, stored, options.dry_run)


def _conformed(resource: Resource, obj: Object, options: Options) -> Conformed:
    """What cannot be read of a patched object is the patch's fault, and told as that."""
    try:
        return conform(resource, obj, options)
    except StatusError as error:
        if options.patched and error.code == 400:
            cause = Cause("FieldValueInvalid", "patch", f"Invalid value: {error.message}")
            raise StatusError(422, "Invalid", f' "" is invalid: {cause.line()}', causes=[cause]) from None
        raise


def commit(
    registry: Registry, resource: Resource, new: Object, old: Object, stored: Stored, dry_run: bool
) -> Object:
    """Store a changed object.

    One that is being deleted goes when its last finalizer and its grace are gone.
    """
    if _without_times(new) == _without_times(old):
        return old
    if dry_run:
        return new
    meta = new["metadata"]
    if meta.get("deletionTimestamp") and not meta.get("finalizers") and removable(resource, new):
        return registry.erase(resource, new, stored)
    return registry.write(resource, new, stored)


def removable(resource: Resource, obj: Object) -> bool:
    """Whether an object in deletion without finalizers may go now."""
    if resource.key == "namespaces":
        return not obj.get("spec", {}).get("finalizers")
    return not obj["metadata"].get("deletionGracePeriodSeconds")


def _check_identity(
    resource: Resource, name: str, meta: dict[str, Any], old: dict[str, Any], patched: bool
) -> None:
    given = meta.get("name")
    if given and given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    version = meta.get("resourceVersion")
    if patched and version and version != old["resourceVersion"]:
        raise conflict(resource.plural, resource.group, name, _MODIFIED)
    if meta.get("uid") and meta["uid"] != old["uid"]:
        if patched:
            causes = [invalid_value("metadata.uid", meta["uid"], "field is immutable")]
            raise invalid(resource.kind, resource.group, name, causes)
        raise conflict(
            resource.plural,
            resource.group,
            name,
            f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old['uid']}",
        )
    if version and version != old["resourceVersion"]:
        raise conflict(resource.plural, resource.group, name, _MODIFIED)


def _keep_parts(resource: Resource, new: Object, old: Object, subresource: str) -> None:
    """What this request may not touch stays as it is: all but status for ``/status``, status otherwise."""
    if subresource == "status":
        for key in [key for key in new if key not in ("apiVersion", "kind", "metadata", "status")]:
            del new[key]
        for key, value in old.items():
            if key not in ("apiVersion", "kind", "metadata", "status"):
                new[key] = value
    elif resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if resource.key == "namespaces" and subresource != "finalize" and "spec" in old:
        new["spec"] = old["spec"]


def _desired(obj: Object) -> Object:
    return {
        key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")
    }


def _without_times(obj: Object) -> Object:
    """The object without the times in managedFields, which alone do not make a change."""
    managed = obj["metadata"].get("managedFields")
    if not managed:
        return obj
    entries = [{key: value for key, value in entry.items() if key != "time"} for entry in managed]
    return obj | {"metadata": obj["metadata"] | {"managedFields": entries}}
