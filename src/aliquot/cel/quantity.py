"""Exact Kubernetes quantities.

Grammar, rounding and canonical form follow k8s.io/apimachinery pkg/api/resource (Quantity):
a signed decimal number and a suffix, which is decimal (`n u m "" k M G T P E`), binary
(`Ki Mi Gi Ti Pi Ei`) or a decimal exponent (`e3`, `E-2`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["MAX_QUANTITY_EXPONENT", "MAX_QUANTITY_LENGTH", "Quantity", "QuantityError", "QuantityFormat"]

MAX_QUANTITY_LENGTH: Final = 128
"""Longest accepted text, in characters. Kubernetes sets no bound; no real quantity comes near this one."""

MAX_QUANTITY_EXPONENT: Final = 200
"""Largest accepted magnitude of a decimal exponent; keeps `1e999999999` from filling the memory."""

_NANO: Final = 10**9
_BINARY_CAP: Final = (2**63 - 1) * _NANO

_DECIMAL_POWERS: Final = {
    "n": -9,
    "u": -6,
    "m": -3,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
    "E": 18,
}
_DECIMAL_SUFFIXES: Final = {power: suffix for suffix, power in _DECIMAL_POWERS.items()}
_BINARY_SUFFIXES: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BINARY_POWERS: Final = {suffix: 10 * step for step, suffix in enumerate(_BINARY_SUFFIXES) if suffix}
_DIGITS: Final = frozenset("0123456789")


class QuantityFormat(Enum):
    """The kind of suffix a quantity was written with, and is written with again."""

    DECIMAL_SI = "DecimalSI"
    DECIMAL_EXPONENT = "DecimalExponent"
    BINARY_SI = "BinarySI"


class QuantityError(ValueError):
    """A text that is no quantity: `text` as given (cut to the length limit) and `reason`."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text[:MAX_QUANTITY_LENGTH]
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.text!r} is not a quantity: {self.reason}"


