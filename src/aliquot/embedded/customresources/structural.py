"""Structural schemas: pruning, defaults and validation of custom resources."""

from __future__ import annotations

from typing import Any

from aliquot.embedded.customresources import rules, values
from aliquot.embedded.customresources.values import Schema
from aliquot.embedded.hooks import Conformed, Object
from aliquot.embedded.schemas import object_meta
from aliquot.embedded.shapes import Context, Field, ListOf, MapOf, Path, Scalar, Shape, Struct, copy_json
from aliquot.embedded.status import Cause

_ANY = Scalar("any")
_TOP = ("apiVersion", "kind", "metadata")


def _keeps_unknown(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


class StructuralSchema:
    """The schema of one version of a custom kind.

    ``schema`` is its openAPIV3Schema (None keeps everything).
    """

    def __init__(self, kind: str, version: str, schema: Schema | None) -> None:
        self.kind = kind
        self.version = version
        self.schema: Schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        self._root = self._make_root()
        self._rules = rules.collect(self.schema)

    @property
    def root(self) -> Struct:
        return self._root

    def _make_root(self) -> Struct:
        shape = shape_of(self.schema, self.kind)
        root = shape if isinstance(shape, Struct) else Struct(self.kind, open=True)
        for name in ("apiVersion", "kind"):
            root.fields[name] = Field(name, Scalar("string"))
        root.fields["metadata"] = Field("metadata", object_meta())
        return root

    def conform(self, obj: Object, *, defaults: bool = True) -> Conformed:
        context = Context(self.kind, self.version, defaults)
        schema = self.schema | {
            "properties": {k: v for k, v in (self.schema.get("properties") or {}).items() if k not in _TOP},
            "required": [one for one in self.schema.get("required") or () if one not in _TOP],
        }
        body = {key: value for key, value in obj.items() if key not in _TOP}
        made = _walk(schema, body, None, context)
        meta = object_meta().conform(obj.get("metadata") or {}, (None, "metadata"), context)
        return Conformed({"metadata": meta, **made}, context.unknown, context.causes)

    def rule_causes(self, obj: Object, old: Object | None) -> list[Cause]:
        """What the schema's CEL rules (x-kubernetes-validations) say."""
        return rules.evaluate(self._rules, obj, old)


def _walk(schema: Schema, value: Any, path: Path, context: Context) -> Any:
    if value is None and schema.get("nullable"):
        return None
    if not values.has_type(schema, value):
        context.causes.append(values.type_cause(schema, value, path))
        return copy_json(value)
    if isinstance(value, dict):
        value = _walk_object(schema, value, path, context)
    elif isinstance(value, list):
        items = schema.get("items") or {}
        value = [_walk(items, item, (path, index), context) for index, item in enumerate(value)]
    elif isinstance(value, float) and schema.get("type") == "integer":
        value = int(value)
    context.causes.extend(values.check(schema, value, path))
    context.causes.extend(values.combined(schema, value, path))
    return value


def _walk_object(schema: Schema, value: Object, path: Path, context: Context) -> Object:
    properties: dict[str, Schema] = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    embedded = schema.get("x-kubernetes-embedded-resource")
    result: Object = {}
    for key, item in value.items():
        inner = properties.get(key)
        if inner is None and embedded and key in _TOP:
            result[key] = copy_json(item)
        elif inner is None and isinstance(additional, dict):
            result[key] = _walk(additional, item, (path, key), context)
        elif inner is None:
            if _keeps_unknown(schema) or additional is True:
                result[key] = copy_json(item)
            else:
                context.unknown.append(values.where((path, key)))
        elif item is not None or inner.get("nullable"):
            result[key] = _walk(inner, item, (path, key), context)
    if context.defaults:
        for key, inner in properties.items():
            if key not in result and "default" in inner:
                result[key] = _walk(inner, inner["default"], (path, key), context)
    return result


def shape_of(schema: Schema, name: str) -> Shape:
    """How lists and maps of a schema merge, for server-side apply."""
    if schema.get("x-kubernetes-int-or-string"):
        return Scalar("intorstring")
    kind = schema.get("type")
    if kind == "array":
        return ListOf(shape_of(schema.get("items") or {}, f"{name}.items"))
    if kind != "object":
        return Scalar(str(kind)) if kind in ("string", "number") else _ANY
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict) and not schema.get("properties"):
        return MapOf(shape_of(additional, f"{name}.values"))
    struct = Struct(name, atomic=schema.get("x-kubernetes-map-type") == "atomic", open=_keeps_unknown(schema))
    for key, inner in (schema.get("properties") or {}).items():
        one = Field(key, shape_of(inner, f"{name}.{key}"))
        kind = inner.get("x-kubernetes-list-type")
        if kind in ("set", "map"):
            one.list_type = kind
            one.keys = tuple(inner.get("x-kubernetes-list-map-keys") or ())
        one.atomic = inner.get("x-kubernetes-map-type") == "atomic"
        struct.fields[key] = one
    return struct
