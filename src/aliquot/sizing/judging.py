"""Whether a part will do for a workload, how sure that is, and what may go wrong."""

import enum
import math
from dataclasses import dataclass
from fractions import Fraction

from aliquot.sizing.edits import unaskable
from aliquot.sizing.parts import Isolation, Mode, Part
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Profile
from aliquot.sizing.replay import Replay, replay, speed_ratio
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.provenance import Provenance

HALF_SURE_HOURS = 24
"""A history of so many hours counts half, of seven times as many 7/8."""

ESTIMATED_COUNTS = 0.7
"""What confidence is multiplied by when something was estimated, or the model it ran on is not known."""


class Loss(enum.StrEnum):
    """Why a part was not recommended, the first that applies in this order."""

    PEERS = "Peers"
    """It uses peer-to-peer traffic (NCCL over NVLink), which the part does not have."""
    ISOLATION = "Isolation"
    MEMORY = "Memory"
    HISTORY = "History"
    """Its history is too short to give it less than a device."""
    DELAY = "Delay"
    """Too much of its work would come later."""
    STRETCH = "Stretch"
    """Short bursts would take too many times as long."""
    BANDWIDTH = "Bandwidth"
    UNASKABLE = "Unaskable"
    """It would do, and its pods cannot ask for it."""
    COST = "Cost"
    """It would do, and costs more."""
    RISK = "Risk"
    """It would do and costs as much, and carries more risk."""


