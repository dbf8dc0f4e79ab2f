"""What queues used in the past, kept so that it can be carried on from the last value alone.

Of a resource, a queue has used so far the sum over time of what it held, each moment's part halved once per
half-life since then; the capacity is summed the same way. Their ratio, from 0 to 1, is the past use that
enters the division of what is over quota. With what was held taken as constant since the last value, and d
the time since,

    value' = value * 2^(-d/h) + held * (h / ln 2) * (1 - 2^(-d/h))

so a value, its moment and what is held now are all that is needed; it lives in Queue.status.usage. A queue
that held 8 GPUs of 8 up to now has the ratio 1; after a half-life of idleness, 0.5; after two, 0.25.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.model.queue import Queue, ResourceUsage
from aliquot.queues.amounts import UNIT, Amount

_MICROSECOND = timedelta(microseconds=1)
_GRAIN = 1000
"""Values are kept in whole millionths of a unit times a second, so that their texts stay short."""


@dataclass(frozen=True, slots=True)
class UseRules:
    """How long the past counts.

    half_life: seconds after which use counts half; None: it does not fade. window: seconds after which
    counting starts from nothing, from `start` on; None: never (a sliding view of the past).
    """

    half_life: int | None = 7 * 24 * 3600
    window: int | None = None
    start: datetime | None = None


def advance(
    record: ResourceUsage, held: Amount, capacity: Amount, now: datetime, rules: UseRules
) -> ResourceUsage:
    """The record carried on to `now`, with what was held and what there was since it was made.

    held, capacity: in billionths, taken as constant since then. A record without a moment starts at now. A
    moment that is not after that of the record leaves it as it is.
    """
    if record.as_of is None:
        return ResourceUsage(name=record.name, as_of=now)
    since = record.as_of
    if now <= since:
        return record
    value, whole = record.value.nano, record.capacity.nano
    begun = _window_start(now, rules)
    if begun is not None and begun > since:
        value, whole, since = 0, 0, begun
    elapsed = Fraction((now - since) // _MICROSECOND, 10**6)
    return ResourceUsage(
        name=record.name,
        value=_carried(value, held, elapsed, rules.half_life),
        capacity=_carried(whole, capacity, elapsed, rules.half_life),
        as_of=now,
    )


def part_used(record: ResourceUsage) -> int:
    """Past use as a part of all there was to use, in billionths; 0 while nothing is known."""
    if record.capacity.nano <= 0:
        return 0
    return max(0, record.value.nano) * UNIT // record.capacity.nano


def past_use(queues: Iterable[Queue]) -> dict[str, dict[str, int]]:
    """Past use of every queue by resource, in billionths, as their statuses tell it; for `fair_shares`."""
    return {
        queue.name: {record.name: part_used(record) for record in queue.status.usage}
        for queue in queues
        if queue.status.usage
    }


def advanced(
    queue: Queue, held: Mapping[str, Amount], capacity: Mapping[str, Amount], now: datetime, rules: UseRules
) -> tuple[ResourceUsage, ...]:
    """All records of a queue carried on to `now`: one for each resource that the cluster has capacity of.

    held, capacity: by resource, in billionths.
    """
    known = {record.name: record for record in queue.status.usage}
    return tuple(
        advance(known.get(name, ResourceUsage(name=name)), held.get(name, 0), capacity[name], now, rules)
        for name in sorted(capacity)
    )


def _carried(value: int, held: Amount, elapsed: Fraction, half_life: int | None) -> Quantity:
    if half_life is None:
        return _kept(value + held * elapsed)
    halvings = float(elapsed) / half_life
    fade = math.exp2(-halvings)
    # 1 - 2^-x, exact also where x is tiny.
    gain = -math.expm1(-halvings * math.log(2)) * half_life / math.log(2)
    return _kept(Fraction(value) * Fraction(fade) + held * Fraction(gain))


def _kept(value: Amount) -> Quantity:
    return Quantity(round(Fraction(value) / _GRAIN) * _GRAIN)


def _window_start(now: datetime, rules: UseRules) -> datetime | None:
    if rules.window is None or rules.start is None or now < rules.start:
        return None
    length = timedelta(seconds=rules.window)
    return rules.start + (now - rules.start) // length * length
