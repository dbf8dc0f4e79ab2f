"""Operators and conversions of the language: they look at their values and pick what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration, Timestamp
from aliquot.cel.values import (
    INT_MAX,
    INT_MIN,
    NO_SUCH_OVERLOAD,
    NONE,
    Optional,
    TypeValue,
    UInt,
    compare,
    equal,
    find,
    type_name,
)

__all__ = [
    "add",
    "contains",
    "divide",
    "greater",
    "greater_or_equal",
    "index",
    "less",
    "less_or_equal",
    "modulo",
    "multiply",
    "negate",
    "not_equal",
    "optional_index",
    "size",
    "subtract",
]

_SECOND: Final = 10**9


def _no_overload() -> EvaluationError:
    return EvaluationError(NO_SUCH_OVERLOAD)


def _int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def _uint(value: int) -> UInt:
    if 0 <= value <= UInt.MAX:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def _duration(nanos: int) -> Duration:
    result = Duration(nanos)
    if not result.in_range:
        raise EvaluationError("duration overflow")
    return result


def _timestamp(nanos: int) -> Timestamp:
    result = Timestamp(nanos)
    if not result.in_range:
        raise EvaluationError("timestamp overflow")
    return result


def add(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _int(left + right)
        if kind is str or kind is float or kind is bytes:
            return left + right
        if kind is UInt:
            return _uint(int(left) + int(right))
        if kind is Duration:
            return _duration(left.nanos + right.nanos)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return [*left, *right]
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return _timestamp(left.nanos + right.nanos)
    if isinstance(left, Duration) and isinstance(right, Timestamp):
        return _timestamp(left.nanos + right.nanos)
    raise _no_overload()


def subtract(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _int(left - right)
        if kind is float:
            return left - right
        if kind is UInt:
            return _uint(int(left) - int(right))
        if kind is Duration or kind is Timestamp:
            return _duration(left.nanos - right.nanos)
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        return _timestamp(left.nanos - right.nanos)
    raise _no_overload()


def multiply(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _int(left * right)
        if kind is float:
            return left * right
        if kind is UInt:
            return _uint(int(left) * int(right))
    raise _no_overload()


def divide(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right):
        raise _no_overload()
    if kind is int or kind is UInt:
        if right == 0:
            raise EvaluationError("division by zero")
        quotient = abs(int(left)) // abs(int(right))
        if kind is UInt:
            return UInt(quotient)
        return _int(quotient if (left < 0) == (right < 0) else -quotient)
    if kind is float:
        if right == 0.0:
            if left == 0.0 or math.isnan(left):
                return math.nan
            return math.copysign(math.inf, left) * math.copysign(1.0, right)
        return left / right
    raise _no_overload()


def modulo(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or (kind is not int and kind is not UInt):
        raise _no_overload()
    if right == 0:
        raise EvaluationError("modulus by zero")
    remainder = abs(int(left)) % abs(int(right))
    if kind is UInt:
        return UInt(remainder)
    return remainder if left >= 0 else -remainder


def negate(value: Any) -> Any:
    if type(value) is int:
        return _int(-value)
    if type(value) is float:
        return -value
    if type(value) is Duration:
        return _duration(-value.nanos)
    raise _no_overload()


_NUMBERS: Final = (int, UInt, float)
_ORDERED: Final = (str, bytes, bool, Duration, Timestamp)


def _comparable(left: Any, right: Any) -> None:
    kind, other = type(left), type(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return
    if kind is other and kind in _ORDERED:
        return
    raise _no_overload()


def less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left < right)


def less_or_equal(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left <= right)


def greater(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left > right)


def greater_or_equal(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left >= right)


def equals(left: Any, right: Any) -> bool:
    result = compare(left, right)
    if result is None:
        raise _no_overload()
    return result


def not_equal(left: Any, right: Any) -> bool:
    """Also true of values that cannot be compared, unlike `equals` of them, which fails."""
    return not equal(left, right)


def contains(element: Any, container: Any) -> bool:
    """`element in container`: an element of a list, a key of a map."""
    if isinstance(container, list | tuple):
        return any(equal(element, each) for each in container)
    if isinstance(container, dict):
        try:
            return element in container and find(container, element).present
        except TypeError:
            return False
    raise _no_overload()


def size(value: Any) -> int:
    if isinstance(value, str | bytes | list | tuple | dict):
        return len(value)
    raise _no_overload()


def key_text(key: object) -> str:
    """A key as messages show it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def index(container: Any, key: Any) -> Any:
    """`container[key]`, also of an optional container."""
    if isinstance(container, dict):
        if type(key) is str:
            try:
                return container[key]
            except KeyError:
                raise EvaluationError(f"no such key: {key}") from None
        found = find(container, key)
        if found.present:
            return found.value
        raise EvaluationError(f"no such key: {key_text(key)}")
    if isinstance(container, list | tuple):
        at = _position(key)
        if 0 <= at < len(container):
            return container[at]
        raise EvaluationError(f"index out of bounds: {at}")
    if isinstance(container, Optional):
        return optional_index(container, key)
    raise _no_overload()


