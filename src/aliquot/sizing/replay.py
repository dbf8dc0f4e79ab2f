"""A workload's own history on another part: when memory would not have been enough, and what would have
come later.

Compute is a queue in which work arrives as it did and is done at the rate of the part. With a device half
busy for two minutes, then idle, on a part with a quarter of the compute:

    minute            1     2     3     4     5
    work arriving    0.5   0.5    0     0     0   (device-minutes)
    work done        0.25  0.25  0.25  0.25   0
    behind at end    0.25  0.5   0.25   0     0

half of the work is late, and the part is behind by 0.5 device-minutes, which take it two minutes. Work is
taken to need less time on more SMs in proportion, which is the worst case for small parts: kernels that
cannot fill a device lose less. Time in which nothing was measured has no work.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from aliquot.catalog.accelerators import Accelerator
from aliquot.sizing.parts import Part
from aliquot.sizing.profiles import Profile, Use
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.series import Series


@dataclass(frozen=True, slots=True)
class Replay:
    """What would have happened. over_ms, covered_ms: time in which memory would not have been enough, of the
    time with samples. over_hours, hours: the same in hours begun. late: the part of the work (0 to 1) that
    would have come later; behind_ms: the longest time that the part would have been behind; None where
    compute was not measured. saturated_ms: time in which memory bandwidth would have been used up; None
    where it was not measured. scaled: compute and bandwidth were converted between models."""

    over_ms: int
    covered_ms: int
    over_hours: int
    hours: int
    late: float | None
    behind_ms: int | None
    saturated_ms: int | None
    scaled: bool = False

    @property
    def over(self) -> float:
        """The part of the time in which memory would not have been enough."""
        return self.over_ms / self.covered_ms if self.covered_ms else 0.0


def replay(profile: Profile, part: Part) -> Replay:
    """The history of all of a workload's pods, each on a part like this: sums of times, the worst of the
    rest."""
    results = [replay_use(use, part) for use in profile.uses]
    late = [item.late for item in results if item.late is not None]
    behind = [item.behind_ms for item in results if item.behind_ms is not None]
    saturated = [item.saturated_ms for item in results if item.saturated_ms is not None]
    return Replay(
        over_ms=sum(item.over_ms for item in results),
        covered_ms=sum(item.covered_ms for item in results),
        over_hours=sum(item.over_hours for item in results),
        hours=sum(item.hours for item in results),
        late=max(late, default=None),
        behind_ms=max(behind, default=None),
        saturated_ms=max(saturated, default=None),
        scaled=any(item.scaled for item in results),
    )


def replay_use(use: Use, part: Part) -> Replay:
    """The history of one pod's device on a part."""
    over_ms, over_hours, hours = over_memory(use.memory, part.memory)
    speed = speed_ratio(use.accelerator, part.accelerator)
    late = behind = None
    if use.busy is not None and len(use.busy):
        late, behind = _queue(use.busy, use.compute * speed, part.compute)
    saturated = None
    if use.bandwidth is not None and len(use.bandwidth):
        had = use.had.bandwidth if use.had is not None else Fraction(1)
        ratio = had * _ratio(use.accelerator, part.accelerator, "mem_bw_gbs")
        limit = int(part.bandwidth / ratio * WHOLE_PPM)
        saturated = use.bandwidth.time_above(limit)
    other = use.accelerator is not None and use.accelerator.id != part.accelerator.id
    return Replay(over_ms, use.memory.covered, over_hours, hours, late, behind, saturated, scaled=other)


def over_memory(memory: Series, limit: int, hour_ms: int = 3_600_000) -> tuple[int, int, int]:
    """Milliseconds in which more than `limit` was used, hours (from the first sample) with such a time, and
    all hours with samples."""
    if not len(memory):
        return 0, 0, 0
    most = memory.values if memory.maxima is None else memory.maxima
    over = most > limit
    numbers = (memory.times - memory.start - 1) // hour_ms
    return int(memory.spans[over].sum()), len(np.unique(numbers[over])), len(np.unique(numbers))


def speed_ratio(had: Accelerator | None, gets: Accelerator) -> Fraction:
    """How much of a device of the model that it gets one of the model that it had is worth: the ratio of
    vendor peaks. 1 where a model or peak is not known."""
    for field in ("bf16_tflops", "fp16_tflops"):
        ratio = _ratio(had, gets, field)
        if ratio != 1 or (had is not None and had.id == gets.id):
            return ratio
    return Fraction(1)


def _ratio(had: Accelerator | None, gets: Accelerator, field: str) -> Fraction:
    if had is None:
        return Fraction(1)
    first, second = getattr(had, field), getattr(gets, field)
    if not first or not second:
        return Fraction(1)
    return Fraction(first) / Fraction(second)


def _queue(busy: Series, compute: Fraction, rate: Fraction) -> tuple[float, int]:
    """The part of the work that is late, and for how many milliseconds the part is behind at most."""
    spans = busy.spans.astype(np.float64)
    work = busy.values / WHOLE_PPM * float(compute) * spans
    starts = busy.times - busy.spans
    idle = np.concatenate(([0], np.maximum(starts[1:] - busy.times[:-1], 0))).astype(np.float64)
    change = work - float(rate) * spans
    # What is left of the work when a sample ends: Lindley's recursion, with gaps as time to catch up.
    sums = np.cumsum(change - float(rate) * idle)
    after_gap = np.concatenate(([0.0], sums[:-1])) - float(rate) * idle
    lowest = np.minimum.accumulate(np.minimum(np.minimum(after_gap, sums), 0.0))
    behind = np.maximum(sums - lowest, 0.0)
    total = float(work.sum())
    late = float(np.maximum(change, 0.0).sum())
    return (late / total if total else 0.0), int(behind.max() / float(rate))
