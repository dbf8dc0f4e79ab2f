"""Values of expressions as Python objects.

| CEL | Python |
|---|---|
| null, bool, int, double, string, bytes | None, bool, int, float, str, bytes |
| uint | UInt |
| list | list or tuple |
| map, object | dict |
| timestamp, duration | Timestamp, Duration |
| type | TypeValue |
| optional | Optional |
| quantity, semver, ip, cidr, url, named format | Quantity, Semver, IPAddress, Network, URL, NamedFormat |
"""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import Any, ClassVar, Final

from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration, Timestamp
from aliquot.cel.quantity import Quantity
from aliquot.cel.semver import Semver

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "MAX_STEPS",
    "NONE",
    "NO_SUCH_OVERLOAD",
    "ComputedQuantity",
    "ExtensionValue",
    "ObjectValue",
    "Optional",
    "TypeValue",
    "UInt",
    "compare",
    "equal",
    "find",
    "go_type_name",
    "is_list",
    "to_json",
    "type_name",
]

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
NO_SUCH_OVERLOAD: Final = "no such overload"


class _Work(threading.local):
    """Steps that comparing, printing and converting containers took in the evaluation under way.

    A list can hold another one twice, which can hold a third one twice: going through all of it takes time
    exponential in the length of the expression, and Kubernetes' costs count only the outermost elements.
    `left` is set to MAX_STEPS at the start of an evaluation.
    """

    left = 0

    def spend(self, steps: int) -> None:
        """Raise EvaluationError once the steps are used up."""
        self.left -= steps
        if self.left < 0:
            raise EvaluationError(f"going through lists and maps takes more than {MAX_STEPS} steps")


MAX_STEPS: Final = 300_000
"""A Kubernetes object of the largest size (1.5 MiB) has about 100,000 fields and elements."""

WORK: Final = _Work()


class UInt(int):
    """An unsigned 64-bit integer; compares by value with the other numbers."""

    __slots__ = ()

    MAX: ClassVar[int] = 2**64 - 1


class Optional:
    """An optional: present with a value, or NONE."""

    __slots__ = ("present", "value")

    def __init__(self, value: object, *, present: bool = True) -> None:
        self.value = value
        self.present = present

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional):
            return NotImplemented
        return self.present == other.present and equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


NONE: Final = Optional(None, present=False)


class TypeValue:
    """A type as a value, such as what `type(1)` gives."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, TypeValue) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"TypeValue({self.name!r})"


class ExtensionValue:
    """Base of the values that Kubernetes' libraries add; immutable, with equality of their own."""

    __slots__ = ()

    cel_name: ClassVar[str] = ""
    """The name of the type in expressions, such as `net.IP`."""

    go_name: ClassVar[str] = ""
    """The name that Kubernetes' messages use, such as `cel.IP`."""


class ComputedQuantity(Quantity):
    """What adding to a quantity gives. Kubernetes holds it in another way and compares nothing with it."""

    __slots__ = ()


_OWN_EQUALITY: Final = (Quantity, Semver, ExtensionValue)


class ObjectValue(dict[str, Any]):
    """An object that an expression built: a dict that knows the name of its type."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str) -> None:
        super().__init__()
        self.type_name = type_name


_NAMES: Final[dict[type, tuple[str, str]]] = {
    type(None): ("null_type", "types.Null"),
    bool: ("bool", "types.Bool"),
    int: ("int", "types.Int"),
    UInt: ("uint", "types.Uint"),
    float: ("double", "types.Double"),
    str: ("string", "types.String"),
    bytes: ("bytes", "types.Bytes"),
    list: ("list", "*types.baseList"),
    tuple: ("list", "*types.baseList"),
    dict: ("map", "*types.baseMap"),
    Timestamp: ("google.protobuf.Timestamp", "types.Timestamp"),
    Duration: ("google.protobuf.Duration", "types.Duration"),
    TypeValue: ("type", "*types.Type"),
    Optional: ("optional_type", "*types.Optional"),
    Quantity: ("kubernetes.Quantity", "cel.Quantity"),
    ComputedQuantity: ("kubernetes.Quantity", "*cel.Quantity"),
    Semver: ("kubernetes.Semver", "cel.Semver"),
}


def _names(value: object) -> tuple[str, str]:
    known = _NAMES.get(type(value))
    if known is not None:
        return known
    if isinstance(value, ExtensionValue):
        return value.cel_name, value.go_name
    if isinstance(value, ObjectValue):
        return value.type_name, "*dynamic.ObjectVal"
    if isinstance(value, dict):
        return _NAMES[dict]
    return type(value).__name__, type(value).__name__


def type_name(value: object) -> str:
    """The name of a value's type in expressions."""
    return _names(value)[0]


