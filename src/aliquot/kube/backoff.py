"""How long to wait before trying again: exponential, capped, jittered."""

import random


class Backoff:
    """Waits that double from `first` to `cap` seconds, each shortened by a random part of up to a half.

    The jitter keeps many clients from coming back in step after an API server was away.
    """

    def __init__(self, randomness: random.Random, *, first: float = 0.1, cap: float = 30.0) -> None:
        self._randomness = randomness
        self._first = first
        self._cap = cap
        self._failures = 0

    @property
    def failures(self) -> int:
        """Waits asked for since the last success."""
        return self._failures

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        # 2**40 times any first wait is beyond every cap; the bound keeps the power a small number.
        full = min(self._cap, self._first * 2.0 ** min(self._failures, 40))
        self._failures += 1
        return full * (1.0 - 0.5 * self._randomness.random())

    def reset(self) -> None:
        self._failures = 0
