"""OpenAPI documents, for ``kubectl explain``, for merge keys of ``kubectl apply`` and for what options exist.

Source: Kubernetes documentation, "The Kubernetes API", section "OpenAPI interface definition".
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from aliquot.embedded.http.discovery import VERSION
from aliquot.embedded.resources import Resource, ResourceTable
from aliquot.embedded.schemas import TABLES, structs
from aliquot.embedded.shapes import Field, ListOf, MapOf, Scalar, Shape, Struct, structs_within

Json = dict[str, Any]

_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intorstring": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}

_TABLE_NAMES = {
    table: f"io.k8s.api.{(group or 'core').split('.')[0]}.{version}"
    for (group, version), table in TABLES.items()
} | {
    "meta": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
}

_QUERY = {
    "get": (),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
    "post": ("dryRun", "fieldManager", "fieldValidation"),
    "put": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
}
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_ACTIONS = {"get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete"}


#: The OpenAPI 2 document in protobuf: no paths and no definitions. Clients that ask for it look there
#: for kinds they do not find in OpenAPI 3, and this says that there are none: version "2.0", title
#: "Kubernetes", no paths.
SWAGGER_PROTOBUF = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1\x42\x00"
SWAGGER_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def definition_name(struct: Struct) -> str:
    table, _, name = struct.name.partition(".")
    return f"{_TABLE_NAMES[table]}.{name}" if table in _TABLE_NAMES else struct.name


def _schema(shape: Shape, prefix: str) -> Json:
    if isinstance(shape, Scalar):
        return dict(_SCALARS[shape.name])
    if isinstance(shape, ListOf):
        return {"type": "array", "items": _schema(shape.item, prefix)}
    if isinstance(shape, MapOf):
        return {"type": "object", "additionalProperties": _schema(shape.item, prefix)}
    assert isinstance(shape, Struct)
    return {"$ref": prefix + definition_name(shape)}


def _property(one: Field, prefix: str) -> Json:
    found = _schema(one.shape, prefix)
    if "$ref" in found:
        found = {"allOf": [found]}
    if one.description:
        found["description"] = one.description
    if isinstance(one.shape, ListOf):
        found["x-kubernetes-list-type"] = one.list_type
        if one.keys:
            found["x-kubernetes-list-map-keys"] = list(one.keys)
    elif one.atomic:
        found["x-kubernetes-map-type"] = "atomic"
    if one.merge:
        found["x-kubernetes-patch-strategy"] = "merge,retainKeys" if one.retain else "merge"
        if one.merge != "*":
            found["x-kubernetes-patch-merge-key"] = one.merge
    if one.enum and not isinstance(one.shape, ListOf):
        found["enum"] = sorted(one.enum)
    if one.has_default:
        found["default"] = one.default
    return found


def _definition(struct: Struct, prefix: str) -> Json:
    found: Json = {"type": "object"}
    if struct.description:
        found["description"] = struct.description
    if required := [one.name for one in struct.fields.values() if one.required]:
        found["required"] = required
    if struct.fields:
        found["properties"] = {one.name: _property(one, prefix) for one in struct.fields.values()}
    if struct.atomic:
        found["x-kubernetes-map-type"] = "atomic"
    return found


def _gvk(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _custom_definition(resource: Resource, prefix: str) -> Json:
    found = dict(resource.openapi or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    properties = dict(found.get("properties") or {})
    text = {"type": "string"}
    meta = {"allOf": [{"$ref": prefix + definition_name(structs()["meta.ObjectMeta"])}]}
    found["properties"] = {"apiVersion": text, "kind": text, **properties, "metadata": meta}
    return found


def resource_definition(resource: Resource) -> str:
    """The name under which a document holds a resource's schema."""
    if resource.custom:
        domain = ".".join(reversed(resource.group.split(".")))
        return f"{domain}.{resource.version}.{resource.kind}"
    root = resource.schema.root if resource.schema is not None else None
    return definition_name(root) if isinstance(root, Struct) else f"io.k8s.{resource.kind}"


def _definitions(resources: list[Resource], prefix: str) -> Json:
    found: Json = {}
    roots: list[tuple[str, Resource]] = []
    seen: dict[str, Struct] = {}
    for resource in resources:
        name = resource_definition(resource)
        roots.append((name, resource))
        if resource.custom or resource.schema is None:
            found[name] = _custom_definition(resource, prefix)
            list(structs_within(structs()["meta.ObjectMeta"], seen))
        else:
            list(structs_within(resource.schema.root, seen))
            found[name] = _definition(resource.schema.root, prefix)
    for struct in seen.values():
        found.setdefault(definition_name(struct), _definition(struct, prefix))
    for name, resource in roots:
        found[name]["x-kubernetes-group-version-kind"] = [_gvk(resource)]
    return found


def _operation(resource: Resource, method: str, prefix: str, action: str) -> Json:
    reference = {"$ref": prefix + resource_definition(resource)}
    operation: Json = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in _QUERY[method]
        ],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
    }
    if method == "patch":
        types = _PATCHES[:3] if resource.custom else _PATCHES
        operation["requestBody"] = {"content": {kind: {"schema": {"type": "object"}} for kind in types}}
    elif method in ("post", "put"):
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
    return operation


def _paths(resource: Resource, prefix: str) -> Json:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{root}{middle}/{resource.plural}"
    found: Json = {collection: {}}
    if "list" in resource.verbs:
        found[collection]["get"] = _operation(resource, "get", prefix, "list")
    if "create" in resource.verbs:
        found[collection]["post"] = _operation(resource, "post", prefix, "post")
    if "get" in resource.verbs:
        methods = ("get", "put", "patch", "delete")
        found[f"{collection}/{{name}}"] = {
            method: _operation(resource, method, prefix, _ACTIONS[method]) for method in methods
        }
    return found


def _of(table: ResourceTable, group: str, version: str) -> list[Resource]:
    return [one for one in table if (one.group, one.version) == (group, version)]


def document(table: ResourceTable, group: str, version: str) -> Json | None:
    """The OpenAPI 3 document of one group and version; None where it is not served."""
    resources = _of(table, group, version)
    if not resources:
        return None
    prefix = "#/components/schemas/"
    paths: Json = {}
    for resource in resources:
        paths |= _paths(resource, prefix)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION[2]},
        "paths": paths,
        "components": {"schemas": _definitions(resources, prefix)},
    }


def index(table: ResourceTable) -> Json:
    """Where the documents are; the hash changes when a document does."""
    paths: Json = {}
    for group, versions in table.versions().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(msgspec.json.encode(document(table, group, version))).hexdigest()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest[:32].upper()}"}
    return {"paths": paths}


def swagger(table: ResourceTable) -> Json:
    """The OpenAPI 2 document: schemas only."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION[2]},
        "paths": {},
        "definitions": _definitions(list(table), "#/definitions/"),
    }
