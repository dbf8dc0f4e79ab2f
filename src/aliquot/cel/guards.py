"""Whether a value is of a type: decides between overloads where types are only known at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aliquot.cel.instants import Duration, Timestamp
from aliquot.cel.typesystem import Type
from aliquot.cel.values import Optional, TypeValue, UInt, type_name

__all__ = ["accepts"]

_EXACT: Final[dict[str, type]] = {
    "bool": bool,
    "int": int,
    "uint": UInt,
    "double": float,
    "string": str,
    "bytes": bytes,
    "null": type(None),
    "timestamp": Timestamp,
    "duration": Duration,
    "type": TypeValue,
}


def accepts(kind: Type) -> Callable[[Any], bool]:
    """A test for values of a type. Elements of lists are looked at if they are of a plain type."""
    exact = _EXACT.get(kind.kind)
    if exact is not None:
        return lambda value: type(value) is exact
    if kind.kind == "list":
        element = kind.parameters[0]
        if element.kind in ("param", "dyn", "any", "list", "map"):
            return lambda value: isinstance(value, list | tuple)
        inner = accepts(element)
        return lambda value: isinstance(value, list | tuple) and all(map(inner, value))
    if kind.kind == "map":
        return lambda value: isinstance(value, dict)
    if kind.kind == "opaque" and kind.name == "optional_type":
        return lambda value: isinstance(value, Optional)
    if kind.kind in ("opaque", "struct"):
        name = kind.name
        return lambda value: type_name(value) == name
    return lambda _: True
