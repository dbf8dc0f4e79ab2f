"""The shapes of documents: which fields there are, of which type, and how lists merge.

One table serves decoding, unknown fields, defaults, strategic merge, server-side apply, OpenAPI and protobuf.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.embedded.hooks import Conformed, Object, path_of
from aliquot.embedded.status import Cause, StatusError, bad_request, required, unsupported

ListType = Literal["atomic", "set", "map"]
#: Where a value stands, innermost first: ``(parent, key)``; None at the root.
Path: TypeAlias = "tuple[Any, str | int] | None"

_MISSING: Any = object()
_INT_LIMITS = {"int32": 2**31, "int64": 2**63}
#: ``raw`` and ``any`` are whatever JSON; the others have a type and a canonical form.
SCALARS = (
    "string",
    "bool",
    "int32",
    "int64",
    "number",
    "quantity",
    "intorstring",
    "time",
    "microtime",
    "duration",
    "bytes",
    "raw",
    "any",
)
_DURATION = re.compile(r"-?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|0")


def keys_of(path: Path) -> list[str | int]:
    keys: list[str | int] = []
    while path is not None:
        path, key = path
        keys.append(key)
    return keys[::-1]


class Context:
    """One run over one document."""

    __slots__ = ("causes", "defaults", "kind", "unknown", "version")

    def __init__(self, kind: str, version: str, defaults: bool) -> None:
        self.kind = kind
        self.version = version
        self.defaults = defaults
        self.unknown: list[str] = []
        self.causes: list[Cause] = []

    def wrong_type(self, value: Any, path: Path, wanted: str) -> StatusError:
        found = {dict: "object", list: "array", str: "string", bool: "bool", type(None): "null"}.get(
            type(value), f"number {value}" if wanted.startswith("int") else "number"
        )
        keys = path_of(keys_of(path))
        return bad_request(
            f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: json: '
            f"cannot unmarshal {found} into Go struct field {self.kind}.{keys} of type {wanted}"
        )

    def unreadable(self, path: Path, why: str) -> StatusError:
        return bad_request(
            f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: '
            f"{path_of(keys_of(path))}: {why}"
        )

    def report(self, cause: Cause, path: Path) -> None:
        """Status is written by controllers, not people: what it lacks is not held against it."""
        if keys_of(path)[:1] != ["status"]:
            self.causes.append(cause)


class Shape:
    """A type of value. ``conform`` returns a copy in canonical form."""

    __slots__ = ()

    def conform(self, value: Any, path: Path, context: Context) -> Any:
        raise NotImplementedError


@lru_cache(maxsize=8192)
def canonical_quantity(text: str) -> str:
    """``1000m`` is ``1``. Raises QuantityError."""
    return str(Quantity.parse(text))


@lru_cache(maxsize=8192)
def _canonical_time(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, such as Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def copy_json(value: Any) -> Any:
    """A deep copy of plain JSON."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Scalar(Shape):
    """One of the types without parts that :data:`SCALARS` names."""

    name: str

    def conform(self, value: Any, path: Path, context: Context) -> Any:
        name = self.name
        if name == "string":
            if isinstance(value, str):
                return value
            raise context.wrong_type(value, path, "string")
        if name in _INT_LIMITS:
            if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _INT_LIMITS[name]:
                raise context.wrong_type(value, path, name)
            return value
        if name == "bool":
            if isinstance(value, bool):
                return value
            raise context.wrong_type(value, path, "bool")
        if name == "quantity":
            return self._quantity(value, path, context)
        if name in ("any", "raw"):
            return copy_json(value)
        if name in ("time", "microtime"):
            return self._time(value, path, context)
        if name == "intorstring":
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise context.wrong_type(value, path, "intstr.IntOrString")
            return value
        return self._other(value, path, context)

    def _quantity(self, value: Any, path: Path, context: Context) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise context.wrong_type(value, path, "resource.Quantity")
        try:
            return canonical_quantity(str(value).strip())
        except QuantityError:
            pattern = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            raise context.unreadable(
                path, f"{value!r}: quantities must match the regular expression {pattern}"
            ) from None

    def _time(self, value: Any, path: Path, context: Context) -> str:
        if not isinstance(value, str):
            raise context.wrong_type(value, path, "v1.Time")
        try:
            return _canonical_time(value) if self.name == "time" else _micro_time(value)
        except ValueError:
            raise context.unreadable(path, f"{value!r} is not a time such as 2006-01-02T15:04:05Z") from None

    def _other(self, value: Any, path: Path, context: Context) -> Any:
        if self.name == "number":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise context.wrong_type(value, path, "float64")
            return value
        if not isinstance(value, str):
            raise context.wrong_type(value, path, "string")
        if self.name == "bytes":
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise context.unreadable(path, "illegal base64 data") from None
        elif self.name == "duration" and not _DURATION.fullmatch(value):
            raise context.unreadable(path, f'time: invalid duration "{value}"')
        return value


