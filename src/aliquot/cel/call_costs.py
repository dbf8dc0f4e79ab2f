"""What one call adds to the static estimate: cel-go's standard functions and Kubernetes' libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aliquot.cel.device import MAX_LIST_VALUES
from aliquot.cel.metering import (
    AUTHORIZER_CHECK_COST,
    LIST_COST,
    REGEX_FACTOR,
    STRING_FACTOR,
    STRUCT_COST,
)
from aliquot.cel.sizes import NOTHING, ONE, UNBOUNDED, UNKNOWN, Operand, Range, fixed
from aliquot.cel.syntax import Literal

__all__ = ["Price", "price"]

_ADDRESS_SIZE: Final = Range(4, 16)
"""Bytes of an IP address of either family."""

_NAMED_FORMAT_REGEX_SIZE: Final = 128
_NAMED_FORMAT_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of a call without its target, and the size of its result where that is known."""

    cost: Range
    result: Range | None = None


_Pricing = Callable[[str, Operand | None, list[Operand]], Price | None]


def price(
    function: str, overload: str, target: Operand | None, args: list[Operand], costs: list[Range]
) -> Price:
    """Price a call whose arguments cost `costs`."""
    own = _FUNCTIONS.get(function)
    priced = own(overload, target, args) if own is not None else None
    if priced is None:
        if overload in ("logical_or", "logical_and"):
            # The right side may not be looked at.
            return Price(Range(costs[0].low, (costs[0] + costs[1]).high))
        if overload == "conditional":
            size = args[1].size if args[1].known_size else UNKNOWN
            other = args[2].size if args[2].known_size else UNKNOWN
            return Price(costs[0] + costs[1].union(costs[2]), size.union(other))
        standard = _OVERLOADS.get(overload)
        priced = (standard(overload, target, args) if standard is not None else None) or Price(ONE)
    total = priced.cost
    for cost in costs:
        total += cost
    return Price(total, priced.result)


def _text(operand: Operand, factor: float = STRING_FACTOR) -> Range:
    return operand.size.scaled(factor)


def _pattern_cost(text: Operand, pattern: Operand) -> Range:
    return (text.size + ONE).scaled(STRING_FACTOR) * pattern.size.scaled(REGEX_FACTOR)


