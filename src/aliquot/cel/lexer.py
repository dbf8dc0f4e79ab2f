"""Tokens of an expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aliquot.cel.values import UInt

__all__ = ["LexicalError", "Token", "tokenize"]

# A fixed pattern without nested repetition: linear in the text.
_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<integer>0x[0-9a-fA-F]+|[0-9]+)(?P<unsigned>[uU])?
  | (?P<quote>[rRbB]{0,2}(?:\"\"\"|'''|"|'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<operator>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_PREFIXES: Final = frozenset({"", "r", "b", "rb", "br"})
_SIMPLE: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
_OCTAL: Final = frozenset("01234567")


@dataclass(frozen=True, slots=True)
class Token:
    """A token at a character offset.

    `kind` is `name`, `literal`, `integer` (magnitude, no sign), `end`, or the operator itself; `text` as
    written; `value` of literals.
    """

    kind: str
    at: int
    text: str
    value: object = None


class LexicalError(ValueError):
    """A text that cannot be cut into tokens, at `at`."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(at, message)
        self.at = at
        self.message = message


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, ended by one of kind `end`; raise LexicalError."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise LexicalError(at, f"Syntax error: token recognition error at: {text[at : at + 1]!r}")
        kind = match.lastgroup
        written = match.group()
        if kind == "quote":
            value, end = _quoted(text, at, written)
            tokens.append(Token("literal", at, text[at:end], value))
            at = end
            continue
        if kind in ("integer", "unsigned"):
            magnitude = match.group("integer")
            if len(magnitude) > 40:
                raise LexicalError(at, "Syntax error: number literal is too long")
            number = int(magnitude, 16 if magnitude.startswith("0x") else 10)
            if kind == "unsigned":
                if number > UInt.MAX:
                    raise LexicalError(at, "Syntax error: invalid uint literal")
                tokens.append(Token("literal", at, written, UInt(number)))
            else:
                tokens.append(Token("integer", at, written, number))
        elif kind == "float":
            tokens.append(Token("literal", at, written, float(written)))
        elif kind == "name":
            tokens.append(Token("name", at, written))
        elif kind == "operator":
            tokens.append(Token(written, at, written))
        at = match.end()
    tokens.append(Token("end", len(text), "<EOF>"))
    return tokens


def _quoted(text: str, at: int, opening: str) -> tuple[str | bytes, int]:
    quote = opening.lstrip("rRbB")
    prefix = opening[: -len(quote)].lower()
    if prefix not in _PREFIXES:
        raise LexicalError(at, f"Syntax error: token recognition error at: {opening!r}")
    raw, is_bytes = "r" in prefix, "b" in prefix
    parts: list[str] = []
    data = bytearray()
    start = at
    at += len(opening)
    while True:
        if at >= len(text) or (len(quote) == 1 and text[at] in "\r\n"):
            raise LexicalError(
                start, f"Syntax error: token recognition error at: '{text[start : start + 20]}'"
            )
        if text.startswith(quote, at):
            break
        character = text[at]
        code: int | None = None
        if character == "\\" and not raw:
            character, code, at = _escape(text, at, is_bytes=is_bytes)
        else:
            at += 1
        if not is_bytes:
            parts.append(character)
        elif code is not None:
            data.append(code)
        else:
            data.extend(character.encode("utf-8", "surrogatepass"))
    end = at + len(quote)
    return (bytes(data) if is_bytes else "".join(parts)), end


def _escape(text: str, at: int, *, is_bytes: bool) -> tuple[str, int | None, int]:
    """Read the escape at `at`: the character, the byte if it names one in a bytes literal, and the end."""
    selector = text[at + 1 : at + 2]
    if selector in _SIMPLE and selector:
        return _SIMPLE[selector], None, at + 2
    if selector and selector in "0123":
        digits, base, end = text[at + 1 : at + 4], 8, at + 4
        well_formed = len(digits) == 3 and _OCTAL.issuperset(digits)
    else:
        length = {"x": 2, "X": 2, "u": 4, "U": 8}.get(selector, 0)
        digits, base, end = text[at + 2 : at + 2 + length], 16, at + 2 + length
        well_formed = length > 0 and len(digits) == length and _HEXADECIMAL.issuperset(digits)
        if is_bytes and selector in ("u", "U"):
            raise LexicalError(at, "Syntax error: unicode escapes are not allowed in bytes literals")
    if not well_formed:
        raise LexicalError(at, f"Syntax error: invalid escape sequence {text[at : at + 2]!r}")
    code = int(digits, base)
    if is_bytes:
        return "", code, end
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise LexicalError(at, "Syntax error: escape sequence is not a valid Unicode code point")
    return chr(code), None, end
