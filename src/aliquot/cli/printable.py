"""Text from outside as a terminal may see it.

Names, annotations and reasons are written by others. An escape sequence in one of them could change what a
terminal shows (ECMA-48), and the controls of the bidirectional algorithm (Unicode UAX #9) the order in which
it does; so both are shown as what they are.
"""

import re

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
)


def printable(text: str) -> str:
    """The text with every control character but tab and newline as \\uXXXX.

    A tab and a newline only part words and lines. Of a JSON text, which has controls within strings alone,
    this gives the same JSON value.
    """
    return _CONTROLS.sub(_escaped, text)


def in_one_line(text: str) -> str:
    """The same for a cell of a table: tabs and newlines are escaped, too."""
    return printable(text).replace("\t", "\\t").replace("\n", "\\n")


def escape_unwritable(error: UnicodeError) -> tuple[str, int]:
    """An error handler (codecs.register_error): what an encoding lacks as \\uXXXX, as JSON writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
