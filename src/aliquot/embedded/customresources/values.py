"""Checks of single values against a structural schema, in the words of the API server.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions" (structural
schemas); JSON Schema validation keywords.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec
import re2

from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.embedded.hooks import path_of
from aliquot.embedded.shapes import Path, keys_of
from aliquot.embedded.status import Cause, duplicate, invalid_value, required, unsupported

Schema = dict[str, Any]

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def where(path: Path) -> str:
    return path_of(keys_of(path))


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return names.get(type(value), "null")


def has_type(schema: Schema, value: Any) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    wanted = schema.get("type")
    if not wanted:
        return True
    if isinstance(value, bool):
        return bool(wanted == "boolean")
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(wanted, (object,)))


def type_cause(schema: Schema, value: Any, path: Path) -> Cause:
    place = where(path)
    wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    found = kind_of(value)
    message = f'Invalid value: "{found}": {place} in body must be of type {wanted}: "{found}"'
    return Cause("FieldValueTypeInvalid", place, message)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Any:
    try:
        options = re2.Options()
        options.log_errors = False
        return re2.compile(text, options)
    except re2.error:
        return None


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression of RE2."""
    return _pattern(text) is not None


def _format_error(name: str, value: str) -> bool:
    try:
        if name == "date-time":
            return datetime.fromisoformat(value).tzinfo is None
        if name == "date":
            date.fromisoformat(value)
        elif name == "byte":
            base64.b64decode(value, validate=True)
        elif name == "quantity":
            Quantity.parse(value)
    except (ValueError, binascii.Error, QuantityError):
        return True
    return False


def check(schema: Schema, value: Any, path: Path) -> Iterator[Cause]:
    """What is wrong with one value, its children aside; its type has been checked."""
    if isinstance(value, str):
        yield from _string(schema, value, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(schema, value, path)
    elif isinstance(value, list):
        yield from _array(schema, value, path)
    elif isinstance(value, dict):
        yield from _object(schema, value, path)
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        place = where(path)
        texts = [one for one in allowed if isinstance(one, str)]
        if isinstance(value, str) and len(texts) == len(allowed):
            yield unsupported(place, value, texts)
        else:
            listed = msgspec.json.encode(allowed).decode()
            yield Cause(
                "FieldValueNotSupported", place, f"Unsupported value: {value}: supported values: {listed}"
            )


def _string(schema: Schema, value: str, path: Path) -> Iterator[Cause]:
    place = where(path)
    if (least := schema.get("minLength")) is not None and len(value) < least:
        yield invalid_value(place, value, f"{place} in body should be at least {least} chars long")
    if (most := schema.get("maxLength")) is not None and len(value) > most:
        yield Cause("FieldValueTooLong", place, f"Too long: may not be more than {most} bytes")
    if text := schema.get("pattern"):
        pattern = _pattern(text)
        if pattern is not None and not pattern.search(value):
            yield invalid_value(place, value, f"{place} in body should match '{text}'")
    name = schema.get("format")
    if name and _format_error(name, value):
        yield invalid_value(place, value, f"{place} in body must be of type {name}: {value!r}")


def _number(schema: Schema, value: float, path: Path) -> Iterator[Cause]:
    place = where(path)
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and (value < least or (value == least and schema.get("exclusiveMinimum"))):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid_value(place, value, f"{place} in body should be {word} {least}")
    if most is not None and (value > most or (value == most and schema.get("exclusiveMaximum"))):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid_value(place, value, f"{place} in body should be {word} {most}")
    if (step := schema.get("multipleOf")) and Fraction(str(value)) % Fraction(str(step)):
        yield invalid_value(place, value, f"{place} in body should be a multiple of {step}")
    limit = {"int32": 2**31, "int64": 2**63}.get(schema.get("format", ""))
    if limit is not None and not -limit <= value < limit:
        yield invalid_value(place, value, f"{place} in body must be of type {schema['format']}")


def _array(schema: Schema, value: list[Any], path: Path) -> Iterator[Cause]:
    place = where(path)
    if (least := schema.get("minItems")) is not None and len(value) < least:
        yield invalid_value(place, len(value), f"{place} in body should have at least {least} items")
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        why = f"Too many: {len(value)}: must have at most {most} items"
        yield Cause("FieldValueTooMany", place, why)
    kind = schema.get("x-kubernetes-list-type")
    seen: list[Any] = []
    if kind not in ("set", "map"):
        return
    for index, item in enumerate(value):
        key = item
        if kind == "map" and isinstance(item, dict):
            key = {name: item.get(name) for name in schema.get("x-kubernetes-list-map-keys") or ()}
        if key in seen:
            yield duplicate(f"{place}[{index}]", key)
        seen.append(key)


def _object(schema: Schema, value: dict[str, Any], path: Path) -> Iterator[Cause]:
    place = where(path)
    for name in schema.get("required") or ():
        if name not in value:
            yield required(f"{place}.{name}" if place else name)
    if (least := schema.get("minProperties")) is not None and len(value) < least:
        yield invalid_value(place, len(value), f"{place} in body should have at least {least} properties")
    if (most := schema.get("maxProperties")) is not None and len(value) > most:
        yield Cause("FieldValueTooMany", place, f"Too many: {len(value)}: must have at most {most} items")


def fits(schema: Schema, value: Any) -> bool:
    """Whether a value and all below it satisfy a schema used in anyOf, oneOf or not."""
    if not has_type(schema, value) or next(check(schema, value, None), None) is not None:
        return False
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name in value and not fits(inner, value[name]):
                return False
    items = schema.get("items")
    if isinstance(value, list) and items and not all(fits(items, item) for item in value):
        return False
    return next(combined(schema, value, None), None) is None


def combined(schema: Schema, value: Any, path: Path) -> Iterator[Cause]:
    """allOf, anyOf, oneOf and not."""
    place = where(path)
    if any(not fits(one, value) for one in schema.get("allOf") or ()):
        yield invalid_value(place, value, f'"{place}" must validate all the schemas (allOf)')
    choices = schema.get("anyOf")
    if choices and not any(fits(one, value) for one in choices):
        yield invalid_value(place, value, f'"{place}" must validate at least one schema (anyOf)')
    exclusive = schema.get("oneOf")
    if exclusive and (count := sum(fits(one, value) for one in exclusive)) != 1:
        found = "none" if count == 0 else str(count)
        why = f'"{place}" must validate one and only one schema (oneOf). Found {found} valid alternatives'
        yield invalid_value(place, value, why)
    if (refused := schema.get("not")) is not None and fits(refused, value):
        yield invalid_value(place, value, f'"{place}" must not validate the schema (not)')