def _micro_time(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, such as Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class ListOf(Shape):
    item: Shape

    def conform(self, value: Any, path: Path, context: Context) -> Any:
        if not isinstance(value, list):
            raise context.wrong_type(value, path, "[]")
        conform = self.item.conform
        return [conform(one, (path, index), context) for index, one in enumerate(value)]


@dataclass(frozen=True, slots=True)
class MapOf(Shape):
    item: Shape

    def conform(self, value: Any, path: Path, context: Context) -> Any:
        if not isinstance(value, dict):
            raise context.wrong_type(value, path, "map")
        conform = self.item.conform
        return {key: conform(one, (path, key), context) for key, one in value.items()}


@dataclass(slots=True)
class Field:
    """One field of a struct.

    ``list_type`` and ``keys``: how server-side apply merges a list. ``merge``: how a strategic merge
    patch does, by this key (``*``: a list of plain values; ``""``: it replaces). ``retain``:
    ``$retainKeys`` matters.
    """

    name: str
    shape: Shape
    number: int = 0
    required: bool = False
    #: Whether an empty value differs from an absent one.
    nullable: bool = False
    list_type: ListType = "atomic"
    keys: tuple[str, ...] = ()
    atomic: bool = False
    merge: str = ""
    retain: bool = False
    enum: frozenset[str] = frozenset()
    default: Any = _MISSING
    description: str = ""

    @property
    def has_default(self) -> bool:
        return self.default is not _MISSING


@dataclass(slots=True, eq=False)
class Struct(Shape):
    """An object with named fields. ``inlined``: protobuf numbers of messages whose fields JSON shows here."""

    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    atomic: bool = False
    inlined: dict[int, Struct] = field(default_factory=dict)
    #: Keeps fields it does not know (x-kubernetes-preserve-unknown-fields).
    open: bool = False
    description: str = ""
    _required: tuple[str, ...] | None = None
    _defaults: tuple[Field, ...] | None = None

    def conform(self, value: Any, path: Path, context: Context) -> Any:
        if not isinstance(value, dict):
            raise context.wrong_type(value, path, self.name.rpartition(".")[2])
        result: Object = {}
        fields = self.fields
        for key, item in value.items():
            one = fields.get(key)
            if one is None:
                context.unknown.append(path_of([*keys_of(path), key]))
                continue
            if item is None:
                continue
            made = one.shape.conform(item, (path, key), context)
            result[key] = made
            if one.enum:
                self._check_enum(one, made, (path, key), context)
        if context.defaults:
            for one in self.defaulted():
                if one.name not in result:
                    result[one.name] = one.shape.conform(one.default, (path, one.name), context)
        for name in self.required_fields():
            if result.get(name, "") == "":
                context.report(required(path_of([*keys_of(path), name])), path)
        return result

    def _check_enum(self, one: Field, made: Any, path: Path, context: Context) -> None:
        for value in made if isinstance(made, list) else [made]:
            if value and value not in one.enum:
                context.report(unsupported(path_of(keys_of(path)), value, one.enum), path)

    def defaulted(self) -> tuple[Field, ...]:
        if self._defaults is None:
            self._defaults = tuple(one for one in self.fields.values() if one.has_default)
        return self._defaults

    def required_fields(self) -> tuple[str, ...]:
        if self._required is None:
            self._required = tuple(
                one.name for one in self.fields.values() if one.required and not one.has_default
            )
        return self._required


def structs_within(shape: Shape, seen: dict[str, Struct] | None = None) -> Iterator[Struct]:
    """The struct and every one reachable from it, each once."""
    seen = {} if seen is None else seen
    if isinstance(shape, (ListOf, MapOf)):
        yield from structs_within(shape.item, seen)
    elif isinstance(shape, Struct) and shape.name not in seen:
        seen[shape.name] = shape
        yield shape
        for one in shape.fields.values():
            yield from structs_within(one.shape, seen)


@dataclass(frozen=True, slots=True)
class KindSchema:
    """The schema of one built-in kind."""

    kind: str
    version: str
    root: Struct

    def conform(self, obj: Object, *, defaults: bool = True) -> Conformed:
        context = Context(self.kind, self.version, defaults)
        made = self.root.conform(obj, None, context)
        return Conformed(made, context.unknown, context.causes)

    def rule_causes(self, obj: Object, old: Object | None) -> list[Cause]:
        return []
