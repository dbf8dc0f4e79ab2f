"""What a check found."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """ok: as it should be. info: worth knowing. warning: something will not work as expected. error: Aliquot
    cannot do its work, or a device could have two owners. unknown: could not be looked at."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """check: stable name, group and subject, such as `drivers/pools`. problem: in words. fix: what to do; ""
    where there is nothing to do. facts: the same for programs.
    """

    check: str
    level: Level
    problem: str
    fix: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def ok(check: str, text: str, **facts: Any) -> Finding:
    return Finding(check, Level.OK, text, "", facts)


def info(check: str, text: str, fix: str = "", **facts: Any) -> Finding:
    return Finding(check, Level.INFO, text, fix, facts)


def warning(check: str, text: str, fix: str, **facts: Any) -> Finding:
    return Finding(check, Level.WARNING, text, fix, facts)


def error(check: str, text: str, fix: str, **facts: Any) -> Finding:
    return Finding(check, Level.ERROR, text, fix, facts)


def unknown(check: str, text: str, fix: str = "", **facts: Any) -> Finding:
    return Finding(check, Level.UNKNOWN, text, fix, facts)
