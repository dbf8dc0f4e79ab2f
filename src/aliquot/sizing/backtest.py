"""What recommendations made from the first half of a history would have led to in the second.

Saving is told against whole devices, and against the optimum with hindsight: the parts that would just have
held what the second half took.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import msgspec
import numpy as np

from aliquot.model.meta import ObjectRef
from aliquot.sizing.choosing import Offer, Recommendation, recommend
from aliquot.sizing.extremes import HOUR_MS, Extremes
from aliquot.sizing.judging import judge
from aliquot.sizing.kinds import Kind
from aliquot.sizing.parts import Isolation, Mode, Part, consumable, exclusive, parts_of
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.pooling import Candidate, Grid, Window, candidate, pools
from aliquot.sizing.profiles import Profile, Use, profile_of
from aliquot.sizing.repartition import devices_needed
from aliquot.sizing.replay import over_memory, replay_use


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One container's device over the whole time."""

    workload: ObjectRef
    use: Use


@dataclass(frozen=True, slots=True)
class Outcome:
    """A container in the second half. part: what the first half said, None for nothing. judged: whether the
    first half was long enough to say anything; hindsight: the part that would just have held it."""

    workload: ObjectRef
    recommendation: Recommendation
    over_ms: int
    covered_ms: int
    over_hours: int
    hours: int
    late: float
    hindsight: Part | None

    @property
    def part(self) -> Part | None:
        return self.recommendation.part


@dataclass(frozen=True, slots=True)
class Pooled:
    """The same with containers on devices together. devices: taken; hindsight: with the second half known.
    over_*: device time in which the sum did not fit, counted for each container on it."""

    device: Part
    containers: int
    devices: int
    hindsight: int
    over_ms: int
    covered_ms: int
    over_hours: int
    hours: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """outcomes: of containers with enough of a first half, and with a second. short: containers without.
    unserved: for which nothing in the fleet will do. devices: taken by parts, in fractions of devices;
    whole: one device each; hindsight: the parts that would just have held. packed, hindsight_packed: how many
    devices these parts fill when they are put together (`device_count`)."""

    outcomes: tuple[Outcome, ...]
    short: int
    unserved: int
    devices: Fraction
    whole: int
    hindsight: Fraction
    packed: int = 0
    hindsight_packed: int = 0
    pooled: tuple[Pooled, ...] = ()

    @property
    def over_ms(self) -> int:
        return sum(item.over_ms for item in self.outcomes if item.part is not None)

    @property
    def covered_ms(self) -> int:
        return sum(item.covered_ms for item in self.outcomes if item.part is not None)

    @property
    def over_hours(self) -> int:
        return sum(item.over_hours for item in self.outcomes if item.part is not None)

    @property
    def hours(self) -> int:
        return sum(item.hours for item in self.outcomes if item.part is not None)

    @property
    def over(self) -> float:
        """The part of container time in which memory would not have been enough."""
        return self.over_ms / self.covered_ms if self.covered_ms else 0.0

    @property
    def over_hourly(self) -> float:
        """The part of container-hours in which it would not have been enough at least once."""
        return self.over_hours / self.hours if self.hours else 0.0

    @property
    def containers(self) -> int:
        """How many containers would have run out of memory at least once."""
        return sum(1 for item in self.outcomes if item.part is not None and item.over_ms)


def backtest(
    histories: Iterable[History],
    middle: int,
    fleet: Sequence[Offer],
    policy: SizingPolicy,
    *,
    kind: Kind = Kind.INFERENCE,
    isolation: Isolation = Isolation.MEMORY,
    pool: bool = False,
) -> Backtest:
    """Recommend from what was before `middle` (ms since 1970), replay what was after it.

    Hours are counted for each container from its first sample after the middle. pool: also try containers
    together on whole devices of each model of the fleet.
    """
    outcomes: list[Outcome] = []
    kept: list[tuple[Use, Use]] = []
    short = 0
    for history in sorted(histories, key=lambda item: (item.workload.namespace, item.workload.name)):
        before, after = _halves(history.use, middle)
        if not len(after.memory):
            continue
        profile = profile_of(
            history.workload,
            [before],
            kind=(kind, "given"),
            isolation=(isolation, "given"),
            policy=policy,
        )
        if profile is None or profile.hours < policy.least_hours:
            short += 1
            continue
        outcomes.append(_outcome(profile, after, fleet, policy))
        kept.append((before, after))
    served = [item for item in outcomes if item.part is not None]
    hindsight = [item.hindsight for item in served if item.hindsight is not None]
    pooled = _pooled(kept, middle, fleet, policy) if pool and kept else ()
    return Backtest(
        outcomes=tuple(outcomes),
        short=short,
        unserved=len(outcomes) - len(served),
        devices=sum((item.part.scarce for item in served if item.part is not None), Fraction(0)),
        whole=len(served),
        hindsight=sum((part.scarce for part in hindsight), Fraction(0)),
        packed=device_count([item.part for item in served if item.part is not None]),
        hindsight_packed=device_count(hindsight),
        pooled=pooled,
    )


