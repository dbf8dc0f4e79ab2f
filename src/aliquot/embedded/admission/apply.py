"""Merging an apply configuration into an object, as MutatingAdmissionPolicy does.

The merge is that of server-side apply without ownership: maps and structs field by field, lists of the
types set and map by element, everything else replaced. Lists, maps and structs that can only be replaced as
a whole are refused, because a policy that names some of their fields would remove the others (KEP-3962).
"""

from __future__ import annotations

from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource
from aliquot.embedded.shapes import Field, ListOf, MapOf, Shape, Struct


class ApplyError(Exception):
    """The configuration does not fit the object; the message names the field."""


def apply_configuration(resource: Resource, obj: Object, configuration: Object) -> Object:
    """A new document; ``obj`` stays as it is. Raises ApplyError."""
    root = resource.schema.root if resource.schema is not None else None
    body = {key: value for key, value in configuration.items() if key not in ("apiVersion", "kind")}
    if not isinstance(root, Struct):
        merged: Object = _merge_untyped(obj, body)
        return merged
    return _merge_struct(root, obj, body, "")


def _merge_struct(struct: Struct, live: Object, change: Object, path: str) -> Object:
    merged = dict(live)
    for key, value in change.items():
        place = f"{path}.{key}"
        field = struct.fields.get(key)
        if field is None:
            if not struct.open:
                raise ApplyError(f"{place}: field not declared in schema")
            merged[key] = _merge_untyped(live.get(key), value)
        else:
            merged[key] = _merge_field(field, live.get(key), value, place)
    return merged


def _merge_field(field: Field, live: Any, change: Any, path: str) -> Any:
    shape = field.shape
    if change is None:
        return live
    if isinstance(shape, ListOf):
        if not isinstance(change, list):
            raise ApplyError(f"{path}: expected list, got {change!r}")
        return _merge_list(field, shape.item, live or [], change, path)
    if isinstance(shape, Struct | MapOf):
        if not isinstance(change, dict):
            raise ApplyError(f"{path}: expected map, got {change!r}")
        if field.atomic or (isinstance(shape, Struct) and shape.atomic):
            raise _atomic(path)
        return _merge_shape(shape, live, change, path)
    if isinstance(change, dict | list):
        raise ApplyError(f"{path}: expected scalar, got {change!r}")
    return change


def _merge_shape(shape: Shape, live: Any, change: Any, path: str) -> Any:
    base = live if isinstance(live, dict) else {}
    if isinstance(shape, Struct) and isinstance(change, dict):
        return _merge_struct(shape, base, change, path)
    if isinstance(shape, MapOf) and isinstance(change, dict):
        return base | {
            key: _merge_shape(shape.item, base.get(key), value, f"{path}.{key}")
            for key, value in change.items()
        }
    return change


def _merge_list(field: Field, item: Shape, live: list[Any], change: list[Any], path: str) -> list[Any]:
    if field.list_type == "set":
        return live + [one for one in change if one not in live]
    if field.list_type != "map":
        raise _atomic(path)
    merged = list(live)
    for one in change:
        if not isinstance(one, dict) or not all(_has_key(item, one, key) for key in field.keys):
            raise ApplyError(f"{path}: element lacks a key of {', '.join(field.keys)}")
        identity = [_key_value(item, one, key) for key in field.keys]
        for index, known in enumerate(merged):
            if [_key_value(item, known, key) for key in field.keys] == identity:
                merged[index] = _merge_shape(item, known, one, f"{path}[{index}]")
                break
        else:
            merged.append(_merge_shape(item, {}, one, f"{path}[{len(merged)}]"))
    return merged


def _key_value(item: Shape, element: Object, key: str) -> Any:
    """A key that is absent has the default of its field, such as ``protocol: TCP`` of a port."""
    if key in element:
        return element[key]
    field = item.fields.get(key) if isinstance(item, Struct) else None
    return field.default if field is not None and field.has_default else None


def _has_key(item: Shape, element: Object, key: str) -> bool:
    return _key_value(item, element, key) is not None


def _atomic(path: str) -> ApplyError:
    return ApplyError(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path}")


def _merge_untyped(live: Any, change: Any) -> Any:
    if isinstance(live, dict) and isinstance(change, dict):
        return live | {key: _merge_untyped(live.get(key), value) for key, value in change.items()}
    return change
