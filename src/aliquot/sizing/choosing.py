"""The part of a device for a workload: the cheapest that will do, with the reason and what lost to it."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.catalog.accelerators import Accelerator
from aliquot.sizing.judging import (
    Confidence,
    Judgement,
    Level,
    Loss,
    Risk,
    busy_text,
    confidence_of,
    gib,
    judge,
    risk_of,
)
from aliquot.sizing.parts import Mode, Part, consumable, exclusive, parts_of
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Profile
from aliquot.usage.metrics import WHOLE_PPM


@dataclass(frozen=True, slots=True)
class Offer:
    """Devices of one model that a fleet has. devices: how many, None where it does not matter (they can be
    had). micros_hour: the price of one device, in micro-units of money per hour, None where it is not known.
    modes: the ways in which they may be given out; None for all that the policy names."""

    accelerator: Accelerator
    devices: int | None = None
    micros_hour: int | None = None
    modes: frozenset[Mode] | None = None


class Advice(enum.StrEnum):
    KEEP = "Keep"
    """What it has is right."""
    CHANGE = "Change"
    GROW = "Grow"
    """What it has may not be enough."""
    WAIT = "Wait"
    """Its history is too short; it should keep what it has for the time being."""
    NONE = "None"
    """Nothing that the fleet has will do."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A part that lost: the best of its mode and model. fact: the figures."""

    part: Part
    loss: Loss
    fact: str


@dataclass(frozen=True, slots=True, eq=False)
class Recommendation:
    """What a workload should have.

    part: None if nothing will do. need: bytes of memory that were asked for. reason: a sentence. saving: the
    part of a device that each of its devices gives back (below 0: takes more); None where it is not known
    what it has, or devices of different models are not comparable. saving_micros: money per hour for all
    pods, None without prices. caveat: what to know besides ("" for nothing).
    """

    profile: Profile
    advice: Advice
    part: Part | None
    judgement: Judgement | None
    need: int
    reason: str
    confidence: Confidence
    risk: Risk | None
    saving: Fraction | None
    saving_micros: int | None
    alternatives: tuple[Alternative, ...]
    caveat: str = ""


def recommend(profile: Profile, fleet: Sequence[Offer], policy: SizingPolicy) -> Recommendation:
    """The cheapest part of the fleet that will do; of equally dear ones the one with less risk, then with
    more compute. Dearness is money where all prices are known, else the part of a device, weighed by its
    memory between models. Equal arguments give an equal answer."""
    judged = [judge(profile, part, policy) for part in _candidates(profile, fleet, policy)]
    cost = _Cost(fleet)
    fitting = sorted(
        (item for item in judged if item.loss is None), key=lambda item: cost.order(profile, item.part)
    )
    confidence = confidence_of(profile)
    need = profile.need(policy)
    if not fitting:
        return Recommendation(
            profile=profile,
            advice=Advice.NONE,
            part=None,
            judgement=None,
            need=need,
            reason=_no_reason(profile, need),
            confidence=confidence,
            risk=None,
            saving=None,
            saving_micros=None,
            alternatives=_alternatives(judged, None, cost, profile),
        )
    best = fitting[0]
    had = profile.had
    advice = _advice(profile, best, had, judged, policy)
    return Recommendation(
        profile=profile,
        advice=advice,
        part=best.part,
        judgement=best,
        need=need,
        reason=_reason(profile, best, need),
        confidence=confidence,
        risk=risk_of(profile, best.part),
        saving=_saving(had, best.part),
        saving_micros=cost.saving(profile, best.part),
        alternatives=_alternatives(judged, best, cost, profile),
        caveat=_caveat(profile, best),
    )


def _candidates(profile: Profile, fleet: Iterable[Offer], policy: SizingPolicy) -> list[Part]:
    found: list[Part] = []
    need = profile.need(policy)
    for offer in fleet:
        modes = [mode for mode in policy.modes if offer.modes is None or mode in offer.modes]
        found += parts_of(offer.accelerator, modes)
        if Mode.CONSUMABLE in modes:
            found.append(consumable(offer.accelerator, need) or exclusive(offer.accelerator))
    return list({part.label: part for part in found}.values())


class _Cost:
    """What parts cost, in money if every offer has a price."""

    def __init__(self, fleet: Sequence[Offer]) -> None:
        self._prices = {
            offer.accelerator.id: offer.micros_hour for offer in fleet if offer.micros_hour is not None
        }
        self.money = len(self._prices) == len({offer.accelerator.id for offer in fleet})

    def of(self, part: Part) -> Fraction:
        if self.money:
            return part.share * self._prices[part.accelerator.id]
        return part.share * part.accelerator.memory_mib

    def order(self, profile: Profile, part: Part) -> tuple[object, ...]:
        risk = risk_of(profile, part)
        levels = tuple(Level)
        return (
            self.of(part),
            part.scarce,
            levels.index(risk.level),
            -part.isolation,
            -part.compute,
            part.memory,
            part.label,
        )

    def saving(self, profile: Profile, part: Part) -> int | None:
        had = profile.had
        if had is None or not self.money or had.accelerator.id not in self._prices:
            return None
        each = self.of(had) - self.of(part)
        return round(each * profile.devices * profile.pods)


