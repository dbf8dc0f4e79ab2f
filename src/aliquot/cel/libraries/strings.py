"""The strings library (cel-go ext.Strings, version 2): positions count characters."""

from __future__ import annotations

from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.libraries.formatting import format_text

__all__ = ["STRINGS"]

_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"  # noqa: E501
_MAX_RESULT: Final = 10_000_000
"""Longest text that replacing and joining may build, in characters."""

_UPPER: Final = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def _out_of_range(at: int) -> EvaluationError:
    return EvaluationError(f"index out of range: {at}")


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise _out_of_range(at)
    return text[at : at + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if start < 0:
        raise _out_of_range(start)
    if not part:
        return min(start, len(text))
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if start < 0:
        raise _out_of_range(start)
    if not part:
        return min(start, len(text))
    if start >= len(text):
        return -1
    return text.rfind(part, 0, start + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + times * max(len(new) - len(old), 0) > _MAX_RESULT:
        raise EvaluationError(f"replace: the result is longer than {_MAX_RESULT} characters")
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    # An empty separator cuts between characters.
    if 0 < count < len(text):
        return [*text[: count - 1], text[count - 1 :]]
    return list(text)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is None:
        end = len(text)
    elif start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    if not 0 <= start <= len(text):
        raise _out_of_range(start)
    if not 0 <= end <= len(text):
        raise _out_of_range(end)
    return text[start:end]


def _join(parts: list[Any], separator: str = "") -> str:
    if not all(isinstance(part, str) for part in parts):
        raise EvaluationError("join: invalid input: not a list of strings")
    if sum(map(len, parts)) + len(separator) * len(parts) > _MAX_RESULT:
        raise EvaluationError(f"join: the result is longer than {_MAX_RESULT} characters")
    return separator.join(parts)


def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def _library() -> Library:
    library = Library()
    library.member("charAt", "string_char_at_int", "string, int -> string", _char_at)
    library.member("indexOf", "string_index_of_string", "string, string -> int", _index_of)
    library.member("indexOf", "string_index_of_string_int", "string, string, int -> int", _index_of)
    library.member("lastIndexOf", "string_last_index_of_string", "string, string -> int", _last_index_of)
    library.member(
        "lastIndexOf", "string_last_index_of_string_int", "string, string, int -> int", _last_index_of
    )
    library.member(
        "lowerAscii", "string_lower_ascii", "string -> string", lambda text: text.translate(_LOWER)
    )
    library.member(
        "upperAscii", "string_upper_ascii", "string -> string", lambda text: text.translate(_UPPER)
    )
    library.member("replace", "string_replace_string_string", "string, string, string -> string", _replace)
    library.member(
        "replace", "string_replace_string_string_int", "string, string, string, int -> string", _replace
    )
    library.member("split", "string_split_string", "string, string -> list<string>", _split)
    library.member("split", "string_split_string_int", "string, string, int -> list<string>", _split)
    library.member("substring", "string_substring_int", "string, int -> string", _substring)
    library.member("substring", "string_substring_int_int", "string, int, int -> string", _substring)
    library.member("trim", "string_trim", "string -> string", lambda text: text.strip(_SPACE))
    library.member("join", "list_join", "list<string> -> string", _join)
    library.member("join", "list_join_string", "list<string>, string -> string", _join)
    library.member("format", "string_format", "string, list<dyn> -> string", format_text)
    library.free("strings.quote", "strings_quote", "string -> string", _quote)
    return library


STRINGS: Final = _library()
