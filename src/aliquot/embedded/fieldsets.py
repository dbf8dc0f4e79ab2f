"""Sets of fields, as ``metadata.managedFields`` keeps them (FieldsV1).

A path is a tuple of steps: ``f:NAME`` a field, ``k:{"name":"a"}`` the list item with these keys,
``v:VALUE`` a value of a set. Source: Kubernetes documentation, "Server-Side Apply"; FieldsV1 in the API
reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from aliquot.embedded.hooks import Object
from aliquot.embedded.shapes import Field, ListOf, MapOf, Shape, Struct

FieldPath: TypeAlias = "tuple[str, ...]"
FieldSet: TypeAlias = "frozenset[FieldPath]"

_encode = msgspec.json.Encoder(order="sorted").encode

#: Fields that nobody owns: identity and what the server writes.
_UNOWNED_META = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
)
_MAX_DEPTH = 60


def item_step(item: Any, one: Field) -> str:
    """The step to a list item: by its keys, those it lacks taken from the schema's defaults.

    Or by its value.
    """
    if one.list_type == "set":
        return "v:" + _encode(item).decode()
    inner = one.shape.item if isinstance(one.shape, ListOf) else None
    key: Object = {}
    for name in one.keys:
        if isinstance(item, dict) and name in item:
            key[name] = item[name]
        elif isinstance(inner, Struct) and name in inner.fields and inner.fields[name].has_default:
            key[name] = inner.fields[name].default
    return "k:" + _encode(key).decode()


def child(shape: Shape | None, key: str) -> Field | None:
    """The field of a struct or map; None where the schema knows none (deduced from the value then)."""
    if isinstance(shape, Struct):
        return shape.fields.get(key)
    if isinstance(shape, MapOf):
        return Field(key, shape.item)
    return None


def is_granular(value: Any, one: Field | None) -> bool:
    """Whether the parts of an object have owners of their own."""
    if not isinstance(value, dict):
        return False
    if one is None:
        return True
    shape = one.shape
    if one.atomic or (isinstance(shape, Struct) and shape.atomic):
        return False
    return isinstance(shape, (Struct, MapOf))


def leaves(value: Any, one: Field | None, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """Every owned path below a value with what stands there; list items come with the path alone (None)."""
    if is_granular(value, one):
        shape = one.shape if one is not None else None
        if not value and path:
            yield path, {}
        for key, item in value.items():
            yield from leaves(item, child(shape, key), (*path, f"f:{key}"))
    elif isinstance(value, list) and one is not None and one.list_type in ("set", "map"):
        if not value:
            yield path, []
        inner = Field("", one.shape.item) if isinstance(one.shape, ListOf) else None
        for item in value:
            step = (*path, item_step(item, one))
            yield step, None
            if one.list_type == "map":
                yield from leaves(item, inner, step)
    else:
        yield path, value


def owned(obj: Object, root: Shape | None) -> dict[FieldPath, Any]:
    """The owned paths of a whole object with their values."""
    meta = obj.get("metadata") or {}
    kept = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    kept_meta = {key: value for key, value in meta.items() if key not in _UNOWNED_META}
    if kept_meta:
        kept["metadata"] = kept_meta
    top = Field("", root) if isinstance(root, Struct) else None
    return dict(leaves(kept, top))


def to_fields(paths: Iterable[FieldPath]) -> Object:
    """FieldsV1: nested objects; ``.`` marks an inner one that is a member itself."""
    tree: Object = {}
    members = list(paths)
    for path in members:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    for path in members:
        node = tree
        for step in path:
            node = node[step]
        if node:
            node["."] = {}
    return tree


def from_fields(fields: Any) -> FieldSet:
    found: set[FieldPath] = set()

    def walk(node: Any, path: FieldPath) -> None:
        if not isinstance(node, dict) or len(path) > _MAX_DEPTH:
            return
        if path and (not node or "." in node):
            found.add(path)
        for step, inner in node.items():
            if step != ".":
                walk(inner, (*path, step))

    walk(fields, ())
    return frozenset(found)


def shown(path: FieldPath) -> str:
    """A path for people: ``.spec.containers[name="a"].image``."""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = msgspec.json.decode(rest.encode())
            text += "[" + ",".join(f"{name}={_encode(value).decode()}" for name, value in keys.items()) + "]"
        else:
            text += f"[={rest}]"
    return text
