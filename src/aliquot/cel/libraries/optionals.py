"""Optional values: `optional.of`, `.?field`, `[?key]`, `or`, `orValue` (cel-go's optional library)."""

from __future__ import annotations

from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration
from aliquot.cel.operators import index, optional_index
from aliquot.cel.typesystem import DYN, optional_of
from aliquot.cel.values import NONE, Optional, UInt

__all__ = ["OPTIONALS"]


def _is_zero(value: Any) -> bool:
    if value is None or value is False:
        return True
    if isinstance(value, UInt | int | float | str | bytes | list | tuple | dict):
        return not value
    return isinstance(value, Duration) and value.nanos == 0


def _value(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _unwrapped(values: list[Optional]) -> list[Any]:
    return [value.value for value in values if value.present]


def _library() -> Library:
    library = Library(types={"optional_type": optional_of(DYN)})
    library.free("optional.of", "optional_of", "V -> optional<V>", Optional)
    library.free(
        "optional.ofNonZeroValue",
        "optional_ofNonZeroValue",
        "V -> optional<V>",
        lambda value: NONE if _is_zero(value) else Optional(value),
    )
    library.free("optional.none", "optional_none", "-> optional<V>", lambda: NONE)
    library.member("value", "optional_value", "optional<V> -> V", _value)
    library.member("hasValue", "optional_hasValue", "optional<V> -> bool", lambda value: value.present)
    library.member("or", "optional_or_optional", "optional<V>, optional<V> -> optional<V>", _compiled)
    library.member("orValue", "optional_orValue_value", "optional<V>, V -> V", _compiled)
    library.dispatching("_?._", optional_index, free={"select_optional_field": "dyn, string -> optional<V>"})
    library.dispatching(
        "_[?_]",
        optional_index,
        free={
            "list_optindex_optional_int": "list<V>, int -> optional<V>",
            "optional_list_optindex_optional_int": "optional<list<V>>, int -> optional<V>",
            "map_optindex_optional_value": "map<K, V>, K -> optional<V>",
            "optional_map_optindex_optional_value": "optional<map<K, V>>, K -> optional<V>",
        },
    )
    library.dispatching(
        "_[_]",
        index,
        free={
            "optional_list_index_int": "optional<list<V>>, int -> optional<V>",
            "optional_map_index_value": "optional<map<K, V>>, K -> optional<V>",
        },
    )
    library.member(
        "last", "list_last", "list<V> -> optional<V>", lambda values: Optional(values[-1]) if values else NONE
    )
    library.member(
        "first",
        "list_first",
        "list<V> -> optional<V>",
        lambda values: Optional(values[0]) if values else NONE,
    )
    library.free("optional.unwrap", "optional_unwrap", "list<optional<V>> -> list<V>", _unwrapped)
    library.member("unwrapOpt", "optional_unwrapOpt", "list<optional<V>> -> list<V>", _unwrapped)
    return library


def _compiled(*_: Any) -> Any:
    raise AssertionError("compiled in place")


OPTIONALS: Final = _library()