def device_count(parts: Iterable[Part]) -> int:
    """How many devices these parts fill: MIG instances in the layouts that there are, shares of one mode by
    first fit of the largest first. Modes and models do not mix on a device."""
    shares: dict[tuple[str, Mode], list[Fraction]] = {}
    instances: dict[str, Counter[str]] = {}
    for part in parts:
        if part.mode is Mode.MIG:
            instances.setdefault(part.accelerator.mig, Counter())[part.name] += 1
        else:
            shares.setdefault((part.accelerator.id, part.mode), []).append(part.scarce)
    found = sum(devices_needed(board, counts)[0] for board, counts in instances.items())
    for group in shares.values():
        room: list[Fraction] = []
        for share in sorted(group, reverse=True):
            place = next((at for at, left in enumerate(room) if left >= share), None)
            if place is None:
                room.append(1 - share)
            else:
                room[place] -= share
        found += len(room)
    return found


def _halves(use: Use, middle: int) -> tuple[Use, Use]:
    last = max(use.memory.end, use.busy.end if use.busy is not None else 0) + 1
    found = []
    for start, end in ((0, middle), (middle, last)):
        busy = use.busy.between(start, end) if use.busy is not None else None
        bandwidth = use.bandwidth.between(start, end) if use.bandwidth is not None else None
        found.append(Use(use.memory.between(start, end), busy, bandwidth, use.peers, use.had))
    return found[0], found[1]


def _outcome(profile: Profile, after: Use, fleet: Sequence[Offer], policy: SizingPolicy) -> Outcome:
    found = recommend(profile, fleet, policy)
    over_ms = over_hours = 0
    covered, hours, late = after.memory.covered, over_memory(after.memory, 0)[2], 0.0
    if found.part is not None:
        replayed = replay_use(after, found.part)
        over_ms, over_hours, late = replayed.over_ms, replayed.over_hours, replayed.late or 0.0
    return Outcome(
        profile.workload,
        found,
        over_ms,
        covered,
        over_hours,
        hours,
        late,
        _hindsight(profile, after, fleet, policy),
    )


def _hindsight(profile: Profile, after: Use, fleet: Sequence[Offer], policy: SizingPolicy) -> Part | None:
    """The smallest part that would have held the second half, by the same rules for compute and isolation,
    without any margin."""
    known = profile_of(
        profile.workload,
        [after],
        kind=(profile.kind, ""),
        isolation=(profile.isolation, ""),
        policy=policy,
    )
    if known is None:
        return None
    peak = known.memory.peak
    known = replace(known, extremes=Extremes(0.0, 0.0, 3, peak), hours=math.inf)
    exact = msgspec.structs.replace(policy, margin_percent=0, growth_percent=0)
    best: Part | None = None
    for offer in fleet:
        modes = [mode for mode in policy.modes if offer.modes is None or mode in offer.modes]
        parts = list(parts_of(offer.accelerator, modes))
        if Mode.CONSUMABLE in modes and (one := consumable(offer.accelerator, peak)):
            parts.append(one)
        for part in parts:
            if (best is None or _size(part) < _size(best)) and judge(known, part, exact).loss is None:
                best = part
    return best


def _size(part: Part) -> Fraction:
    return part.scarce * part.accelerator.memory_mib


def _pooled(
    kept: Sequence[tuple[Use, Use]], middle: int, fleet: Sequence[Offer], policy: SizingPolicy
) -> tuple[Pooled, ...]:
    start = min(before.memory.start for before, _ in kept)
    end = max(after.memory.end for _, after in kept)
    first, second = Window(start, middle), Window(middle, end)
    found = []
    for model in dict.fromkeys(offer.accelerator for offer in fleet):
        device = exclusive(model)
        earlier = [candidate(number, use, first, device) for number, (use, _) in enumerate(kept)]
        later = [candidate(number, use, second, device) for number, (_, use) in enumerate(kept)]
        fitting = [item for item in earlier if int(item.memory.max(initial=0)) <= device.memory]
        groups = pools(fitting, first, device, policy)
        size = HOUR_MS // second.step
        over_ms = over_hours = hours = 0
        for group in groups:
            joint = np.sum([later[number].memory for number in group.members], axis=0)
            over = joint > device.memory
            over_ms += int(over.sum()) * second.step * len(group.members)
            for at in range(0, len(over), size):
                hours += len(group.members)
                over_hours += len(group.members) * bool(over[at : at + size].any())
        found.append(
            Pooled(
                device,
                len(fitting),
                len(groups),
                _packed([later[item.number] for item in fitting], device),
                over_ms,
                second.steps * second.step * len(fitting),
                over_hours,
                hours,
            )
        )
    return tuple(found)


def _packed(later: Sequence[Candidate], device: Part) -> int:
    """How many devices hold the second half, by first fit of the largest first: an upper bound of the
    optimum, which is hard to find exactly."""
    bins: list[Grid] = []
    for item in sorted(later, key=lambda one: -int(one.memory.max(initial=0))):
        for place, held in enumerate(bins):
            if int((held + item.memory).max(initial=0)) <= device.memory:
                bins[place] = held + item.memory
                break
        else:
            bins.append(item.memory)
    return len(bins)
