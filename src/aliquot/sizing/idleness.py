"""For how long workloads have been idle, by what was measured."""

from collections.abc import Iterable
from dataclasses import dataclass

from aliquot.usage.metrics import BUSY
from aliquot.usage.provenance import Provenance, weakest
from aliquot.usage.series import Series

MOST_SILENCE_MS = 15 * 60_000
"""Older samples say nothing about now."""


@dataclass(frozen=True, slots=True)
class Idleness:
    """since_ms: when it was last busy; None while it is busy, or where that is not known. known_ms: how much
    of the time since then samples stand for. provenance: how it is known. why: of one that is not known."""

    since_ms: int | None
    known_ms: int = 0
    provenance: Provenance = Provenance.MEASURED
    why: str = ""

    def seconds(self, now_ms: int) -> int:
        """For how long it has been idle; 0 while it is not."""
        return max(0, now_ms - self.since_ms) // 1000 if self.since_ms is not None else 0

    def coverage(self, now_ms: int) -> float:
        """The part of the idle time that was measured, 0 to 1."""
        if self.since_ms is None or now_ms <= self.since_ms:
            return 0.0
        return min(1.0, self.known_ms / (now_ms - self.since_ms))


def idleness(series: Iterable[Series], busy_ppm: int, now_ms: int) -> Idleness:
    """Since when none of a workload's devices was busy.

    series: of all its devices; those that are not about how busy they are do not count. busy_ppm: what counts
    as busy, in millionths of the time. A device that nothing has measured for a quarter of an hour makes the
    answer unknown: silence is not idleness.
    """
    by_subject: dict[object, list[Series]] = {}
    for item in series:
        if item.metric in BUSY and len(item):
            by_subject.setdefault((item.subject, item.owner.pod), []).append(item)
    if not by_subject:
        return Idleness(None, provenance=Provenance.UNKNOWN, why="nothing measures how busy it is")
    since, known, found = 0, None, []
    for own in by_subject.values():
        chosen = min(own, key=lambda item: BUSY.index(item.metric))
        if now_ms - chosen.end > MOST_SILENCE_MS:
            return Idleness(None, provenance=Provenance.UNKNOWN, why="a device is not measured any more")
        found.append(chosen.provenance)
        last = chosen.last_above(busy_ppm)
        since = max(since, chosen.start if last is None else last)
    for own in by_subject.values():
        chosen = min(own, key=lambda item: BUSY.index(item.metric))
        covered = chosen.between(since, now_ms).covered
        known = covered if known is None else min(known, covered)
    if since >= now_ms:
        return Idleness(None, provenance=weakest(found))
    return Idleness(since, known or 0, weakest(found))
