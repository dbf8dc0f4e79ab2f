"""The shapes of the built-in kinds, read from the tables beside this file.

A table names types and their fields: ``NUMBER NAME[*][?] TYPE [options]``. NUMBER is the field's in
protobuf, ``*`` marks a required field, ``?`` one whose empty value differs from its absence, ``[]T`` a
list, ``{}T`` a map with text keys, ``<T>`` a message whose fields JSON shows in the outer object.
Options: ``map=KEYS`` and ``set`` (how server-side apply merges a list; otherwise it replaces),
``atomic``, ``merge[=KEY]`` and ``retain`` (strategic merge patch), ``enum=A|B``. A type of another
table has that table's name before it. ``defaults.txt`` holds the values of absent fields,
``descriptions.txt`` what ``kubectl explain`` tells. Facts from the API reference of Kubernetes 1.36.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from aliquot.embedded.shapes import SCALARS, Field, KindSchema, ListOf, MapOf, Scalar, Shape, Struct

#: Group and version to the table that holds their kinds.
TABLES = {
    ("", "v1"): "core",
    ("apps", "v1"): "apps",
    ("batch", "v1"): "batch",
    ("resource.k8s.io", "v1"): "resource",
    ("resource.k8s.io", "v1beta2"): "resource_v1beta2",
    ("scheduling.k8s.io", "v1"): "scheduling",
    ("scheduling.k8s.io", "v1alpha2"): "scheduling_v1alpha2",
    ("coordination.k8s.io", "v1"): "coordination",
    ("admissionregistration.k8s.io", "v1"): "admission",
    ("apiextensions.k8s.io", "v1"): "apiextensions",
    ("rbac.authorization.k8s.io", "v1"): "rbac",
    ("events.k8s.io", "v1"): "events",
    ("policy", "v1"): "policy",
    ("authentication.k8s.io", "v1"): "authentication",
    ("authorization.k8s.io", "v1"): "authorization",
    ("autoscaling", "v1"): "autoscaling",
}

_SCALARS = {name: Scalar(name) for name in SCALARS}


def _lines(name: str) -> list[str]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def structs() -> dict[str, Struct]:
    """Every type of every table, by qualified name such as ``core.PodSpec``."""
    found: dict[str, Struct] = {}
    bodies: list[tuple[str, Struct, list[str]]] = []
    for table in dict.fromkeys((*TABLES.values(), "meta")):
        for line in _lines(f"{table}.txt"):
            if not line.startswith(" "):
                name, *options = line.split()
                struct = found[f"{table}.{name}"] = Struct(f"{table}.{name}", atomic="atomic" in options)
                bodies.append((table, struct, []))
            else:
                bodies[-1][2].append(line.strip())
    for table, struct, lines in bodies:
        for line in lines:
            _add_field(found, table, struct, line)
    for struct in found.values():
        for inner in struct.inlined.values():
            _inline(struct, inner)
    for line in _lines("defaults.txt"):
        path, _, value = line.partition(" ")
        owner, _, name = path.rpartition(".")
        found[owner].fields[name].default = msgspec.json.decode(value)
    for line in _lines("descriptions.txt"):
        path, _, text = line.partition(" ")
        if path in found:
            found[path].description = text
        else:
            owner, _, name = path.rpartition(".")
            found[owner].fields[name].description = text
    return found


def _inline(struct: Struct, inner: Struct) -> None:
    for deeper in inner.inlined.values():
        _inline(inner, deeper)
    for name, one in inner.fields.items():
        struct.fields.setdefault(name, one)


def _shape(found: dict[str, Struct], table: str, text: str) -> Shape:
    if text.startswith("[]"):
        return ListOf(_shape(found, table, text[2:]))
    if text.startswith("{}"):
        return MapOf(_shape(found, table, text[2:]))
    if text in _SCALARS:
        return _SCALARS[text]
    return found[text if "." in text else f"{table}.{text}"]


def _add_field(found: dict[str, Struct], table: str, struct: Struct, line: str) -> None:
    number, name, *rest = line.split()
    if name.startswith("<"):
        inner = _shape(found, table, name[1:-1])
        assert isinstance(inner, Struct)
        struct.inlined[int(number)] = inner
        return
    one = Field(name.rstrip("*?"), _shape(found, table, rest[0]), int(number))
    one.required = "*" in name
    one.nullable = name.endswith("?")
    for option in rest[1:]:
        key, _, value = option.partition("=")
        if key == "map":
            one.list_type, one.keys = "map", tuple(value.split(","))
        elif key == "set":
            one.list_type = "set"
        elif key == "atomic":
            one.atomic = True
        elif key == "merge":
            one.merge = value or "*"
        elif key == "retain":
            one.retain = True
        elif key == "enum":
            one.enum = frozenset(value.split("|"))
    struct.fields[one.name] = one


@cache
def kind_schema(group: str, version: str, kind: str) -> KindSchema | None:
    """The schema of a built-in kind, None for one without a table."""
    table = TABLES.get((group, version))
    root = structs().get(f"{table}.{kind}") if table else None
    if root is None:
        return None
    top = Struct(root.name, dict(root.fields), inlined=root.inlined, description=root.description)
    for name in ("kind", "apiVersion"):
        top.fields[name] = Field(name, _SCALARS["string"])
    return KindSchema(kind, version, top)


def object_meta() -> Struct:
    return structs()["meta.ObjectMeta"]