class Level(enum.StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Risk:
    """memory: the probability that an hour needs more memory than the part has, None where it cannot be
    told. memory_level: low below a thousandth, medium below a hundredth. neighbours: whether others on the
    device may disturb it, and how (why)."""

    memory: float | None
    memory_level: Level
    neighbours: Level
    why: str

    @property
    def level(self) -> Level:
        return max(self.memory_level, self.neighbours, key=_LEVELS.index)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure a recommendation is, as a product of four factors from 0 to 1.

    history: hours / (hours + 24). stability: 1 - drift between the halves of the history. coverage: the part
    of the time with samples. source: 1 when all was measured, 0.7 when a rule was used.
    Two days, drift 10 %, no gaps, measured: 0.67 x 0.9 x 1 x 1 = 0.60.
    """

    history: float
    stability: float
    coverage: float
    source: float

    @property
    def value(self) -> float:
        return self.history * self.stability * self.coverage * self.source

    @property
    def level(self) -> Level:
        """high from 0.7, medium from 0.4."""
        if self.value >= 0.7:
            return Level.HIGH
        return Level.MEDIUM if self.value >= 0.4 else Level.LOW


@dataclass(frozen=True, slots=True)
class Judgement:
    """A part, tried. replay: None where something else ruled it out before. loss: why it will not do, None if
    it will. fact: the figures of the loss: `needs 44.1 GiB, has 39.3`. stretch: how many times as long a
    burst may take that keeps the whole device busy."""

    part: Part
    replay: Replay | None
    stretch: float
    loss: Loss | None = None
    fact: str = ""


def judge(profile: Profile, part: Part, policy: SizingPolicy) -> Judgement:
    """Try a part on a workload's history; one that is too small in any case is not replayed."""
    stretch = _stretch(profile, part)
    loss, fact = _beforehand(profile, part, policy)
    if loss is not None:
        return Judgement(part, None, stretch, loss, fact)
    found = replay(profile, part)
    loss, fact = _replayed(profile, part, policy, found, stretch)
    has = profile.had is not None and profile.had.label == part.label
    if loss is None and profile.asks is not None and not has and (why := unaskable(part, profile.asks)):
        loss, fact = Loss.UNASKABLE, why
    return Judgement(part, found, stretch, loss, fact)


def confidence_of(profile: Profile) -> Confidence:
    """How much the history says."""
    guessed = profile.provenance is not Provenance.MEASURED or profile.had is None
    return Confidence(
        history=profile.hours / (profile.hours + HALF_SURE_HOURS),
        stability=max(0.0, 1 - profile.drift),
        coverage=min(1.0, profile.coverage),
        source=ESTIMATED_COUNTS if guessed else 1.0,
    )


def risk_of(profile: Profile, part: Part) -> Risk:
    """What may go wrong on a part.

    Neighbours: none on a whole device, low on MIG instances (PCIe, power and clocks stay shared), medium
    where compute or bandwidth is shared, high where also memory is and nothing keeps it apart.
    """
    found = profile.extremes
    memory = found.risk(part.memory) if found is not None and math.isfinite(found.scale) else None
    if memory is None:
        memory_level = Level.LOW if part.memory >= 2 * profile.memory.peak else Level.HIGH
    elif memory <= 0.001:
        memory_level = Level.LOW
    else:
        memory_level = Level.MEDIUM if memory <= 0.01 else Level.HIGH
    if part.mode is Mode.EXCLUSIVE:
        return Risk(memory, memory_level, Level.LOW, "nobody else is on the device")
    if part.isolation is Isolation.FAULT:
        why = "PCIe, power and clocks are shared with the other instances"
        return Risk(memory, memory_level, Level.LOW, why)
    if part.isolation is Isolation.MEMORY:
        why = "compute, bandwidth or faults are shared with the device's other users"
        return Risk(memory, memory_level, Level.MEDIUM, why)
    why = "nothing keeps the memory of the device's users apart: one that takes too much ends the others"
    return Risk(memory, memory_level, Level.HIGH, why)


def _stretch(profile: Profile, part: Part) -> float:
    """How many times as long it takes on the part to do what kept a whole device busy."""
    use = profile.uses[0]
    needed = use.compute * speed_ratio(use.accelerator, part.accelerator)
    return max(1.0, float(needed / part.compute)) if part.compute else math.inf


def gib(amount: float) -> str:
    """Bytes as GiB with one place."""
    return f"{amount / (1 << 30):.1f} GiB"


def _beforehand(profile: Profile, part: Part, policy: SizingPolicy) -> tuple[Loss | None, str]:
    if profile.peers and not part.peers:
        return Loss.PEERS, f"{profile.peers_rule}; its parts cannot reach other devices"
    if part.isolation < profile.isolation:
        wanted, given = profile.isolation.word, part.isolation.word
        return Loss.ISOLATION, f"isolation {wanted} is wanted ({profile.isolation_rule}), it gives {given}"
    need = needed(profile, part, policy)
    if part.memory < need:
        return Loss.MEMORY, f"needs {gib(need)}, has {gib(part.memory)}"
    if profile.hours < policy.least_hours and not part.exclusive:
        return Loss.HISTORY, f"{profile.hours:.1f} h of history, {policy.least_hours} h are wanted"
    return None, ""


def _replayed(
    profile: Profile, part: Part, policy: SizingPolicy, found: Replay, stretch: float
) -> tuple[Loss | None, str]:
    limit = policy.delayed_percent if profile.kind.waited_for else policy.delayed_percent_batch
    if found.late is not None and found.behind_ms is not None:
        if found.late * 100 > limit:
            return Loss.DELAY, f"{found.late:.0%} of its work would be late, {limit}% may be"
        if profile.kind.waited_for and found.behind_ms > policy.backlog_seconds * 1000:
            seconds = found.behind_ms // 1000
            return Loss.DELAY, f"would be behind by {seconds} s, {policy.backlog_seconds} s are allowed"
    if policy.stretch is not None and stretch > policy.stretch and not part.exclusive:
        return Loss.STRETCH, f"bursts take up to {stretch:.1f} times as long, {policy.stretch:g} are allowed"
    if found.saturated_ms is not None and found.covered_ms:
        share = Fraction(found.saturated_ms, found.covered_ms)
        if share * 100 > limit:
            return Loss.BANDWIDTH, f"memory bandwidth would be used up {float(share):.0%} of the time"
    return None, ""


def needed(profile: Profile, part: Part, policy: SizingPolicy) -> int:
    """The bytes that this part must have: all of `Profile.need` for a part of a device; of a whole device,
    beyond which there is nothing to give, the peak and its margin, and of one that it has, the peak."""
    if not part.exclusive:
        return profile.need(policy)
    if profile.had is not None and profile.had.label == part.label:
        return profile.memory.peak
    return profile.memory.peak * (100 + policy.margin_percent) // 100


def busy_text(profile: Profile) -> str:
    """How busy it is, for a reason: `busy p95 11 %`."""
    if profile.busy is None:
        return "compute not measured"
    return f"busy p95 {profile.busy.p95 * 100 / WHOLE_PPM:.0f} %"
