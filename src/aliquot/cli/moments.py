"""Times that people give on the command line."""

from datetime import UTC, datetime

from aliquot.cli.failures import Failure

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
"""Times of objects and of the journal count from here."""

LAST = datetime(3000, 1, 1, tzinfo=UTC)
"""So far from the last time that can be written (year 9999) that any duration can be looked ahead."""


def moment_given(text: str, option: str) -> datetime:
    """A time in RFC 3339, in UTC; without an offset it is one of UTC. Raises Failure, naming the option."""
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Failure(f"{option}: {text!r} is not a time; write 2026-01-31T12:00:00Z") from None
    if not FIRST <= found < LAST:
        raise Failure(f"{option}: {text!r} is not between the years 1970 and 2999")
    return found