def _divide_away_from_zero(number: int, divisor: int) -> int:
    """Divide and round away from zero: 1/1000 -> 1, -1/1000 -> -1."""
    return -(-number // divisor) if number >= 0 else number // divisor


class Quantity:
    """An immutable exact amount, in integer billionths (`nano`), with the format it is printed in.

    `whole` tells whether Kubernetes takes it for a 64-bit integer, which depends on how it was written: 1 and
    1k are, 1000m, 1.5Gi and 100Ti are not. Equality, order and hash go by value alone:
    `Quantity.parse("1024Mi") == Quantity.parse("1Gi")`.
    """

    __slots__ = ("format", "nano", "whole")

    nano: int
    format: QuantityFormat
    whole: bool

    def __init__(
        self, nano: int, format: QuantityFormat = QuantityFormat.DECIMAL_SI, *, whole: bool = True
    ) -> None:
        object.__setattr__(self, "nano", nano)
        object.__setattr__(self, "format", format)
        object.__setattr__(self, "whole", whole and nano % _NANO == 0)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Quantity is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Quantity is immutable: cannot delete {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_restored, (self.nano, self.format, self.whole))

    @classmethod
    def of(cls, value: int) -> Quantity:
        """The whole number `value`, printed with decimal suffixes."""
        return cls(value * _NANO)

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Parse `text`; raise `QuantityError` if it does not follow the grammar.

        Non-zero amounts below one billionth are rounded away from zero (0.1n -> 1n), and amounts with
        a binary suffix are capped at 2**63 - 1, both as Kubernetes does.
        """
        negative, whole, fraction, suffix = _split(text)
        base, power, fmt = _interpret(text, suffix)
        digits = int(whole + fraction or "0")
        numerator = digits * _NANO
        denominator: int = 10 ** len(fraction)
        if base == 2:
            numerator <<= power
        elif power >= 0:
            numerator *= 10**power
        else:
            denominator *= 10**-power
        nano = -(-numerator // denominator)
        if fmt is QuantityFormat.BINARY_SI:
            if nano > _BINARY_CAP:
                nano = _BINARY_CAP
            elif 0 < nano < _NANO:
                fmt = QuantityFormat.DECIMAL_SI
        return cls(-nano if negative else nano, fmt, whole=_is_whole(whole, fraction, base, power))

    def value(self) -> int:
        """The amount as an integer, rounded away from zero."""
        return _divide_away_from_zero(self.nano, _NANO)

    def milli(self) -> int:
        """The amount in thousandths, rounded away from zero."""
        return _divide_away_from_zero(self.nano, 10**6)

    @property
    def is_integer(self) -> bool:
        """Whether no fraction is lost by `value()`."""
        return self.nano % _NANO == 0

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, in the format of the left side (of the right side if the left one is zero)."""
        if not isinstance(other, Quantity):
            return NotImplemented
        return self._result(self.nano + other.nano, other)

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference, in the format of the left side (of the right side if the left one is zero)."""
        if not isinstance(other, Quantity):
            return NotImplemented
        return self._result(self.nano - other.nano, other)

    def _result(self, nano: int, other: Quantity) -> Quantity:
        whole = (self.whole or not self.nano) and (other.whole or not other.nano)
        return Quantity(nano, self.format if self.nano else other.format, whole=whole)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format, whole=self.whole)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __hash__(self) -> int:
        return hash((Quantity, self.nano))

    def __eq__(self, other: object) -> bool:
        return self.nano == other.nano if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano if isinstance(other, Quantity) else NotImplemented

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano if isinstance(other, Quantity) else NotImplemented

    def __gt__(self, other: Quantity) -> bool:
        return self.nano > other.nano if isinstance(other, Quantity) else NotImplemented

    def __ge__(self, other: Quantity) -> bool:
        return self.nano >= other.nano if isinstance(other, Quantity) else NotImplemented

    def __repr__(self) -> str:
        return f"Quantity.parse({str(self)!r})"

    def __str__(self) -> str:
        """The canonical form: no fraction, and the largest suffix that loses nothing.

        1.5 -> "1500m", 1.5Gi -> "1536Mi", 1e3 -> "1e3", 1000 -> "1k". Binary amounts between -1024
        and 1024, or with a fraction, are printed as decimal ones.
        """
        if self.nano == 0:
            return "0"
        if (
            self.format is QuantityFormat.BINARY_SI
            and self.is_integer
            and not -1024 * _NANO < self.nano < 1024 * _NANO
        ):
            return _print_binary(self.nano // _NANO)
        return _print_decimal(self.nano, exponent=self.format is QuantityFormat.DECIMAL_EXPONENT)


def _print_binary(number: int) -> str:
    step = 0
    while number % 1024 == 0 and step < len(_BINARY_SUFFIXES) - 1:
        number //= 1024
        step += 1
    return f"{number}{_BINARY_SUFFIXES[step]}"


def _print_decimal(nano: int, *, exponent: bool) -> str:
    power = -9
    while nano % 1000 == 0:
        nano //= 1000
        power += 3
    suffix = None if exponent else _DECIMAL_SUFFIXES.get(power)
    if suffix is None:
        # No suffix exists above E: Kubernetes falls back to an exponent there too.
        suffix = f"e{power}" if power else ""
    return f"{nano}{suffix}"


def _restored(nano: int, format: QuantityFormat, whole: bool) -> Quantity:
    return Quantity(nano, format, whole=whole)


def _is_whole(digits: str, fraction: str, base: int, power: int) -> bool:
    """Whether Kubernetes keeps an amount as an integer: so few digits that it cannot overflow 64 bits."""
    length = len(digits.lstrip("0")) or 1
    if base == 2:
        return not fraction and length + power * 3 // 10 < 15
    return length + len(fraction) <= 18 and len(fraction) <= power


def _split(text: str) -> tuple[bool, str, str, str]:
    """Cut `text` into sign, digits before and after the point, and suffix."""
    if not text:
        raise QuantityError(text, "it is empty")
    if len(text) > MAX_QUANTITY_LENGTH:
        raise QuantityError(text, f"it is longer than {MAX_QUANTITY_LENGTH} characters")
    at = 1 if text[0] in "+-" else 0
    end = len(text)
    start = at
    while at < end and text[at] in _DIGITS:
        at += 1
    whole = text[start:at]
    fraction = ""
    if at < end and text[at] == ".":
        start = at = at + 1
        while at < end and text[at] in _DIGITS:
            at += 1
        fraction = text[start:at]
    # Without any digit it is zero, as in Kubernetes: "Ki" and "." are, as long as the suffix is one.
    return text[0] == "-", whole, fraction, text[at:]


def _interpret(text: str, suffix: str) -> tuple[int, int, QuantityFormat]:
    """Base, power and format of a suffix."""
    power = _DECIMAL_POWERS.get(suffix)
    if power is not None:
        return 10, power, QuantityFormat.DECIMAL_SI
    power = _BINARY_POWERS.get(suffix)
    if power is not None:
        return 2, power, QuantityFormat.BINARY_SI
    if suffix[0] in "eE":
        digits = suffix[2:] if suffix[1:2] in ("+", "-") else suffix[1:]
        if digits and all(digit in _DIGITS for digit in digits):
            power = int(digits)
            if power > MAX_QUANTITY_EXPONENT:
                raise QuantityError(text, f"its exponent is beyond {MAX_QUANTITY_EXPONENT}")
            return 10, -power if suffix[1] == "-" else power, QuantityFormat.DECIMAL_EXPONENT
    raise QuantityError(
        text, f"unknown suffix {suffix!r}; known are n u m k M G T P E, Ki Mi Gi Ti Pi Ei and e<number>"
    )
