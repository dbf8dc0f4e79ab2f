"""What a CustomResourceDefinition must look like, and the resources it adds."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import TYPE_CHECKING

from aliquot.cel import CompileError
from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.changes import ChangeType
from aliquot.embedded.customresources import rules
from aliquot.embedded.customresources.structural import StructuralSchema
from aliquot.embedded.customresources.values import Schema, is_pattern
from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource, Subresource
from aliquot.embedded.schemas import structs
from aliquot.embedded.shapes import Context
from aliquot.embedded.status import Cause, forbidden_field, invalid_value, required

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_MAX_SCHEMA_DEPTH = 60


class DefinitionBehavior(Behavior):
    """CustomResourceDefinition: established as soon as it is accepted."""

    def default(self, obj: Object) -> None:
        names = obj.setdefault("spec", {}).get("names")
        if isinstance(names, dict) and names.get("kind"):
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", f"{names['kind']}List")

    def on_create(self, obj: Object, now: Moment) -> None:
        spec = obj["spec"]
        obj["status"] = {
            "conditions": [
                _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
                _condition(
                    "Established", "InitialNamesAccepted", "the initial names have been accepted", now
                ),
            ],
            "acceptedNames": spec.get("names") or {},
            "storedVersions": _storage_versions(spec),
        }

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        if subresource == "status":
            return
        status = obj.setdefault("status", {})
        status["acceptedNames"] = obj["spec"].get("names") or {}
        stored = list(status.get("storedVersions") or [])
        status["storedVersions"] = stored + [
            one for one in _storage_versions(obj["spec"]) if one not in stored
        ]

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        names = spec.get("names") or {}
        causes: list[Cause] = []
        expected = f"{names.get('plural', '')}.{spec.get('group', '')}"
        if obj["metadata"].get("name") != expected:
            why = 'must be spec.names.plural+"."+spec.group'
            causes.append(invalid_value("metadata.name", obj["metadata"].get("name"), why))
        group = spec.get("group") or ""
        if group and (error := metadata.subdomain_error(group)):
            causes.append(invalid_value("spec.group", group, error))
        elif group and "." not in group:
            causes.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
        for key in ("plural", "singular"):
            if names.get(key) and (error := metadata.label_name_error(names[key])):
                causes.append(invalid_value(f"spec.names.{key}", names[key], error))
        if (spec.get("conversion") or {}).get("strategy") == "Webhook":
            why = "conversion webhooks are not called by the embedded cluster"
            causes.append(forbidden_field("spec.conversion.strategy", why))
        return causes + _versions(spec)

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        new, had = obj["spec"], old["spec"]
        causes = [
            invalid_value(f"spec.{key}", new.get(key), "field is immutable")
            for key in ("group", "scope")
            if new.get(key) != had.get(key)
        ]
        for key in ("plural", "kind"):
            if (new.get("names") or {}).get(key) != (had.get("names") or {}).get(key):
                value = (new.get("names") or {}).get(key)
                causes.append(invalid_value(f"spec.names.{key}", value, "field is immutable"))
        return causes


def _condition(kind: str, reason: str, message: str, now: Moment) -> Object:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": now.text,
        "reason": reason,
        "message": message,
    }


def _storage_versions(spec: Object) -> list[str]:
    return [one.get("name", "") for one in spec.get("versions") or () if one.get("storage")]


def _versions(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    versions = spec.get("versions") or []
    if len(_storage_versions(spec)) != 1:
        why = "must have exactly one version marked as storage version"
        causes.append(invalid_value("spec.versions", [one.get("name") for one in versions], why))
    names: set[str] = set()
    for index, one in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = one.get("name") or ""
        if name and (error := metadata.label_name_error(name)):
            causes.append(invalid_value(f"{path}.name", name, error))
        if name in names:
            causes.append(invalid_value("spec.versions", name, "must contain unique version names"))
        names.add(name)
        schema = (one.get("schema") or {}).get("openAPIV3Schema")
        below = f"{path}.schema.openAPIV3Schema"
        # One schema for all versions is told of as the definition's, not as a version's.
        inside = "spec.validation.openAPIV3Schema" if len(versions) == 1 else below
        if not isinstance(schema, dict):
            causes.append(required(below, "schemas are required"))
        elif schema.get("type") != "object":
            causes.append(
                invalid_value(f"{inside}.type", schema.get("type", ""), "must be object at the root")
            )
        else:
            causes += list(_schema(schema, inside, 0))
    return causes


def _schema(schema: Schema, path: str, depth: int) -> Iterator[Cause]:
    """A schema must say the type of every field, and its rules must compile."""
    if depth > _MAX_SCHEMA_DEPTH:
        yield forbidden_field(path, f"must not be nested more than {_MAX_SCHEMA_DEPTH} levels deep")
        return
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not free:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    elif kind is not None and kind not in _TYPES:
        yield invalid_value(f"{path}.type", kind, f"must be one of {', '.join(_TYPES)}")
    if kind == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        yield required(f"{path}.x-kubernetes-list-map-keys", "must be set if x-kubernetes-list-type is map")
    for index, one in enumerate(schema.get("x-kubernetes-validations") or ()):
        yield from _rule(one, f"{path}.x-kubernetes-validations[{index}]")
    if (pattern := schema.get("pattern")) and not is_pattern(pattern):
        yield invalid_value(f"{path}.pattern", pattern, "must be a regular expression of RE2")
    for key, inner in (schema.get("properties") or {}).items():
        yield from _schema(inner, f"{path}.properties[{key}]", depth + 1)
    if "items" in schema:
        yield from _schema(schema["items"], f"{path}.items", depth + 1)
    if isinstance(additional := schema.get("additionalProperties"), dict):
        yield from _schema(_readable(additional), f"{path}.additionalProperties", depth + 1)
    elif not isinstance(additional, (bool, NoneType)):
        yield invalid_value(f"{path}.additionalProperties", additional, "must be a schema or true or false")


def _readable(schema: Schema) -> Schema:
    """A schema below additionalProperties, which may also be a boolean. Raises StatusError 400."""
    context = Context("CustomResourceDefinition", "v1", defaults=False)
    made: Schema = structs()["apiextensions.JSONSchemaProps"].conform(schema, None, context)
    return made


def _rule(one: Object, path: str) -> Iterator[Cause]:
    for key in ("rule", "messageExpression"):
        if text := one.get(key):
            try:
                rules.compile_rule(text)
            except CompileError as error:
                yield invalid_value(f"{path}.{key}", text, f"compilation failed: {error}")


def resources_of(definition: Object) -> Iterator[Resource]:
    """The resources that a definition adds, one per served version, that of storage first."""
    spec = definition["spec"]
    names, group = spec["names"], spec["group"]
    versions = spec["versions"]
    storage = _storage_versions(spec)[0]
    ordered = sorted(versions, key=lambda one: one["name"] != storage)
    for one in ordered:
        if not one.get("served"):
            continue
        schema = (one.get("schema") or {}).get("openAPIV3Schema")
        listed = one.get("subresources") or {}
        subresources = []
        if "status" in listed:
            subresources.append(Subresource("status", names["kind"], ("get", "patch", "update")))
        if "scale" in listed:
            verbs = ("get", "patch", "update")
            subresources.append(Subresource("scale", "Scale", verbs, "autoscaling", "v1"))
        yield Resource(
            group,
            one["name"],
            names["plural"],
            names["kind"],
            namespaced=spec.get("scope") == "Namespaced",
            singular=names.get("singular") or "",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(subresources),
            list_kind=names.get("listKind") or "",
            generation=True,
            custom=True,
            stored_version=f"{group}/{storage}" if len(versions) > 1 else "",
            selectable=tuple(
                field["jsonPath"].lstrip(".")
                for field in one.get("selectableFields") or ()
                if "jsonPath" in field
            ),
            columns=tuple(one.get("additionalPrinterColumns") or ()),
            openapi=schema,
            schema=StructuralSchema(names["kind"], one["name"], schema),
        )


def install(registry: Registry) -> None:
    """Serve what the stored definitions say, and follow their changes."""
    definitions = registry.resources.named("customresourcedefinitions", "apiextensions.k8s.io")
    for stored in list(registry.collection(definitions).items()):
        _serve(registry, registry.decode(definitions, stored))
    registry.observe(definitions, lambda change, obj: _follow(registry, change, obj))


def _serve(registry: Registry, definition: Object) -> None:
    wanted = list(resources_of(definition))
    spec = definition["spec"]
    versions = {resource.version for resource in wanted}
    for resource in registry.resources:
        same = (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"])
        if same and resource.version not in versions:
            registry.resources.remove(resource.group, resource.version, resource.plural)
    for resource in wanted:
        registry.resources.add(resource)
        registry.selectable_fields(resource.key, resource.selectable)


def _follow(registry: Registry, change: ChangeType, definition: Object) -> None:
    if change != "DELETED":
        _serve(registry, definition)
        return
    spec = definition["spec"]
    served = [
        resource
        for resource in registry.resources
        if (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"])
    ]
    for resource in served[:1]:
        for stored in list(registry.collection(resource).items()):
            registry.erase(resource, registry.decode(resource, stored), stored)
    for resource in served:
        registry.resources.remove(resource.group, resource.version, resource.plural)
