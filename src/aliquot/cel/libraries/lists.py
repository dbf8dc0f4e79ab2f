"""Lists: Kubernetes' own library and cel-go's ext.Lists (version 3); sets: cel-go's ext.Sets."""

from __future__ import annotations

from functools import cmp_to_key
from itertools import pairwise
from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration
from aliquot.cel.operators import add, greater, less
from aliquot.cel.values import WORK, UInt, equal

__all__ = ["INCLUDES", "LISTS", "LISTS_OF_GO", "SETS"]

_COMPARABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_ZEROS: Final = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}
_MAX_ELEMENTS: Final = 1_000_000
"""Longest list that `lists.range` and flattening may build."""


def _is_sorted(values: list[Any]) -> bool:
    return not any(greater(first, second) for first, second in pairwise(values))


def _sum(zero: Any) -> Any:
    def total(values: list[Any]) -> Any:
        result = zero
        for value in values:
            result = add(result, value)
        return result

    return total


def _extreme(name: str, better: Any) -> Any:
    def extreme(values: list[Any]) -> Any:
        if not values:
            raise EvaluationError(f"{name} called on empty list")
        result = values[0]
        for value in values[1:]:
            if better(value, result):
                result = value
        return result

    return extreme


def _index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at, value in enumerate(values) if equal(value, wanted)), -1)


def _last_index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(values) - 1, -1, -1) if equal(values[at], wanted)), -1)


def _kubernetes_lists() -> Library:
    library = Library()
    for kind in _COMPARABLE:
        library.member("isSorted", f"list_{kind}_is_sorted_bool", f"list<{kind}> -> bool", _is_sorted)
        library.member("max", f"list_{kind}_max_{kind}", f"list<{kind}> -> {kind}", _extreme("max", greater))
        library.member("min", f"list_{kind}_min_{kind}", f"list<{kind}> -> {kind}", _extreme("min", less))
    for kind, zero in _ZEROS.items():
        library.member("sum", f"list_{kind}_sum_{kind}", f"list<{kind}> -> {kind}", _sum(zero))
    library.member("indexOf", "list_a_index_of_int", "list<A>, A -> int", _index_of)
    library.member("lastIndexOf", "list_a_last_index_of_int", "list<A>, A -> int", _last_index_of)
    return library


def _includes(target: Any, wanted: Any) -> bool:
    if isinstance(target, list | tuple):
        return any(equal(value, wanted) for value in target)
    return equal(target, wanted)


def _includes_library() -> Library:
    library = Library()
    library.member("includes", "list_includes_dyn_dyn", "dyn, dyn -> bool", _includes)
    return library


def _slice(values: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if end > len(values):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return list(values[start:end])


def _flatten(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    result = list(values)
    for _ in range(depth):
        if not any(isinstance(value, list | tuple) for value in result):
            break
        flat: list[Any] = []
        for value in result:
            if isinstance(value, list | tuple):
                WORK.spend(len(value))
                flat.extend(value)
            else:
                flat.append(value)
        result = flat
    return result


def _distinct(values: list[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        if not any(equal(value, other) for other in result):
            result.append(value)
    return result


def _range(count: int) -> list[int]:
    if count > _MAX_ELEMENTS:
        raise EvaluationError(f"lists.range({count}): more than {_MAX_ELEMENTS} elements")
    return list(range(count))


_ORDER: Final = cmp_to_key(lambda left, right: greater(left, right) - less(left, right))


def _sorted(values: list[Any]) -> list[Any]:
    return sorted(values, key=_ORDER)


def _sorted_by(values: list[Any], keys: list[Any]) -> list[Any]:
    if len(values) != len(keys):
        raise EvaluationError(
            f"@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got "
            f"{len(values)} and {len(keys)} elements respectively"
        )
    return [values[at] for at in sorted(range(len(values)), key=lambda at: _ORDER(keys[at]))]


def _go_lists() -> Library:
    library = Library()
    library.member("slice", "list_slice", "list<T>, int, int -> list<T>", _slice)
    library.member("flatten", "list_flatten", "list<list<T>> -> list<T>", _flatten)
    library.member("flatten", "list_flatten_int", "list<dyn>, int -> list<dyn>", _flatten)
    library.member("distinct", "list_distinct", "list<T> -> list<T>", _distinct)
    library.member("reverse", "list_reverse", "list<T> -> list<T>", lambda values: list(values[::-1]))
    library.free("lists.range", "lists_range", "int -> list<int>", _range)
    for kind in _COMPARABLE:
        library.member("sort", f"list_{kind}_sort", f"list<{kind}> -> list<{kind}>", _sorted)
        library.member(
            "@sortByAssociatedKeys",
            f"list_{kind}_sortByAssociatedKeys",
            f"list<T>, list<{kind}> -> list<T>",
            _sorted_by,
        )
    return library


def _contains(values: list[Any], wanted: list[Any]) -> bool:
    return all(_includes(values, each) for each in wanted)


def _sets() -> Library:
    library = Library()
    library.free("sets.contains", "list_sets_contains_list", "list<T>, list<T> -> bool", _contains)
    library.free(
        "sets.equivalent",
        "list_sets_equivalent_list",
        "list<T>, list<T> -> bool",
        lambda left, right: _contains(left, right) and _contains(right, left),
    )
    library.free(
        "sets.intersects",
        "list_sets_intersects_list",
        "list<T>, list<T> -> bool",
        lambda left, right: any(_includes(right, each) for each in left),
    )
    return library


LISTS: Final = _kubernetes_lists()
INCLUDES: Final = _includes_library()
LISTS_OF_GO: Final = _go_lists()
SETS: Final = _sets()