def _first(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    return Price(_text(args[0])) if args else None


def _first_kept(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    return Price(_text(args[0]), args[0].size) if len(args) == 1 else None


def _first_twice(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    return Price(_text(args[0], 2 * STRING_FACTOR)) if args else None


def _target_kept(_: str, target: Operand | None, __: list[Operand]) -> Price | None:
    return Price(_text(target), target.size) if target is not None else None


def _one(_: str, __: Operand | None, ___: list[Operand]) -> Price | None:
    return Price(ONE)


def _check(_: str, __: Operand | None, ___: list[Operand]) -> Price | None:
    return Price(fixed(AUTHORIZER_CHECK_COST))


def _selector(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    if len(args) != 1:
        return None
    size = args[0].size
    requirements = size.scaled(0.5).scaled(LIST_COST + STRUCT_COST)
    return Price(fixed(LIST_COST) + size.scaled(STRING_FACTOR) + requirements)


def _traversal(_: str, target: Operand | None, __: list[Operand]) -> Price | None:
    if target is None:
        return None
    element = target.element()
    if element is None:
        return Price(_text(target))
    each = ONE
    if element.type.kind in ("string", "bytes"):
        each += element.size.scaled(STRING_FACTOR)
    return Price(target.size * each)


def _includes(overload: str, target: Operand | None, __: list[Operand]) -> Price | None:
    if target is None:
        return None
    if overload == "dra_includes_dyn_dyn":
        return Price(Range(0, MAX_LIST_VALUES))
    if target.element() is not None:
        return _traversal(overload, target, __)
    return Price(target.size)


def _replace(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None or len(args) < 2:
        return None
    size, old, new = target.size, args[0].size, args[1].size
    # The longest result replaces the shortest texts by the longest ones, as often as they fit.
    if old.low == 0:
        most, kept_most = min(size.high + 1, UNBOUNDED), size.high
    elif new.high <= old.low:
        most, kept_most = 0, size.high
    else:
        most, kept_most = math.ceil(size.high / old.low), 0
    if old.high == 0:
        least, kept_least = min(size.low + 1, UNBOUNDED), size.low
    elif old.high <= new.low:
        least, kept_least = 0, size.low
    else:
        least, kept_least = math.ceil(size.low / old.high), 0
    result = Range(least, most) * new + Range(kept_least, kept_most)
    return Price(size.scaled(2 * STRING_FACTOR), result)


def _split(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None:
        return None
    # The worst separator is the empty one: every character becomes an element.
    most = target.size.high
    limit = args[1].node if len(args) > 1 else None
    if isinstance(limit, Literal) and type(limit.value) is int:
        most = limit.value % 2**64
    return Price(target.size.scaled(2 * STRING_FACTOR), Range(0, most))


def _join(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None:
        return None
    count = target.size
    element = target.element()
    size = count * element.size if element is not None else NOTHING
    if args:
        size += args[0].size * Range(max(count.low - 1, 0), max(count.high - 1, 0))
    return Price(size.scaled(STRING_FACTOR), size)


def _find(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None or not args:
        return None
    return Price(_pattern_cost(target, args[0]), Range(0, target.size.high))


def _ip(overload: str, target: Operand | None, args: list[Operand]) -> Price | None:
    return Price(ONE) if overload == "cidr_ip" else _first(overload, target, args)


def _contained(overload: str, _: Operand | None, args: list[Operand]) -> Price | None:
    if not args:
        return None
    cost = (_ADDRESS_SIZE + _ADDRESS_SIZE).scaled(STRING_FACTOR)
    if overload.startswith("cidr_contains_cidr"):
        cost += _ADDRESS_SIZE.scaled(STRING_FACTOR) + ONE
    if overload.endswith("_string"):
        cost += _text(args[0])
    return Price(cost)


def _validate(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    if not args:
        return None
    return Price(_text(args[0]).scaled(_NAMED_FORMAT_REGEX_SIZE * REGEX_FACTOR))


_UNIT_EQUALITY: Final = frozenset({"net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"})


def _equality(overload: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if args[0].type != args[1].type:
        return None
    name = args[0].type.name
    if name in _UNIT_EQUALITY or name.startswith("kubernetes.authorization."):
        return Price(ONE)
    if name == "kubernetes.NamedFormat":
        return Price(Range(1, _NAMED_FORMAT_SIZE).scaled(STRING_FACTOR))
    if name == "kubernetes.URL":
        known = args[1].known_size
        return Price(Range(1, known.high if known else 1).scaled(STRING_FACTOR))
    return None


def _known(operand: Operand) -> Range:
    return operand.known_size or UNKNOWN


def _smaller(_: str, __: Operand | None, args: list[Operand]) -> Price:
    smallest = min(_known(args[0]).high, _known(args[1]).high)
    return Price(Range(1 if smallest else 0, smallest).scaled(STRING_FACTOR))


def _concatenation(overload: str, __: Operand | None, args: list[Operand]) -> Price:
    size = _known(args[0]) + _known(args[1])
    return Price(ONE if overload == "add_list" else size.scaled(STRING_FACTOR), size)


def _contains(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None:
        return None
    return Price(_known(target).scaled(STRING_FACTOR) * _known(args[0]).scaled(STRING_FACTOR))


def _matches(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    return Price(_pattern_cost(target, args[0])) if target is not None else None


def _to_bytes(_: str, __: Operand | None, args: list[Operand]) -> Price:
    size = _known(args[0])
    return Price(size.scaled(STRING_FACTOR), Range(size.low, min(size.high * 4, UNBOUNDED)))


def _from_bytes(_: str, __: Operand | None, args: list[Operand]) -> Price:
    size = _known(args[0])
    return Price(size.scaled(STRING_FACTOR), Range(size.low // 4, size.high))


def _quote(_: str, __: Operand | None, args: list[Operand]) -> Price:
    size = _known(args[0])
    # Kubernetes computes this one in 64 bits without saturation: an unbounded text becomes one of size 0.
    return Price(size.scaled(STRING_FACTOR), Range((size.low + 2) % 2**64, (size.high * 2 + 2) % 2**64))


def _format(_: str, target: Operand | None, __: list[Operand]) -> Price | None:
    return Price(_known(target).scaled(STRING_FACTOR)) if target is not None else None


def _in_list(_: str, __: Operand | None, args: list[Operand]) -> Price:
    return Price(_known(args[1]))


def _built(size: Range, factor: float = 1.0) -> Price:
    """A call that builds a list after `factor` steps per unit of `size`."""
    return Price(size.scaled(factor) + fixed(1 + LIST_COST), size)


def _number(operand: Operand, default: int) -> int:
    value = operand.node.value if isinstance(operand.node, Literal) else None
    return value if type(value) is int and value >= 0 else default


def _slice(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None or len(args) != 2:
        return None
    start, end = _number(args[0], 0), _number(args[1], target.size.high)
    return _built(fixed((end - start) % 2**64))


def _range(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
    return _built(fixed(_number(args[0], UNBOUNDED)))


def _reverse(_: str, target: Operand | None, __: list[Operand]) -> Price | None:
    return _built(target.size) if target is not None else None


def _flatten(_: str, target: Operand | None, args: list[Operand]) -> Price | None:
    if target is None:
        return None
    return _built(target.size, float(_number(args[0], UNBOUNDED)) if args else 1.0)


def _distinct(_: str, target: Operand | None, __: list[Operand]) -> Price | None:
    return _built(target.size * target.size, 2.0) if target is not None else None


def _sort(overload: str, target: Operand | None, args: list[Operand]) -> Price | None:
    keys = args[0] if args else target
    if keys is None:
        return None
    text = overload.startswith(("list_string_", "list_bytes_"))
    return _built(keys.size * keys.size, 2.0 + STRING_FACTOR if text else 2.0)


def _set(factor: float) -> _Pricing:
    def pricing(_: str, __: Operand | None, args: list[Operand]) -> Price | None:
        return Price((args[0].size * args[1].size).scaled(factor) + ONE) if len(args) == 2 else None

    return pricing


def _named(*groups: tuple[_Pricing, str]) -> dict[str, _Pricing]:
    return {name: pricing for pricing, names in groups for name in names.split()}


_FUNCTIONS: Final = _named(
    (_check, "check"),
    (_one, "serviceAccount path group resource subresource namespace name allowed reason error errored"),
    (_selector, "fieldSelector labelSelector"),
    (_traversal, "isSorted sum max min indexOf lastIndexOf"),
    (_includes, "includes"),
    (_first_kept, "url jsonpatch.escapeKey"),
    (_target_kept, "lowerAscii upperAscii substring trim"),
    (_replace, "replace"),
    (_split, "split"),
    (_join, "join"),
    (_find, "find findAll"),
    (_first, "cidr isIP isCIDR quantity isQuantity semver isSemver"),
    (_ip, "ip"),
    (_first_twice, "ip.isCanonical"),
    (_one, "masked prefixLength family isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast"),
    (
        _one,
        "isGlobalUnicast format.named sign asInteger isInteger asApproximateFloat isGreaterThan isLessThan",
    ),
    (
        _one,
        "compareTo add sub major minor patch getScheme getHostname getHost getPort getEscapedPath getQuery",
    ),
    (_contained, "containsIP containsCIDR"),
    (_validate, "validate"),
    (_equality, "_==_"),
)

_SORTABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_COMPARISONS: Final = " ".join(
    f"{name}_{kind}"
    for name in ("less", "less_equals", "greater", "greater_equals")
    for kind in ("string", "bytes")
)
_OVERLOADS: Final = _named(
    (_smaller, f"equals not_equals {_COMPARISONS}"),
    (_concatenation, "add_string add_bytes add_list"),
    (_contains, "contains_string"),
    (_matches, "matches_string"),
    (_first, "starts_with_string ends_with_string"),
    (_to_bytes, "string_to_bytes"),
    (_from_bytes, "bytes_to_string"),
    (_quote, "strings_quote"),
    (_format, "string_format"),
    (_in_list, "in_list"),
    (_slice, "list_slice"),
    (_range, "lists_range"),
    (_reverse, "list_reverse"),
    (_flatten, "list_flatten list_flatten_int"),
    (_distinct, "list_distinct"),
    (_sort, " ".join(f"list_{kind}_sort list_{kind}_sortByAssociatedKeys" for kind in _SORTABLE)),
    (_set(1), "list_sets_contains_list list_sets_intersects_list"),
    (_set(2), "list_sets_equivalent_list"),
)
