"""Regular expressions: RE2, so that no pattern can take more than linear time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

from aliquot.cel.errors import EvaluationError

__all__ = ["check_pattern", "compile_pattern"]

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, options=_OPTIONS)


def compile_pattern(pattern: str) -> Any:
    """The compiled pattern, an object with `search` and `finditer`; raise EvaluationError."""
    try:
        return _compiled(pattern)
    except (re2.error, UnicodeError) as error:
        raise EvaluationError(f"error parsing regexp: {_reason(error)}: `{pattern[:200]}`") from None


def check_pattern(pattern: str) -> str | None:
    """Why a text is no regular expression, None if it is one."""
    try:
        compile_pattern(pattern)
    except EvaluationError as error:
        return error.message
    return None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
