"""Sliding windows over integers, exact by one rule of buckets.

Time is divided into buckets of a fixed width, a window into a whole number of buckets (WINDOWS). What is
booked at time t goes to the bucket `t // width`. At time t the buckets that count are the current one and as
many before it as the window has: one more than fits, so that every amount counts for at least the whole
window and leaves at most one width later. Hence no interval as long as the window ever holds more than its
limit, wherever it begins.

A minute has 60 buckets of 1 s: what was spent at 12:00:10.7 counts until 12:01:11.0 (bucket 12:00:10 counts
while the current bucket is 12:01:10 or earlier). A month is 30 days.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

SECOND_US = 1_000_000


class Window(StrEnum):
    """How long an amount counts. NOW: what is held at the same time (concurrency); nothing is booked."""

    NOW = "now"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Buckets(msgspec.Struct, frozen=True):
    """How a window is divided: the width of a bucket in microseconds, and how many make the window."""

    width: int
    count: int

    @property
    def length(self) -> int:
        """The length of the window in microseconds."""
        return self.width * self.count


WINDOWS: dict[Window, Buckets] = {
    Window.NOW: Buckets(SECOND_US, 0),
    Window.MINUTE: Buckets(SECOND_US, 60),
    Window.HOUR: Buckets(60 * SECOND_US, 60),
    Window.DAY: Buckets(900 * SECOND_US, 96),
    Window.MONTH: Buckets(21_600 * SECOND_US, 120),
}


def free_at(booked: Iterable[tuple[int, int]], buckets: Buckets, excess: int) -> int | None:
    """The time at which at least `excess` of what is booked no longer counts, None if it is less than that.

    booked: (bucket, amount), oldest first.
    """
    freed = 0
    for bucket, amount in booked:
        freed += amount
        if freed >= excess:
            return (bucket + buckets.count + 1) * buckets.width
    return None