def _advice(
    profile: Profile, best: Judgement, had: Part | None, judged: Sequence[Judgement], policy: SizingPolicy
) -> Advice:
    if had is None:
        return Advice.CHANGE
    if best.part.label == had.label:
        return Advice.KEEP
    if profile.hours < policy.least_hours:
        return Advice.WAIT
    now = judge(profile, had, policy)
    return Advice.CHANGE if now.loss is None else Advice.GROW


def _saving(had: Part | None, part: Part) -> Fraction | None:
    if had is None or had.accelerator.id != part.accelerator.id:
        return None
    return had.share - part.share


def _reason(profile: Profile, best: Judgement, need: int) -> str:
    memory = f"memory peak {gib(profile.memory.peak)} in {_hours(profile.hours)}"
    return f"{memory}, {busy_text(profile)}; {gib(need)} needed, {best.part.name} has {gib(best.part.memory)}"


def _no_reason(profile: Profile, need: int) -> str:
    return (
        f"memory peak {gib(profile.memory.peak)} in {_hours(profile.hours)}, {busy_text(profile)}; "
        f"no device or part of the fleet will do for {gib(need)}"
    )


def _hours(hours: float) -> str:
    return f"{hours / 24:.0f} d" if hours >= 72 else f"{hours:.0f} h"


def _caveat(profile: Profile, best: Judgement) -> str:
    notes = []
    if not best.part.exclusive and best.stretch > 1.05:
        notes.append(f"a burst that kept the device busy may take {best.stretch:.1f} times as long")
    if profile.had is None:
        notes.append("the model that it ran on is not known; compute is taken as that of the one recommended")
    elif best.replay is not None and best.replay.scaled:
        notes.append("compute was converted between models by their vendor peaks")
    if profile.cache is not None and profile.memory.p50 * 20 >= profile.memory.peak * 19:
        used = profile.cache * 100 / WHOLE_PPM
        notes.append(
            f"its server allocates memory beforehand, and used {used:.0f} % of its KV cache at most: "
            "with a smaller cache it would need less"
        )
    if best.part.unverified:
        notes.append("a figure of this part has no public source")
    return "; ".join(notes)


def _alternatives(
    judged: Sequence[Judgement], best: Judgement | None, cost: _Cost, profile: Profile
) -> tuple[Alternative, ...]:
    """Of each model and mode the cheapest part that would have done, else the one that came nearest; of the
    one chosen the next smaller part, which did not do."""
    groups: dict[tuple[str, Mode], list[Judgement]] = {}
    for item in judged:
        groups.setdefault((item.part.accelerator.id, item.part.mode), []).append(item)
    found = []
    for items in groups.values():
        doing = sorted(
            (item for item in items if item.loss is None), key=lambda item: cost.order(profile, item.part)
        )
        if doing:
            if best is None:
                continue
            if doing[0] is best:
                found += _smaller(items, best, cost)
                continue
            same = cost.of(doing[0].part) == cost.of(best.part)
            loss = Loss.RISK if same else Loss.COST
            found.append(Alternative(doing[0].part, loss, _dearer(doing[0].part, best.part, cost, loss)))
        else:
            nearest = max(items, key=lambda item: (_RANK[item.loss], item.part.scarce))
            assert nearest.loss is not None
            found.append(Alternative(nearest.part, nearest.loss, nearest.fact))
    return tuple(sorted(found, key=lambda item: (-_RANK[item.loss], cost.of(item.part), item.part.label)))


def _smaller(items: Sequence[Judgement], best: Judgement, cost: _Cost) -> list[Alternative]:
    below = [item for item in items if item.loss is not None and cost.of(item.part) < cost.of(best.part)]
    if not below:
        return []
    next_one = max(below, key=lambda item: (cost.of(item.part), item.part.memory))
    assert next_one.loss is not None
    return [Alternative(next_one.part, next_one.loss, next_one.fact)]


_RANK: dict[Loss | None, int] = {loss: number for number, loss in enumerate(Loss)}


def _dearer(part: Part, best: Part, cost: _Cost, loss: Loss) -> str:
    if loss is Loss.RISK:
        return f"costs as much as {best.name}, with more risk or less compute"
    if cost.money:
        more = float(cost.of(part) - cost.of(best)) / 1_000_000
        return f"costs {more:.2f} an hour more than {best.name}"
    if part.accelerator.id == best.accelerator.id:
        return f"takes {part.share} of the device, {best.name} takes {best.share}"
    return f"takes {part.share} of a larger device"
