"""Quantities, semantic versions and regular expressions: k8s.io/apiserver/pkg/cel/library."""

from __future__ import annotations

from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.cel.semver import Semver, SemverError
from aliquot.cel.typesystem import struct
from aliquot.cel.values import INT_MAX, INT_MIN, ComputedQuantity

__all__ = ["QUANTITY", "REGEX", "SEMVER"]


_QUANTITY_FORM: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def _computed(amount: Quantity) -> Quantity:
    return ComputedQuantity(amount.nano, amount.format, whole=amount.whole)


def _compare(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity.parse(text)
    except QuantityError as error:
        raise EvaluationError(f"{_QUANTITY_FORM}: {error}") from None


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except QuantityError:
        return False
    return True


def _fits(quantity: Quantity) -> bool:
    return quantity.whole and INT_MIN <= quantity.value() <= INT_MAX


def _as_integer(quantity: Quantity) -> int:
    if not _fits(quantity):
        raise EvaluationError("cannot convert value to integer")
    return quantity.value()


def _as_float(quantity: Quantity) -> float:
    try:
        return quantity.nano / 10**9
    except OverflowError:
        return float("inf") if quantity.nano > 0 else float("-inf")


def _sign(quantity: Quantity) -> int:
    return (quantity.nano > 0) - (quantity.nano < 0)


def _quantity_library() -> Library:
    name = "kubernetes.Quantity"
    library = Library(types={name: struct(name)})
    library.free("quantity", "string_to_quantity", f"string -> {name}", _quantity)
    library.free("isQuantity", "is_quantity_string", "string -> bool", _is_quantity)
    # Documented as a member function, declared as a free one.
    library.free("sign", "quantity_sign", f"{name} -> int", _sign)
    library.member("isGreaterThan", "quantity_is_greater_than", f"{name}, {name} -> bool", Quantity.__gt__)
    library.member("isLessThan", "quantity_is_less_than", f"{name}, {name} -> bool", Quantity.__lt__)
    library.member("compareTo", "quantity_compare_to", f"{name}, {name} -> int", _compare)
    library.member("asApproximateFloat", "quantity_get_float", f"{name} -> double", _as_float)
    library.member("asInteger", "quantity_get_int", f"{name} -> int", _as_integer)
    library.member("isInteger", "quantity_is_integer", f"{name} -> bool", _fits)
    library.member(
        "add", "quantity_add", f"{name}, {name} -> {name}", lambda left, right: _computed(left + right)
    )
    library.member(
        "add",
        "quantity_add_int",
        f"{name}, int -> {name}",
        lambda left, right: _computed(left + Quantity.of(right)),
    )
    library.member(
        "sub", "quantity_sub", f"{name}, {name} -> {name}", lambda left, right: _computed(left - right)
    )
    library.member(
        "sub",
        "quantity_sub_int",
        f"{name}, int -> {name}",
        lambda left, right: _computed(left - Quantity.of(right)),
    )
    return library


def _semver(text: str, normalize: bool = False) -> Semver:
    try:
        return Semver.parse(text, normalize=normalize)
    except SemverError as error:
        raise EvaluationError(str(error)) from None


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        Semver.parse(text, normalize=normalize)
    except SemverError:
        return False
    return True


def _part(number: int) -> int:
    if number > INT_MAX:
        raise EvaluationError("integer overflow")
    return number


def _semver_library() -> Library:
    name = "kubernetes.Semver"
    library = Library(types={name: struct(name)})
    library.free("semver", "string_to_semver", f"string -> {name}", _semver)
    library.free("semver", "string_bool_to_semver", f"string, bool -> {name}", _semver)
    library.free("isSemver", "is_semver_string", "string -> bool", _is_semver)
    library.free("isSemver", "is_semver_string_bool", "string, bool -> bool", _is_semver)
    library.member(
        "isGreaterThan", "semver_is_greater_than", f"{name}, {name} -> bool", lambda left, right: left > right
    )
    library.member(
        "isLessThan", "semver_is_less_than", f"{name}, {name} -> bool", lambda left, right: left < right
    )
    library.member("compareTo", "semver_compare_to", f"{name}, {name} -> int", _compare)
    library.member("major", "semver_major", f"{name} -> int", lambda version: _part(version.major))
    library.member("minor", "semver_minor", f"{name} -> int", lambda version: _part(version.minor))
    library.member("patch", "semver_patch", f"{name} -> int", lambda version: _part(version.patch))
    return library


def _find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return match.group(0) if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    if limit == 0:
        return found
    for match in compile_pattern(pattern).finditer(text):
        found.append(match.group(0))
        if len(found) == limit:
            break
    return found


def _regex_library() -> Library:
    library = Library()
    library.member("find", "string_find_string", "string, string -> string", _find)
    library.member("findAll", "string_find_all_string", "string, string -> list<string>", _find_all)
    library.member("findAll", "string_find_all_string_int", "string, string, int -> list<string>", _find_all)
    return library


QUANTITY: Final = _quantity_library()
SEMVER: Final = _semver_library()
REGEX: Final = _regex_library()
