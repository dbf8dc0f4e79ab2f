"""What a workload needs, by how it used its devices."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from aliquot.catalog.accelerators import Accelerator
from aliquot.model.meta import ObjectRef
from aliquot.sizing.edits import Asks
from aliquot.sizing.extremes import HOUR_MS, Extremes, extremes
from aliquot.sizing.kinds import Kind, Shape
from aliquot.sizing.parts import Isolation, Part
from aliquot.sizing.policy import SizingPolicy
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.provenance import Provenance, weakest
from aliquot.usage.series import Series

_PERCENTILES = (500_000, 950_000, 990_000)


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """How one pod used one device, or part of one.

    memory: bytes. busy, bandwidth: share of its time and of its memory's bandwidth, in millionths of what it
    had; None where nothing measures it. peers: the highest traffic to other devices, bytes/s. had: the part
    that it had; None where neither model nor mode is known, and then `busy` is of one device.
    """

    memory: Series
    busy: Series | None = None
    bandwidth: Series | None = None
    peers: int = 0
    had: Part | None = None

    @property
    def compute(self) -> Fraction:
        """The part of a device that all of its time is."""
        return self.had.compute if self.had is not None else Fraction(1)

    @property
    def accelerator(self) -> Accelerator | None:
        return self.had.accelerator if self.had is not None else None


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over time: p50, p95, p99 by time, and the largest value seen."""

    p50: int
    p95: int
    p99: int
    peak: int

    @staticmethod
    def of(series: Sequence[Series]) -> "Spread | None":
        """The worst of each over several series; None where none has samples."""
        filled = [item for item in series if len(item)]
        if not filled:
            return None
        p50, p95, p99 = (max(item.percentile(ppm).value or 0 for item in filled) for ppm in _PERCENTILES)
        return Spread(p50, p95, p99, max(item.maximum().value or 0 for item in filled))


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A workload's demand of each of its devices; the worst of its pods where these differ.

    devices: of each pod. pods: how many were seen. kind_rule, isolation_rule, peers_rule: what said so.
    memory: bytes used; busy, bandwidth: millionths of what it had, None where it is not measured. extremes:
    of the pod whose memory may go highest, None with too little history. variation: of `busy`, standard
    deviation over mean: below 0.5 is even, above 2 is bursty.

    hours: time covered by samples of its longest pod; coverage: covered part of the time from first to last
    sample. drift: by how much the peak of the later half of the history differs from that of the earlier,
    relative to the larger. provenance: the weakest of what was used; rules: of what was estimated. cache: the
    largest part of its KV cache that a model server used, in millionths; None where it says nothing. has: the
    part that its pods have now, where all that was measured is of pods that are gone. asks: how its
    pods ask for devices, None where nobody knows.
    """

    workload: ObjectRef
    queue: str
    kind: Kind
    kind_rule: str
    devices: int
    pods: int
    isolation: Isolation
    isolation_rule: str
    peers: bool
    peers_rule: str
    uses: tuple[Use, ...]
    memory: Spread
    busy: Spread | None
    bandwidth: Spread | None
    extremes: Extremes | None
    variation: float | None
    hours: float
    coverage: float
    drift: float
    provenance: Provenance
    rules: tuple[str, ...] = ()
    cache: int | None = None
    has: Part | None = None
    asks: Asks | None = None

    @property
    def had(self) -> Part | None:
        """The part that it has now; None where it is not known, or differs between its pods."""
        if self.has is not None:
            return self.has
        found = {use.had.label: use.had for use in self.uses if use.had is not None}
        return next(iter(found.values())) if len(found) == 1 else None

    @property
    def name(self) -> str:
        """`namespace/name`."""
        return f"{self.workload.namespace}/{self.workload.name}"

    def need(self, policy: SizingPolicy) -> int:
        """The bytes of memory that a part must have: the level that an hour exceeds with `policy.risk`, at
        least the peak and its margin; with too little history twice the peak.
        """
        margin = self.memory.peak * (100 + policy.margin_percent) // 100
        if self.extremes is None:
            wanted = 2 * self.memory.peak
        else:
            level = self.extremes.level(policy.risk)
            wanted = max(margin, math.ceil(level)) if math.isfinite(level) else 2 * self.memory.peak
        return wanted * (100 + policy.growth_percent) // 100


def profile_of(
    workload: ObjectRef,
    uses: Iterable[Use],
    *,
    queue: str = "",
    kind: tuple[Kind, str] = (Kind.UNKNOWN, "nothing says what it is"),
    isolation: tuple[Isolation, str] = (Isolation.MEMORY, "policy"),
    devices: int = 1,
    pods: int = 1,
    cache: int | None = None,
    has: Part | None = None,
    asks: Asks | None = None,
    policy: SizingPolicy | None = None,
) -> Profile | None:
    """The profile of a workload; None when nothing was measured of its memory.

    Peer-to-peer use: several devices in one pod, or traffic between devices above the policy's bound.
    """
    policy = policy or SizingPolicy()
    used = tuple(use for use in uses if len(use.memory))
    memory = Spread.of([use.memory for use in used])
    if memory is None:
        return None
    longest = max(used, key=lambda use: use.memory.covered)
    fits = [found for use in used if (found := extremes(use.memory)) is not None]
    worst = max(fits, key=lambda item: item.level(policy.risk), default=None)
    busy = [use.busy for use in used if use.busy is not None]
    traffic = max(use.peers for use in used)
    if traffic > policy.peer_bytes_per_second:
        peers = (True, f"{traffic // 1_000_000} MB/s between devices")
    elif devices > 1:
        peers = (True, f"{devices} devices in one pod")
    else:
        peers = (False, "one device in each pod, no traffic between devices seen")
    series = [item for use in used for item in (use.memory, use.busy, use.bandwidth) if item is not None]
    length = longest.memory.end - longest.memory.start
    return Profile(
        workload=workload,
        queue=queue,
        kind=kind[0],
        kind_rule=kind[1],
        devices=devices,
        pods=pods,
        isolation=isolation[0],
        isolation_rule=isolation[1],
        peers=peers[0],
        peers_rule=peers[1],
        uses=used,
        memory=memory,
        busy=Spread.of(busy),
        bandwidth=Spread.of([use.bandwidth for use in used if use.bandwidth is not None]),
        extremes=worst,
        variation=max((_variation(item) for item in busy if len(item)), default=None),
        hours=longest.memory.covered / HOUR_MS,
        coverage=longest.memory.covered / length if length else 0.0,
        drift=max(_drift(use.memory) for use in used),
        provenance=weakest(item.provenance for item in series),
        rules=tuple(sorted({item.rule for item in series if item.rule})),
        cache=cache,
        has=has,
        asks=asks,
    )


def shape_of(uses: Iterable[Use]) -> Shape | None:
    """How busy devices are over time, of the busiest; None where nothing measures it."""
    busy = [use.busy for use in uses if use.busy is not None and len(use.busy)]
    spread = Spread.of(busy)
    if spread is None:
        return None
    return Shape(spread.p50 / WHOLE_PPM, spread.p95 / WHOLE_PPM, max(_variation(item) for item in busy))


def _variation(series: Series) -> float:
    weights = series.spans.astype(np.float64)
    mean = float(np.average(series.values, weights=weights))
    if mean == 0:
        return 0.0
    variance = float(np.average((series.values - mean) ** 2, weights=weights))
    return math.sqrt(variance) / mean


def _drift(memory: Series) -> float:
    middle = (memory.start + memory.end) // 2
    halves = [memory.between(memory.start, middle), memory.between(middle, memory.end)]
    peaks = [half.maximum().value or 0 for half in halves if len(half)]
    highest = max(peaks, default=0)
    if len(peaks) < 2 or not highest:
        return 0.0
    return (highest - min(peaks)) / highest
