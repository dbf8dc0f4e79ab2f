"""`"...".format([...])`: the verbs s, d, f, e, b, x, X and o (cel-go ext.Strings)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Duration, Timestamp
from aliquot.cel.operators import to_string
from aliquot.cel.syntax import ListNode, MapNode, Node, children
from aliquot.cel.typesystem import Type
from aliquot.cel.values import WORK, TypeValue, UInt, type_name

__all__ = ["check_template", "format_text"]

_DEFAULT_PRECISION: Final = 6
_MAX_PRECISION: Final = 1000
_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_text(template: str, args: list[Any]) -> str:
    """The template with its clauses replaced by the arguments, in order."""
    result: list[str] = []
    at = 0
    used = 0
    while at < len(template):
        mark = template.find("%", at)
        if mark < 0:
            break
        result.append(template[at:mark])
        if template.startswith("%%", mark):
            result.append("%")
            at = mark + 2
            continue
        verb, precision, at = _clause(template, mark + 1)
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        result.append(_VERBS[verb](args[used], precision))
        used += 1
    result.append(template[at:])
    return "".join(result)


def _clause(template: str, at: int) -> tuple[str, int, int]:
    """The verb, the precision and where the text goes on."""
    precision = _DEFAULT_PRECISION
    if template.startswith(".", at):
        end = at + 1
        while end < len(template) and template[end] in "0123456789":
            end += 1
        digits = template[at + 1 : end]
        if not digits or len(digits) > 6 or int(digits) > _MAX_PRECISION:
            raise EvaluationError(
                f"could not parse formatting clause: precision must be at most {_MAX_PRECISION}"
            )
        precision, at = int(digits), end
    verb = template[at : at + 1]
    if verb not in _VERBS or not verb:
        raise EvaluationError(
            f'could not parse formatting clause: unrecognized formatting clause "{verb}"'
            if verb
            else "could not parse formatting clause: unexpected end of string"
        )
    return verb, precision, at + 1


def check_template(template: str, args: Sequence[Node]) -> tuple[Node | None, str] | None:
    """What is wrong with a literal template for arguments of these static types, if anything is.

    The argument at fault, or None for the template or their number, and the message of Kubernetes.
    """
    at = used = 0
    try:
        while (mark := template.find("%", at)) >= 0:
            if template.startswith("%%", mark):
                at = mark + 2
                continue
            verb, _, at = _clause(template, mark + 1)
            if used >= len(args):
                return None, f"index {used} out of range"
            wrong = _unfit(verb, args[used])
            if wrong is not None:
                return (
                    wrong,
                    f"error during formatting: {_CLAUSES[verb.lower()][1]}, was given {_named(wrong.type)}",
                )
            used += 1
    except EvaluationError as error:
        return None, str(error)
    if used < len(args):
        return None, f"too many arguments supplied to string.format (expected {used}, got {len(args)})"
    return None


def _unfit(verb: str, argument: Node) -> Node | None:
    """The argument, or the part of it, that a clause cannot format."""
    kind = argument.type.kind
    if kind != "dyn" and kind not in _CLAUSES[verb.lower()][0]:
        return argument
    if verb == "s" and isinstance(argument, ListNode | MapNode):
        for part in children(argument):
            wrong = _unfit(verb, part)
            if wrong is not None:
                return wrong
    return None


def _named(kind: Type) -> str:
    return _TYPE_NAMES.get(kind.kind, kind.name or kind.kind)


_CLAUSES: Final = {
    "s": (
        frozenset(
            "list map int uint double bool string timestamp bytes duration type null".split()  # noqa: SIM905
        ),
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, "
        "durations, and timestamps",
    ),
    "d": (frozenset({"int", "uint"}), "decimal clause can only be used on integers"),
    "f": (frozenset({"double", "string"}), "fixed-point clause can only be used on doubles"),
    "e": (frozenset({"double", "string"}), "scientific clause can only be used on doubles"),
    "b": (frozenset({"int", "uint", "bool"}), "only integers and bools can be formatted as binary"),
    "x": (
        frozenset({"int", "uint", "string", "bytes"}),
        "only integers, byte buffers, and strings can be formatted as hex",
    ),
    "o": (frozenset({"int", "uint"}), "octal clause can only be used on integers"),
}
_TYPE_NAMES: Final = {
    "any": "google.protobuf.Any",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
    "null": "null_type",
}


def _wrong(verb: str, wanted: str, value: Any) -> EvaluationError:
    return EvaluationError(
        f"error during formatting: {verb} clause can only be used on {wanted}, was given {type_name(value)}"
    )


def _text(value: Any, _: int = 0) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        WORK.spend(len(value))
        return "[" + ", ".join(map(_quoted, value)) + "]"
    if isinstance(value, dict):
        WORK.spend(len(value))
        pairs = sorted((_key(key), _quoted(entry)) for key, entry in value.items())
        return "{" + ", ".join(f"{key}:{entry}" for key, entry in pairs) + "}"
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, bool | int | float | str | bytes | Timestamp | Duration):
        return to_string(value)
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, "
        f"maps, lists, types, durations, and timestamps, was given {type_name(value)}"
    )


def _key(key: Any) -> str:
    if not isinstance(key, str | bool | int):
        raise EvaluationError(f"no formatting function for map key of type {type_name(key)}")
    return _quoted(key)


def _quoted(value: Any) -> str:
    """A member of a list or map as it would be written in an expression."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return "b" + json.dumps(to_string(value), ensure_ascii=False)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return json.dumps(_special(value))
        return f"{value:.{_DEFAULT_PRECISION}f}"
    if isinstance(value, TypeValue):
        return f"type({value.name})"
    if isinstance(value, Timestamp):
        return f'timestamp("{value}")'
    if isinstance(value, Duration):
        return f'duration("{value}")'
    return _text(value)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _decimal(value: Any, _: int) -> str:
    if type(value) is int or type(value) is UInt:
        return str(int(value))
    raise _wrong("decimal", "integers", value)


def _double(verb: str, value: Any) -> float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if type(value) is not float:
        raise _wrong(verb, "doubles", value)
    return value


def _fixed(value: Any, precision: int) -> str:
    number = _double("fixed-point", value)
    return f"{number:,.{precision}f}" if math.isfinite(number) else _localized(number)


def _scientific(value: Any, precision: int) -> str:
    number = _double("scientific", value)
    if not math.isfinite(number):
        return _localized(number)
    mantissa, _, exponent = f"{number:.{precision}e}".partition("e")
    raised = exponent.removeprefix("+").translate(_RAISED)
    return f"{mantissa}\u202f×\u202f10{raised}"


def _localized(value: float) -> str:
    """Not a number and the infinities in the locale en_US, which Kubernetes formats with."""
    if math.isnan(value):
        return "NaN"
    return "∞" if value > 0 else "-∞"


def _binary(value: Any, _: int) -> str:
    if isinstance(value, bool | int):
        return f"{int(value):b}"
    raise _wrong("binary", "integers and bools", value)


def _hexadecimal(value: Any, _: int) -> str:
    if type(value) is int or type(value) is UInt:
        return f"{int(value):x}"
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").hex()
    if isinstance(value, bytes):
        return value.hex()
    raise _wrong("hex", "integers, byte buffers, and strings", value)


def _octal(value: Any, _: int) -> str:
    if type(value) is int or type(value) is UInt:
        return f"{int(value):o}"
    raise _wrong("octal", "integers", value)


_VERBS: Final[dict[str, Callable[[Any, int], str]]] = {
    "s": _text,
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "x": _hexadecimal,
    "X": lambda value, precision: _hexadecimal(value, precision).upper(),
    "o": _octal,
}
