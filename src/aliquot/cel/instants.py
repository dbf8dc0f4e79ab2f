"""Timestamps and durations with nanoseconds, read and printed as Go and RFC 3339 do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from functools import lru_cache, total_ordering
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["Duration", "Timestamp", "zone"]

_SECOND: Final = 10**9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799
_MAX_DURATION: Final = 2**63 - 1

# Fixed patterns, matched in time linear in the text, whose length is bounded before.
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d{0,20})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION: Final = re.compile(
    r"[+-]?(?:\d+\.?\d*(?:ns|us|µs|μs|ms|s|m|h)|\.\d+(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII
)
_DURATION_PART: Final = re.compile(r"(\d*\.?\d*)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS: Final = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_OFFSET: Final = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)
_MAX_TEXT: Final = 128


def _fraction(nanos: int) -> str:
    return f".{nanos:09}".rstrip("0") if nanos else ""


@total_ordering
class Duration:
    """A span of time in integer nanoseconds, within 64 bits."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a Go duration such as `1h30m`, `-1.5s`, `100ms`; raise ValueError."""
        if text in ("0", "+0", "-0"):
            return cls(0)
        if len(text) > _MAX_TEXT or not _DURATION.fullmatch(text):
            raise ValueError(f"time: invalid duration {text[:_MAX_TEXT]!r}")
        total = sum(Fraction(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
        nanos = int(total)
        if nanos > _MAX_DURATION:
            raise ValueError(f"time: invalid duration {text!r}")
        return cls(-nanos if text[0] == "-" else nanos)

    @property
    def in_range(self) -> bool:
        return abs(self.nanos) <= _MAX_DURATION

    def truncated(self, unit: int) -> int:
        """The whole number of `unit` nanoseconds, rounded towards zero."""
        return abs(self.nanos) // unit * (1 if self.nanos >= 0 else -1)

    def __eq__(self, other: object) -> bool:
        return self.nanos == other.nanos if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: Duration) -> bool:
        return self.nanos < other.nanos if isinstance(other, Duration) else NotImplemented

    def __hash__(self) -> int:
        return hash((Duration, self.nanos))

    def __str__(self) -> str:
        """Seconds, such as `5400s` or `1.5s`."""
        seconds, nanos = divmod(abs(self.nanos), _SECOND)
        return f"{'-' if self.nanos < 0 else ''}{seconds}{_fraction(nanos)}s"

    def __repr__(self) -> str:
        return f"Duration({self.nanos})"


@total_ordering
class Timestamp:
    """A point in time: nanoseconds since 1970-01-01T00:00:00Z, within the years 1 to 9999."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read an RFC 3339 time; raise ValueError."""
        match = _RFC3339.fullmatch(text) if len(text) <= _MAX_TEXT else None
        if match is None:
            raise ValueError(f"cannot parse {text[:_MAX_TEXT]!r} as an RFC 3339 time")
        *date, fraction, offset = match.groups()
        moment = datetime(*map(int, date), tzinfo=UTC)  # type: ignore[misc, arg-type]
        seconds = int((moment - _EPOCH).total_seconds())
        if offset not in "Zz":
            seconds -= int(_offset(offset).total_seconds())
        return cls(seconds * _SECOND + int((fraction or "0").ljust(9, "0")))

    @property
    def in_range(self) -> bool:
        return _MIN_SECONDS <= self.nanos // _SECOND <= _MAX_SECONDS

    def local(self, where: tzinfo) -> datetime:
        """The date and time of day in a time zone, without what is below a microsecond."""
        return (_EPOCH + timedelta(microseconds=self.nanos // 1000)).astimezone(where)

    def __eq__(self, other: object) -> bool:
        return self.nanos == other.nanos if isinstance(other, Timestamp) else NotImplemented

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanos < other.nanos if isinstance(other, Timestamp) else NotImplemented

    def __hash__(self) -> int:
        return hash((Timestamp, self.nanos))

    def __str__(self) -> str:
        """RFC 3339 in UTC, with as many digits of the second as there are."""
        moment = self.local(UTC)
        return f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}{_fraction(self.nanos % _SECOND)}Z"

    def __repr__(self) -> str:
        return f"Timestamp({self.nanos})"


def _offset(text: str) -> timedelta:
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(f"unknown time zone {text[:_MAX_TEXT]!r}")
    span = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if span >= timedelta(hours=24):
        raise ValueError(f"unknown time zone {text!r}")
    return -span if match[1] == "-" else span


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """The time zone of an IANA name, or of an offset such as `+02:00`; raise ValueError."""
    if name in ("", "UTC"):
        return UTC
    if ":" in name:
        return timezone(_offset(name))
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):
        raise ValueError(f"unknown time zone {name[:_MAX_TEXT]!r}") from None