def _position(key: Any) -> int:
    if type(key) is int or type(key) is UInt:
        return int(key)
    if type(key) is float and key.is_integer():
        return int(key)
    raise EvaluationError(f"unsupported index type '{type_name(key)}' in list")


def optional_index(container: Any, key: Any) -> Optional:
    """`container[?key]` and `container.?key`: the element if it is there."""
    if isinstance(container, Optional):
        if not container.present:
            return NONE
        container = container.value
    if isinstance(container, dict):
        return find(container, key)
    if isinstance(container, list | tuple):
        at = _position(key)
        return Optional(container[at]) if 0 <= at < len(container) else NONE
    raise _no_overload()


def to_int(value: Any) -> int:
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is UInt:
        return _int(int(value))
    if kind is float:
        if not -(2.0**63) < value < 2.0**63:
            raise EvaluationError("integer overflow")
        return int(value)
    if kind is str:
        return _int(_parsed_integer(value, signed=True))
    if kind is Timestamp:
        return int(value.nanos // _SECOND)
    if kind is Duration:
        return int(value.nanos)
    raise _no_overload()


def to_uint(value: Any) -> UInt:
    kind = type(value)
    if kind is UInt or kind is int:
        return _uint(int(value))
    if kind is float:
        if not 0 <= value < 2.0**64:
            raise EvaluationError("unsigned integer overflow")
        return UInt(int(value))
    if kind is str:
        return _uint(_parsed_integer(value, signed=False))
    raise _no_overload()


def _parsed_integer(text: str, *, signed: bool) -> int:
    digits = text[1:] if signed and text[:1] in ("-", "+") else text
    if not digits or len(digits) > 40 or not digits.isascii() or not digits.isdigit():
        raise EvaluationError(f'strconv.ParseInt: parsing "{text[:64]}": invalid syntax')
    return int(text)


def to_double(value: Any) -> float:
    kind = type(value)
    if kind is float or kind is int or kind is UInt:
        return float(value)
    if kind is str:
        text = value.strip() if len(value) <= 512 and "_" not in value else ""
        try:
            if text == value:
                return float(text)
        except ValueError:
            pass
        raise EvaluationError(f'strconv.ParseFloat: parsing "{value[:64]}": invalid syntax')
    raise _no_overload()


def double_text(value: float) -> str:
    """A double as Go's strconv prints it with the shortest digits: 1.0 is "1"."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    shown = "".join(map(str, digits))
    magnitude = len(shown) + exponent - 1
    minus = "-" if sign else ""
    if value == 0.0:
        return minus + "0"
    if magnitude < -4 or magnitude >= 6:
        mantissa = shown[0] + ("." + shown[1:] if len(shown) > 1 else "")
        return f"{minus}{mantissa}e{'-' if magnitude < 0 else '+'}{abs(magnitude):02}"
    if exponent >= 0:
        return minus + shown + "0" * exponent
    if magnitude < 0:
        return f"{minus}0.{'0' * (-magnitude - 1)}{shown}"
    return f"{minus}{shown[: magnitude + 1]}.{shown[magnitude + 1 :]}"


def to_string(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is UInt:
        return str(int(value))
    if kind is float:
        return double_text(value)
    if kind is bytes:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if kind is Timestamp or kind is Duration or type_name(value) in ("net.IP", "net.CIDR"):
        return str(value)
    raise _no_overload()


def to_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return bytes(value)
    if type(value) is str:
        return str(value).encode("utf-8", "surrogatepass")
    raise _no_overload()


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str:
        if value in ("true", "True", "TRUE", "t", "1"):
            return True
        if value in ("false", "False", "FALSE", "f", "0"):
            return False
        raise EvaluationError(f'strconv.ParseBool: parsing "{value[:64]}": invalid syntax')
    raise _no_overload()


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def to_timestamp(value: Any) -> Timestamp:
    if type(value) is Timestamp:
        return value
    if type(value) is str:
        return _timestamp(_parsed(Timestamp.parse, value).nanos)
    if type(value) is int:
        return _timestamp(value * _SECOND)
    raise _no_overload()


def to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        return _duration(_parsed(Duration.parse, value).nanos)
    if type(value) is int:
        return _duration(value)
    raise _no_overload()


def to_type(value: Any) -> TypeValue:
    return TypeValue(type_name(value))