def go_type_name(value: object) -> str:
    """The name of a value's type in cel-go's messages."""
    return _names(value)[1]


def is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def equal(left: object, right: object) -> bool:
    """Whether CEL takes two values for equal; False also for two that it cannot compare."""
    return compare(left, right) is True


def compare(left: object, right: object) -> bool | None:
    """CEL equality: numbers by value across their types, other kinds never equal one another.

    None where Kubernetes has no such comparison: a quantity, version, address or URL on the left of a value
    of another type, or of a quantity that was computed. `semver('1.0.0') == 1` fails, and so does
    `quantity('2') == quantity('1').add(1)`; `1 == semver('1.0.0')` is false. Within lists and maps such a
    pair counts as equal.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        if isinstance(left, _OWN_EQUALITY):
            return None
        return left is right
    if isinstance(left, str | int | float) or left is None:
        return left == right
    if isinstance(left, list | tuple):
        if not isinstance(right, list | tuple) or len(left) != len(right):
            return False
        WORK.spend(len(left))
        return all(compare(*pair) is not False for pair in zip(left, right, strict=True))
    if isinstance(left, dict):
        if not isinstance(right, dict) or len(left) != len(right):
            return False
        WORK.spend(len(left))
        for key, value in left.items():
            other = find(right, key)
            if not other.present or compare(value, other.value) is False:
                return False
        return True
    if isinstance(left, Optional):
        if not isinstance(right, Optional) or left.present is not right.present:
            return False
        return not left.present or compare(left.value, right.value)
    if isinstance(left, _OWN_EQUALITY):
        if right is None:
            return False
        if isinstance(right, ComputedQuantity) or type(right) is not _compared_as(left):
            return None
    return bool(left == right)


def _compared_as(value: object) -> type:
    return Quantity if isinstance(value, Quantity) else type(value)


def find(mapping: dict[object, object], key: object) -> Optional:
    """The entry of a map for a key, as an optional. A key that no map can have is not found."""
    try:
        value = mapping[key]
    except (KeyError, TypeError):
        return NONE
    # Python takes True for 1 and False for 0: make sure that the key really is the one asked for.
    if (key == 1 or key == 0) and key not in _keys_like(mapping, key):
        return NONE
    return Optional(value)


def _keys_like(mapping: dict[object, object], key: object) -> list[object]:
    wanted = isinstance(key, bool)
    return [each for each in mapping if isinstance(each, bool) == wanted]


def to_json(value: object) -> object:
    """The plain JSON form of a value, as Kubernetes converts results into objects and patches.

    Raises ValueError for a value without one (a type, an optional without value, a non-string key), and
    EvaluationError for one that is too big.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, UInt):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        WORK.spend(len(value))
        return [to_json(element) for element in value]
    if isinstance(value, dict):
        WORK.spend(len(value))
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a map with keys other than strings has no JSON form")
        return {key: to_json(element) for key, element in value.items()}
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Timestamp | Duration | Quantity | Semver):
        return str(value)
    if isinstance(value, Optional) and value.present:
        return to_json(value.value)
    if isinstance(value, ExtensionValue):
        return str(value)
    raise ValueError(f"a value of type {type_name(value)} has no JSON form")
