"""Minimum run times: how long work is left alone once it runs.

A queue that sets none takes that of the queue above it. Preemption (within a queue) asks the victim's queue;
reclaim (between queues) asks, by the method "lca", the queue above the victim that is just below the lowest
queue above both, so that an organisation protects its teams from others in one place; by "queue", the
victim's own.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache

from aliquot.cel.instants import Duration
from aliquot.queues.amounts import Amount, exact
from aliquot.queues.rules import ShareRules
from aliquot.queues.tree import QueueTree

_NANOS = 10**9
_MICROSECOND = timedelta(microseconds=1)


class DurationError(ValueError):
    """A text that is no duration: `text` as given."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text!r} is no duration; write one such as 90s, 5m or 1h30m"


@lru_cache(maxsize=4096)
def seconds(text: str) -> Amount:
    """A Go duration in seconds, exactly: "1m30s" is 90, "250ms" is 1/4. Negative ones count as 0.

    Raises DurationError.
    """
    try:
        nanos = Duration.parse(text).nanos
    except ValueError as error:
        raise DurationError(text) from error
    return exact(Fraction(max(0, nanos), _NANOS))


class MinRuntimes:
    """The minimum run times of a tree of queues, in seconds; each is worked out once."""

    def __init__(self, tree: QueueTree, rules: ShareRules) -> None:
        self._tree = tree
        self._rules = rules
        self._preempt: dict[str, Amount] = {}
        self._reclaim: dict[tuple[str, str], Amount] = {}
        self._reclaiming: bool | None = None

    @property
    def reclaiming(self) -> bool:
        """Whether any work is left alone by other queues for some time."""
        if self._reclaiming is None:
            specs = (self._tree.queues[name].spec for name in self._tree.names)
            rules = self._rules
            self._reclaiming = bool(rules.reclaim_min_runtime) or any(
                spec.reclaim_min_runtime for spec in specs
            )
        return self._reclaiming

    def preempt(self, victim: str) -> Amount:
        """How long work of the queue runs before work of the same queue may preempt it."""
        found = self._preempt.get(victim)
        if found is None:
            texts = [self._tree.queues[name].spec.preempt_min_runtime for name in self._tree.path(victim)]
            found = self._preempt[victim] = _first(texts, self._rules.preempt_min_runtime)
        return found

    def reclaim(self, reclaimer: str, victim: str) -> Amount:
        """How long work of the victim's queue runs before the reclaimer's queue may reclaim what it holds."""
        found = self._reclaim.get((reclaimer, victim))
        if found is None:
            path = self._tree.path(victim)
            if self._rules.runtime_method == "lca":
                path = path[_below_common(self._tree.path(reclaimer), path) :]
            texts = [self._tree.queues[name].spec.reclaim_min_runtime for name in path]
            found = self._reclaim[reclaimer, victim] = _first(texts, self._rules.reclaim_min_runtime)
        return found


def protected(started: datetime | None, minimum: Amount, now: datetime) -> bool:
    """Whether work that last started then is still left alone. What never started is not."""
    return started is not None and (now - started) // _MICROSECOND < minimum * 10**6


def _below_common(reclaimer: Sequence[str], victim: Sequence[str]) -> int:
    """The place in the victim's path (itself first, the top last) of the queue just below the lowest one in
    common; of that one, if the victim is that one."""
    above = set(reclaimer)
    common = next((place for place, name in enumerate(victim) if name in above), len(victim))
    return max(0, common - 1)


def _first(texts: Sequence[str], default: int) -> Amount:
    for text in texts:
        if text:
            return seconds(text)
    return default
