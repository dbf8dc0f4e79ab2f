"""The standard definitions of the CEL specification, with cel-go's overload ids."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from aliquot.cel import operators as op
from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration, Timestamp, zone
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.values import NO_SUCH_OVERLOAD, find

__all__ = ["STANDARD"]


def _overloads(name: str, *signatures: str) -> dict[str, str]:
    """Overload ids `NAME_LEFT_RIGHT` (`NAME_KIND` where both sides are alike) for `left,right->result`."""
    written = {"int": "int64", "uint": "uint64"}
    found = {}
    for signature in signatures:
        left, right = (written.get(part, part) for part in signature.partition("->")[0].split(","))
        found[f"{name}_{left}" if left == right else f"{name}_{left}_{right}"] = signature
    return found


def _arithmetic(name: str, *kinds: str) -> dict[str, str]:
    return _overloads(name, *(f"{kind},{kind}->{kind}" for kind in kinds))


def _comparison(name: str) -> dict[str, str]:
    numbers = ("int", "uint", "double")
    same = ("bool", "string", "bytes", "timestamp", "duration")
    pairs = [(kind, kind) for kind in same] + [(left, right) for left in numbers for right in numbers]
    return _overloads(name, *(f"{left},{right}->bool" for left, right in pairs))


STANDARD: Final = Library()
"""Operators, conversions and functions of the specification."""


def _declare_operators(library: Library) -> None:
    library.dispatching("_?_:_", _never, free={"conditional": "bool, T, T -> T"})
    library.dispatching("_&&_", _never, free={"logical_and": "bool, bool -> bool"})
    library.dispatching("_||_", _never, free={"logical_or": "bool, bool -> bool"})
    library.dispatching("@not_strictly_false", _never, free={"not_strictly_false": "bool -> bool"})
    library.dispatching("!_", _not, free={"logical_not": "bool -> bool"})
    library.dispatching("_==_", op.equals, free={"equals": "T, T -> bool"})
    library.dispatching("_!=_", op.not_equal, free={"not_equals": "T, T -> bool"})
    library.dispatching("_<_", op.less, free=_comparison("less"))
    library.dispatching("_<=_", op.less_or_equal, free=_comparison("less_equals"))
    library.dispatching("_>_", op.greater, free=_comparison("greater"))
    library.dispatching("_>=_", op.greater_or_equal, free=_comparison("greater_equals"))
    library.dispatching(
        "_+_",
        op.add,
        free=_arithmetic("add", "bytes", "double", "int", "string", "uint")
        | {
            "add_duration_duration": "duration, duration -> duration",
            "add_duration_timestamp": "duration, timestamp -> timestamp",
            "add_timestamp_duration": "timestamp, duration -> timestamp",
            "add_list": "list<T>, list<T> -> list<T>",
        },
    )
    library.dispatching(
        "_-_",
        op.subtract,
        free=_arithmetic("subtract", "double", "int", "uint")
        | {
            "subtract_duration_duration": "duration, duration -> duration",
            "subtract_timestamp_duration": "timestamp, duration -> timestamp",
            "subtract_timestamp_timestamp": "timestamp, timestamp -> duration",
        },
    )
    library.dispatching("_*_", op.multiply, free=_arithmetic("multiply", "double", "int", "uint"))
    library.dispatching("_/_", op.divide, free=_arithmetic("divide", "double", "int", "uint"))
    library.dispatching("_%_", op.modulo, free=_arithmetic("modulo", "int", "uint"))
    library.dispatching(
        "-_", op.negate, free={"negate_double": "double -> double", "negate_int64": "int -> int"}
    )
    library.dispatching(
        "@in", op.contains, free={"in_list": "T, list<T> -> bool", "in_map": "K, map<K, V> -> bool"}
    )
    library.dispatching(
        "_[_]", op.index, free={"index_list": "list<T>, int -> T", "index_map": "map<K, V>, K -> V"}
    )
    sizes = {
        f"size_{kind}": f"{signature} -> int"
        for kind, signature in (
            ("bytes", "bytes"),
            ("list", "list<T>"),
            ("map", "map<K, V>"),
            ("string", "string"),
        )
    }
    members = {
        "bytes_size": "bytes -> int",
        "list_size": "list<T> -> int",
        "map_size": "map<K, V> -> int",
        "string_size": "string -> int",
    }
    library.dispatching("size", op.size, free=sizes, member=members)
    library.free("cel.@mapInsert", "@mapInsert_map_map", "map<K, V>, map<K, V> -> map<K, V>", _insert_map)
    library.free("cel.@mapInsert", "@mapInsert_map_key_value", "map<K, V>, K, V -> map<K, V>", _insert_entry)


def _never(*_: Any) -> Any:
    raise AssertionError("compiled in place")


def _not(value: Any) -> bool:
    if type(value) is bool:
        return not value
    raise EvaluationError(NO_SUCH_OVERLOAD)


def _insert_entry(target: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if find(target, key).present:
        raise EvaluationError(f"insert failed: key {op.key_text(key)} already exists")
    return {**target, key: value}


def _insert_map(target: dict[Any, Any], added: dict[Any, Any]) -> dict[Any, Any]:
    result = dict(target)
    for key, value in added.items():
        if find(result, key).present:
            raise EvaluationError(f"insert failed: key {op.key_text(key)} already exists")
        result[key] = value
    return result


def _declare_conversions(library: Library) -> None:
    def conversion(name: str, run: Any, prefix: str, *sources: str) -> None:
        written = {"int": "int64", "uint": "uint64"}
        result = name
        overloads = {
            f"{written.get(source, source)}_to_{prefix}": f"{source} -> {result}" for source in sources
        }
        library.dispatching(name, run, free=overloads)

    conversion("bool", op.to_bool, "bool", "bool", "string")
    conversion("bytes", op.to_bytes, "bytes", "bytes", "string")
    conversion("double", op.to_double, "double", "double", "int", "string", "uint")
    conversion("duration", op.to_duration, "duration", "duration", "int", "string")
    conversion("int", op.to_int, "int64", "int", "double", "duration", "string", "timestamp", "uint")
    conversion(
        "string", op.to_string, "string", "string", "bool", "bytes", "double", "duration", "int", "timestamp",
        "uint",
    )  # fmt: skip
    conversion("timestamp", op.to_timestamp, "timestamp", "timestamp", "int", "string")
    conversion("uint", op.to_uint, "uint64", "uint", "double", "int", "string")
    library.dispatching("dyn", _same, free={"to_dyn": "T -> dyn"})
    library.dispatching("type", op.to_type, free={"type": "T -> type<T>"})


def _same(value: Any) -> Any:
    return value


def matches(text: str, pattern: str) -> bool:
    return compile_pattern(pattern).search(text) is not None


def _declare_strings(library: Library) -> None:
    library.member("contains", "contains_string", "string, string -> bool", lambda text, part: part in text)
    library.member("endsWith", "ends_with_string", "string, string -> bool", str.endswith)
    library.member("startsWith", "starts_with_string", "string, string -> bool", str.startswith)
    library.free("matches", "matches", "string, string -> bool", matches)
    library.member("matches", "matches_string", "string, string -> bool", matches)


def _local(moment: Timestamp, where: str = "") -> datetime:
    try:
        return moment.local(zone(where))
    except (ValueError, OverflowError) as error:
        raise EvaluationError(str(error)) from None


def _declare_times(library: Library) -> None:
    def accessor(name: str, identifier: str, pick: Any) -> None:
        library.member(
            name, f"timestamp_to_{identifier}", "timestamp -> int", lambda moment: pick(_local(moment))
        )
        library.member(
            name,
            f"timestamp_to_{identifier}_with_tz",
            "timestamp, string -> int",
            lambda moment, where: pick(_local(moment, where)),
        )

    accessor("getFullYear", "year", lambda local: local.year)
    accessor("getMonth", "month", lambda local: local.month - 1)
    accessor("getDayOfYear", "day_of_year", lambda local: local.timetuple().tm_yday - 1)
    accessor("getDayOfMonth", "day_of_month", lambda local: local.day - 1)
    accessor("getDate", "day_of_month_1_based", lambda local: local.day)
    accessor("getDayOfWeek", "day_of_week", lambda local: local.isoweekday() % 7)
    accessor("getHours", "hours", lambda local: local.hour)
    accessor("getMinutes", "minutes", lambda local: local.minute)
    accessor("getSeconds", "seconds", lambda local: local.second)
    accessor("getMilliseconds", "milliseconds", lambda local: local.microsecond // 1000)

    def unit(name: str, identifier: str, nanos: int) -> None:
        def whole(span: Duration) -> int:
            return span.truncated(nanos)

        library.member(name, identifier, "duration -> int", whole)

    unit("getHours", "duration_to_hours", 3600 * 10**9)
    unit("getMinutes", "duration_to_minutes", 60 * 10**9)
    unit("getSeconds", "duration_to_seconds", 10**9)

    def milliseconds(span: Duration) -> int:
        # Only what is beyond the last whole second, unlike the other three.
        return Duration(span.nanos - span.truncated(10**9) * 10**9).truncated(10**6)

    library.member("getMilliseconds", "duration_to_milliseconds", "duration -> int", milliseconds)


_declare_operators(STANDARD)
_declare_conversions(STANDARD)
_declare_strings(STANDARD)
_declare_times(STANDARD)
