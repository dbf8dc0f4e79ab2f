"""Workloads that trust each other on one device together, judged by their joint history.

Parts have to hold the peak of each workload; devices that are shared without parts (time-slicing, one claim
for several pods, consumable shares) have to hold the peak of their sum, which is lower where peaks do not
come together. Two containers that take 30 GiB and at times 45, never at once, fit on 80 GiB, and not in two
parts of 40. Nothing keeps such containers apart: one that takes too much ends the others as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aliquot.sizing.extremes import HOUR_MS, of_maxima
from aliquot.sizing.parts import Part
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Profile, Use
from aliquot.sizing.replay import speed_ratio
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.series import Series

Grid = npt.NDArray[np.int64]
"""Values at equal steps of time; 0 where there was nothing."""

STEP_MS = 60_000
MOST_MEMBERS = 48
"""Clients that an MPS daemon takes on Volta and later (CUDA 13.0 and before); turns have no such bound."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in equal steps, ms since 1970."""

    start: int
    end: int
    step: int = STEP_MS

    @property
    def steps(self) -> int:
        return max(0, -(-(self.end - self.start) // self.step))

    def highest(self, series: Series) -> Grid:
        """The largest value of each step; 0 in steps without samples."""
        cut = series.between(self.start, self.end)
        found: Grid = np.zeros(self.steps, dtype=np.int64)
        if len(cut):
            most = cut.values if cut.maxima is None else cut.maxima
            np.maximum.at(found, (cut.times - 1 - self.start) // self.step, most)
        return found

    def hourly(self, grid: Grid) -> list[int]:
        """The largest value of each whole hour."""
        size = max(1, HOUR_MS // self.step)
        return [int(grid[at : at + size].max()) for at in range(0, len(grid) - size + 1, size)]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Workloads that share a device. need: bytes that they are taken to need together. peak: the highest sum
    seen. late: the part of their work that would have been late on one device."""

    members: tuple[int, ...]
    need: int
    peak: int
    late: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What may join a pool: memory and work at each step, in bytes and in millionths of the device."""

    number: int
    memory: Grid
    work: Grid


def candidate(number: int, use: Use, window: Window, device: Part) -> Candidate:
    """A use on the window's grid; work is converted to the device's model."""
    memory = window.highest(use.memory)
    if use.busy is None:
        work: Grid = np.zeros(window.steps, dtype=np.int64)
    else:
        scale = float(use.compute * speed_ratio(use.accelerator, device.accelerator))
        work = (window.highest(use.busy) * scale).astype(np.int64)
    return Candidate(number, memory, work)


def pools_of(profiles: Sequence[Profile], device: Part, policy: SizingPolicy) -> tuple[Pool, ...]:
    """Pools of the workloads that are still there, over their whole common history; members are their places
    in the sequence. Only workloads of one device in one pod, which fit on the device by themselves; those
    with too little history have a device each.

    A workload that ended has no part in it: its successor would seem to fit beside it.
    """
    latest = max((use.memory.end for item in profiles for use in item.uses), default=0)
    uses = [
        (number, item)
        for number, item in enumerate(profiles)
        if len(item.uses) == 1
        and not item.peers
        and item.memory.peak <= device.memory
        and item.uses[0].memory.end > latest - HOUR_MS
    ]
    known = [(number, item.uses[0]) for number, item in uses if item.hours >= policy.least_hours]
    alone = [
        Pool((number,), item.need(policy), item.memory.peak, 0.0)
        for number, item in uses
        if item.hours < policy.least_hours
    ]
    if not known:
        return tuple(alone)
    window = Window(min(use.memory.start for _, use in known), latest)
    found = [candidate(number, use, window, device) for number, use in known]
    return (*pools(found, window, device, policy), *alone)


def pools(
    candidates: Sequence[Candidate], window: Window, device: Part, policy: SizingPolicy
) -> tuple[Pool, ...]:
    """Pools of workloads, each for one device: the largest first, each into the fullest pool that it fits
    (best fit decreasing). A workload that does not even fit alone is a pool of its own."""
    open_pools: list[tuple[list[Candidate], Grid, Grid, Pool]] = []
    order = sorted(candidates, key=lambda item: (-int(item.memory.max(initial=0)), item.number))
    for item in order:
        best: tuple[int, int, Grid, Grid, Pool] | None = None
        for place, (members, memory, work, _) in enumerate(open_pools):
            if len(members) >= MOST_MEMBERS:
                continue
            joint, load = memory + item.memory, work + item.work
            if int(joint.max(initial=0)) > device.memory:
                continue
            found = _judge((*(one.number for one in members), item.number), joint, load, window, policy)
            fits = found.need <= device.memory and found.late * 100 <= policy.delayed_percent
            if fits and (best is None or found.need > best[0]):
                best = (found.need, place, joint, load, found)
        if best is None:
            pool = _judge((item.number,), item.memory, item.work, window, policy)
            open_pools.append(([item], item.memory, item.work, pool))
        else:
            _, place, joint, load, pool = best
            open_pools[place] = ([*open_pools[place][0], item], joint, load, pool)
    return tuple(pool for _, _, _, pool in open_pools)


def _judge(members: tuple[int, ...], memory: Grid, work: Grid, window: Window, policy: SizingPolicy) -> Pool:
    peak = int(memory.max(initial=0))
    found = of_maxima(window.hourly(memory))
    need = peak * (100 + policy.margin_percent) // 100
    need = 2 * peak if found is None else max(need, round(found.level(policy.risk)))
    need = need * (100 + policy.growth_percent) // 100
    total = int(work.sum())
    late = int(np.maximum(work - WHOLE_PPM, 0).sum()) / total if total else 0.0
    return Pool(members, need, peak, late)
