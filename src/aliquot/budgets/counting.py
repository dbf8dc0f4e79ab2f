"""One counter: what was spent in its window, and what is held for calls under way."""

from collections import deque
from collections.abc import Iterable

from aliquot.budgets.windows import WINDOWS, Window, free_at


class Counter:
    """Counts in one window. Mutable; its owner passes the time, which never runs backwards for it.

    spent: what is booked in buckets that still count; it is the sum of `booked`. held: the sum of what holds
    have taken and not settled.
    """

    __slots__ = ("_buckets", "booked", "held", "spent", "window")

    def __init__(self, window: Window, booked: Iterable[tuple[int, int]] = ()) -> None:
        self.window = window
        self._buckets = WINDOWS[window]
        self.booked: deque[tuple[int, int]] = deque(booked)
        self.spent = sum(amount for _, amount in self.booked)
        self.held = 0

    def advance(self, now: int) -> None:
        """Forget the buckets that no longer count at `now`."""
        booked = self.booked
        if booked:
            oldest = now // self._buckets.width - self._buckets.count
            while booked and booked[0][0] < oldest:
                self.spent -= booked.popleft()[1]

    def book(self, amount: int, now: int) -> int:
        """Book an amount and return its bucket. A clock that was set back books in the newest bucket."""
        bucket = now // self._buckets.width
        if self.booked and self.booked[-1][0] >= bucket:
            bucket, before = self.booked.pop()
            self.booked.append((bucket, before + amount))
        else:
            self.booked.append((bucket, amount))
        self.spent += amount
        return bucket

    def free_at(self, excess: int) -> int | None:
        """When `excess` of what is spent stops counting; None if only holds could make that much room."""
        return free_at(self.booked, self._buckets, excess)
