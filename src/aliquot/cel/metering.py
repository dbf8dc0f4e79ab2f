"""What evaluation costs while it runs, in Kubernetes' units, and the limit that stops it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from aliquot.cel.errors import EvaluationError
from aliquot.cel.quantity import Quantity
from aliquot.cel.semver import Semver
from aliquot.cel.values import WORK, ExtensionValue, Optional

__all__ = [
    "ALLOCATING",
    "LIST_COST",
    "MAP_COST",
    "REGEX_FACTOR",
    "STRING_FACTOR",
    "STRUCT_COST",
    "CostLimitError",
    "Meter",
    "allocation_cost",
    "call_price",
]

LIST_COST: Final = 10
MAP_COST: Final = 30
STRUCT_COST: Final = 40
STRING_FACTOR: Final = 0.1
"""Cost of going through one character."""
REGEX_FACTOR: Final = 0.25
"""Cost of one character of a pattern, per character gone through."""
ALLOCATING: Final = frozenset({"_+_", "replace", "join", "format"})
"""Functions whose results can be far bigger than what they cost."""

AUTHORIZER_CHECK_COST: Final = 350_000
"""An authorizer check costs so much that an expression can afford two."""


def allocation_cost(result: Any) -> int:
    """What a big result of an ALLOCATING function costs on top of Kubernetes' price.

    Kubernetes adds lists without copying them, at a flat cost; here they are copied, and a chain that
    doubles a list must not fill the memory. Free up to 100 elements or 1,000 characters.
    """
    if isinstance(result, list):
        return len(result) // 10 if len(result) > 100 else 0
    if isinstance(result, str | bytes):
        return len(result) // 100 if len(result) > 1000 else 0
    return 0


class CostLimitError(EvaluationError):
    """Evaluation stopped because it cost more than allowed. `||` and `&&` do not absorb it."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Meter:
    """Adds up costs; stops evaluation above `limit`."""

    __slots__ = ("cost", "limit")

    def __init__(self, limit: int) -> None:
        self.cost = 0
        self.limit = limit

    def charge(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostLimitError


def size_of(value: Any) -> int:
    """The size that costs go by: characters, bytes, elements or entries; 1 for everything else."""
    if isinstance(value, str | bytes | list | tuple | dict):
        return len(value)
    if isinstance(value, Optional) and value.present:
        return size_of(value.value)
    return int(getattr(value, "cel_size", 1))


def scaled(size: float, factor: float) -> int:
    """The size times the factor, rounded up."""
    return math.ceil(size * factor)


def _traversal(value: Any) -> int:
    if isinstance(value, str | bytes):
        return int(len(value) * STRING_FACTOR)
    if isinstance(value, list | tuple):
        WORK.spend(len(value))
        return sum(map(_traversal, value))
    if isinstance(value, dict):
        WORK.spend(len(value))
        return sum(_traversal(key) + _traversal(each) for key, each in value.items())
    return 1


_SORTABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")

_CallCost = Callable[[str, Sequence[Any]], int]


def _once(_: str, args: Sequence[Any]) -> int:
    return scaled(size_of(args[0]), STRING_FACTOR)


def _twice(_: str, args: Sequence[Any]) -> int:
    return scaled(size_of(args[0]), 2 * STRING_FACTOR)


def _joined(_: str, args: Sequence[Any]) -> int:
    parts = args[0]
    separators = len(args[1]) * max(len(parts) - 1, 0) if len(args) > 1 else 0
    return scaled(sum(map(size_of, parts)) + separators, 2 * STRING_FACTOR)


def _walk(_: str, args: Sequence[Any]) -> int:
    return _traversal(args[0])


def _pattern(_: str, args: Sequence[Any]) -> int:
    return scaled(1.0 + size_of(args[0]), STRING_FACTOR) * scaled(size_of(args[1]), REGEX_FACTOR)


def _substring(_: str, args: Sequence[Any]) -> int:
    return scaled(size_of(args[0]), STRING_FACTOR) * scaled(size_of(args[1]), STRING_FACTOR)


def _smaller(_: str, args: Sequence[Any]) -> int:
    if isinstance(args[0], Quantity | Semver | ExtensionValue):
        return 1
    return scaled(min(size_of(args[0]), size_of(args[1])), STRING_FACTOR)


def _both(_: str, args: Sequence[Any]) -> int:
    return scaled(size_of(args[0]) + size_of(args[1]), STRING_FACTOR)


def _ip(overload: str, args: Sequence[Any]) -> int:
    return 1 if overload == "cidr_ip" else _once(overload, args)


def _contained(overload: str, args: Sequence[Any]) -> int:
    cost = scaled(2 * size_of(args[0]), STRING_FACTOR)
    if overload.startswith("cidr_contains_cidr"):
        cost += scaled(size_of(args[0]), STRING_FACTOR) + 1
    return cost + (scaled(size_of(args[1]), STRING_FACTOR) if overload.endswith("_string") else 0)


def _selector(_: str, args: Sequence[Any]) -> int:
    size = size_of(args[1])
    return LIST_COST + scaled(size, STRING_FACTOR) + scaled(scaled(size, 0.5), LIST_COST + STRUCT_COST)


def _validation(_: str, args: Sequence[Any]) -> int:
    return scaled(1.0 + size_of(args[1]), STRING_FACTOR) * scaled(
        getattr(args[0], "regex_size", 1), REGEX_FACTOR
    )


def _check(_: str, __: Sequence[Any]) -> int:
    return AUTHORIZER_CHECK_COST


_CALL: Final = 1


def _listed(size: int, factor: float = 1.0) -> int:
    """A call that builds a list after `factor` steps per unit of `size`."""
    return int(size * factor) + _CALL + LIST_COST


def _reversed(_: str, args: Sequence[Any]) -> int:
    return _listed(len(args[0]))


def _ranged(_: str, args: Sequence[Any]) -> int:
    return _listed(max(args[0], 0))


def _sliced(_: str, args: Sequence[Any]) -> int:
    return _listed(max(args[2] - args[1], 0))


def _flattened(_: str, args: Sequence[Any]) -> int:
    return _listed(len(args[0]), float(args[1]) if len(args) == 2 else 1.0)


def _compared(_: str, args: Sequence[Any]) -> int:
    """Every element against every other; of the keys where a list is sorted by keys."""
    elements = args[-1]
    factor = 2.0 + (STRING_FACTOR if len(elements) and isinstance(elements[0], str | bytes) else 0.0)
    return _listed(len(elements) ** 2, factor)


def _set_cost(factor: int) -> _CallCost:
    return lambda _, args: _CALL + len(args[0]) * len(args[1]) * factor


def _per_function() -> dict[str, _CallCost]:
    groups: list[tuple[_CallCost, str]] = [
        (_walk, "isSorted sum max min indexOf lastIndexOf"),
        (_once, "url lowerAscii upperAscii substring trim jsonpatch.escapeKey"),
        (_twice, "replace split ip.isCanonical"),
        (_joined, "join"),
        (_pattern, "find findAll"),
        (_once, "cidr isIP isCIDR quantity isQuantity semver isSemver"),
        (_ip, "ip"),
        (_contained, "containsIP containsCIDR"),
        (_selector, "fieldSelector labelSelector"),
        (_validation, "validate"),
        (_check, "check"),
    ]
    return {name: cost for cost, names in groups for name in names.split()}


def _per_overload() -> dict[str, _CallCost]:
    comparisons = [f"{name}_{kind}" for name in ("less", "less_equals", "greater", "greater_equals")
                   for kind in ("string", "bytes")]  # fmt: skip
    groups: list[tuple[_CallCost, str]] = [
        (
            _once,
            "starts_with_string ends_with_string string_to_bytes bytes_to_string strings_quote string_format",
        ),
        (lambda _, args: size_of(args[1]), "in_list"),
        (_smaller, " ".join(["equals", "not_equals", *comparisons])),
        (_both, "add_string add_bytes"),
        (_pattern, "matches_string"),
        (_substring, "contains_string"),
        (_walk, "list_includes_dyn_dyn"),
        (_sliced, "list_slice"),
        (_ranged, "lists_range"),
        (_reversed, "list_reverse"),
        (_flattened, "list_flatten list_flatten_int"),
        (_compared, "list_distinct"),
        (_compared, " ".join(f"list_{kind}_sort list_{kind}_sortByAssociatedKeys" for kind in _SORTABLE)),
        (_set_cost(1), "list_sets_contains_list list_sets_intersects_list"),
        (_set_cost(2), "list_sets_equivalent_list"),
    ]
    return {name: cost for cost, names in groups for name in names.split()}


_FUNCTIONS: Final = _per_function()
_OVERLOADS: Final = _per_overload()


def call_price(function: str, overload: str) -> Callable[[Sequence[Any]], int]:
    """What a call costs, given its arguments (the target first): known before it runs.

    `overload` is empty where it is only known at run time; such calls have the flat cost of 1.
    """
    own = _FUNCTIONS.get(function) or _OVERLOADS.get(overload)
    if own is None:
        return _flat
    priced = own
    return lambda args: priced(overload, args)


def _flat(_: Sequence[Any]) -> int:
    return 1
